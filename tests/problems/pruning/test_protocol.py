"""The protocol: what heads learn from, by brute force; and that the problem's numbers are those of heads so trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold
from torch import nn

from moprune.data import Split, Task, TensorInputs
from moprune.errors import UsageError
from moprune.networks.heads import HeadSpec, HeadWeights, TrainedHead, initial_weights
from moprune.objectives import objective
from moprune.population import Committee, Training, TrainingSet, fit_heads
from moprune.population.modes import abridged, dense_weights
from problems.pruning import Protocol, PruningProblem
from problems.pruning.controls import Point
from problems.pruning.protocol import Lesson
from problems.pruning.rankings import anova

SCORED = ("search", "select", "test")
QUICK = Training(epochs=6, batch_size=20, learning_rate=0.05)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOPRUNE_CACHE", str(tmp_path))


def task_of(counts, first=0):
    """A task whose search split has so many images of each class; images are told apart by their values."""
    search = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
    some = torch.arange(2 * len(counts)) % len(counts)
    splits, place = {}, first
    for name, labels in (("train", some), ("search", search), ("select", some), ("test", some)):
        images = torch.arange(place, place + len(labels)).float()[:, None]
        splits[name], place = Split(TensorInputs(images), labels), place + len(labels)
    return Task("counted", tuple(map(str, range(len(counts)))), **splits)


def learnt(lesson, task):
    return {float(task.split(part).inputs[i]) for part, rows in lesson.train.items() for i in rows.tolist()}


def scored(lesson, task, split):
    rows = lesson.scored or {split: torch.arange(len(task.split(split)))}
    return [float(task.split(part).inputs[i]) for part, places in rows.items() for i in places.tolist()]


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(1, 8), st.booleans(), st.integers(0, 99))
def test_no_head_is_scored_on_an_image_it_learnt_from(counts, folds, refit, seed):
    task = task_of(counts)
    protocol = Protocol(min(folds, sum(counts)), refit)
    everything = {split: scored(Lesson("", {}), task, split) for split in ("train", *SCORED)}
    for split in SCORED:
        lessons = protocol.lessons(task, split, seed)
        assert len({lesson.name for lesson in lessons}) == len(lessons)
        for lesson in lessons:
            assert not learnt(lesson, task) & set(scored(lesson, task, split))
            assert set(everything["train"]) <= learnt(lesson, task)
            taught = [row for rows in lesson.train.values() for row in rows.tolist()]
            assert len(taught) == len(learnt(lesson, task)), "an image is learnt from twice"
        # Every image of the split is scored by one of the lessons' heads, and once.
        assert sorted(image for lesson in lessons for image in scored(lesson, task, split)) == everything[split]
    names = {lesson.name: learnt(lesson, task) for split in SCORED for lesson in protocol.lessons(task, split, seed)}
    for split in SCORED:
        for lesson in protocol.lessons(task, split, seed):
            assert names[lesson.name] == learnt(lesson, task), "a name stands for two sets of training images"


@given(st.lists(st.integers(1, 12), min_size=2, max_size=6), st.integers(2, 9), st.integers(0, 99))
def test_folds_are_of_a_size_and_alike_in_classes(counts, folds, seed):
    task, folds = task_of(counts), min(folds, sum(counts))
    labels = task.search.labels
    parts = [lesson.scored["search"] for lesson in Protocol(folds).lessons(task, "search", seed)]
    sizes = [len(part) for part in parts]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    for label, count in enumerate(counts):
        shares = [int((labels[part] == label).sum()) for part in parts]
        assert max(shares) - min(shares) <= 1, "as even as can be, so in every fold where there are enough"
        assert sum(shares) == count


def test_folds_have_the_class_counts_of_scikit_learns():
    counts, folds = (12, 20, 8), 4
    task = task_of(counts)
    labels = task.search.labels.numpy()
    theirs = [np.bincount(labels[test]) for _, test in StratifiedKFold(folds).split(labels, labels)]
    lessons = Protocol(folds).lessons(task, "search", 3)
    ours = [np.bincount(labels[lesson.scored["search"].numpy()]) for lesson in lessons]
    assert np.array_equal(ours, theirs)


def test_folds_follow_the_seed_alone():
    task = task_of((9, 11))

    def parts(protocol, seed, task=task):
        return [lesson.scored["search"].tolist() for lesson in protocol.lessons(task, "search", seed)]

    assert parts(Protocol(3), 1) == parts(Protocol(3, refit=True), 1)
    assert parts(Protocol(3), 1) == parts(Protocol(3), 1, task_of((9, 11), first=100))
    assert parts(Protocol(3), 1) != parts(Protocol(3), 2)


def test_what_a_protocol_refuses():
    task = task_of((3, 4))
    for folds in (0, -1):
        with pytest.raises(UsageError, match="folds must be >= 1"):
            Protocol(folds)
    assert len(Protocol(7).lessons(task, "search", 0)) == 7
    for split in SCORED:  # at once, not when the search is over
        with pytest.raises(UsageError, match="8 folds need as many images; split search has 7"):
            Protocol(8).lessons(task, split, 0)
    with pytest.raises(UsageError, match="'tset' is not known; did you mean 'test'"):
        Protocol().lessons(task, "tset", 0)
    with pytest.raises(UsageError, match="refit would train heads on what they are scored on"):
        Protocol(refit=True).lessons(task.published(), "search", 0)
    with pytest.raises(UsageError, match="refit would train"):
        make_problem(make_task().published(), protocol=Protocol(refit=True))
    with pytest.raises(UsageError, match="need as many images"):
        make_problem(make_task(), protocol=Protocol(1000))


def test_nothing_is_learnt_from_the_test_where_it_is_searched():
    task = task_of((5, 5)).published()
    test = set(scored(Lesson("", {}), task, "test"))
    assert not learnt(Protocol().lessons(task, "search", 0)[0], task) & test
    for lesson in Protocol(2).lessons(task, "search", 0):
        assert not learnt(lesson, task) & set(scored(lesson, task, "search"))
    assert not learnt(Protocol(2).lessons(task, "test", 0)[0], task) & test


def make_task(seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(90) % 3
    centres = torch.randn(3, 1, 4, 4, generator=generator)
    images = centres[labels] + torch.randn(90, 1, 4, 4, generator=generator)
    pools = {name: {name: torch.randn(12, 1, 4, 4, generator=generator)} for name in ("search", "test")}
    return Task.from_tensors(images, labels, ood=pools)


def make_problem(task, **options):
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.normal_(generator=generator)
    defaults = {"hidden": (6,), "training": QUICK, "device": "cpu", "strategy": "loop", "seed": 2}
    return PruningProblem(task, network, encoding="units", **defaults | options)


def measures(head, problem, split, rows=None):
    """NLL, and AUROC by what the head was trained on, of a head on some rows of a split."""
    labels = problem.task.split(split).labels
    rows = torch.arange(len(labels)) if rows is None else rows
    logits = head.logits(problem.scorer.features(split)[rows])
    return float(nn.functional.cross_entropy(logits.double(), labels[rows]))


def trained(problem, masks, parts, training=QUICK, start=None):
    """A head trained on the rows of some splits by fit_heads; ``start`` makes its start weights of those."""
    features = torch.cat([problem.scorer.features(split)[rows] for split, rows in parts])
    labels = torch.cat([problem.task.split(split).labels[rows] for split, rows in parts])
    data, committee = TrainingSet(features, labels), None
    start = initial_weights(problem.spec, problem.seed) if start is None else start(data)
    if problem.members > 1:
        train = TrainingSet(problem.scorer.features("train"), problem.task.train.labels)
        committee = Committee(problem.members, problem.readers, torch.from_numpy(anova(train)))
    (head,) = fit_heads(
        problem.spec, [masks], data, start, training, then=lambda h: h, seed=problem.seed, strategy="loop",
        committee=committee,
    )  # fmt: skip
    return head


def whole(problem, *splits):
    return [(split, torch.arange(len(problem.task.split(split)))) for split in splits]


def on(problem, count=4, seed=0):
    X = np.random.default_rng(seed).random((count, problem.n_var)) < 0.7
    X[-1] = False
    return X


@pytest.mark.parametrize(("members", "mode"), [(1, "full"), (1, "short"), (1, "warm"), (3, "full"), (3, "short")])
def test_values_with_folds_are_those_of_a_loop_over_heads_trained_by_hand(members, mode):
    protocol = Protocol(folds=4)
    problem = make_problem(make_task(), objectives=["nll"], protocol=protocol, members=members, mode=mode)
    X = on(problem)
    training = QUICK if mode == "full" else abridged(QUICK)
    initial = initial_weights(problem.spec, problem.seed)

    def start(data):
        return dense_weights(problem.spec, data, initial, QUICK, seed=problem.seed) if mode == "warm" else initial

    found = problem.values(X)[:, 0, 0]
    for genome, value in zip(X, found, strict=True):
        masks, losses = problem.encoding.masks(genome), []
        for lesson in protocol.lessons(problem.task, "search", problem.seed):
            fold = lesson.scored["search"]
            others = torch.tensor([i for i in range(len(problem.task.search)) if i not in fold.tolist()])
            rows = lesson.train["search"]
            assert sorted(rows.tolist()) == others.tolist()
            head = trained(problem, masks, [*whole(problem, "train"), ("search", rows)], training, start)
            losses.append(measures(head, problem, "search", fold))
        assert value == pytest.approx(np.mean(losses), abs=1e-5)


@pytest.mark.parametrize("mode", ["full", "short"])
@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize("refit", [False, True])
def test_later_splits_are_scored_by_heads_trained_in_full_on_what_was_used_up(refit, folds, mode):
    problem = make_problem(make_task(), objectives=["nll"], protocol=Protocol(folds, refit), mode=mode)
    X = on(problem)
    table = problem.assess(X)
    used = {"select": ["train"], "test": ["train"]}
    if refit:
        used = {"select": ["train", "search"], "test": ["train", "search", "select"]}
    for i, genome in enumerate(X):
        for split, parts in used.items():
            head = trained(problem, problem.encoding.masks(genome), whole(problem, *parts))
            assert table[f"nll_{split}"][i] == pytest.approx(measures(head, problem, split), abs=1e-5)
        (kept,) = problem.heads(X[i : i + 1])
        for a, b in zip(kept.weights.matrices, head.weights.matrices, strict=True):
            assert torch.allclose(a, b, atol=1e-6), "the head that is exported is the one scored on test"


def test_detectors_compare_with_what_the_fold_s_head_learnt_from():
    protocol, knn = Protocol(folds=3), objective("ood_auroc", detector="knn_features", k=2)
    problem = make_problem(make_task(), objectives=[knn], protocol=protocol)
    X = on(problem)[:2]
    pools = problem.scorer.features("search/search")
    for genome, value in zip(X, problem.values(X)[:, 0, 0], strict=True):
        kept, expected = problem.encoding.masks(genome)[0], []
        for lesson in protocol.lessons(problem.task, "search", problem.seed):
            seen = torch.cat([problem.scorer.features(part)[rows] for part, rows in lesson.train.items()])[:, kept]
            inside = problem.scorer.features("search")[lesson.scored["search"]][:, kept]

            def second_nearest(rows, seen=seen):
                directions = nn.functional.normalize(rows.double()), nn.functional.normalize(seen.double())
                return torch.cdist(*directions).sort(1).values[:, 1]

            outside = second_nearest(pools[:, kept])
            pairs = outside[:, None] - second_nearest(inside)[None, :]
            expected.append(float(((pairs > 1e-9).double() + 0.5 * (pairs.abs() <= 1e-9).double()).mean()))
        assert value == pytest.approx(np.mean(expected), abs=1e-6)


def linear_recipe(data):
    """The class means of what it is given as a linear head of three features."""
    means = torch.stack([data.features[data.labels == c].mean(0) for c in range(3)])[:, [1, 4, 6]]
    weights = HeadWeights((means.T.clone(),), (-(means**2).sum(1) / 2,))
    return TrainedHead(HeadSpec(8, (), 3), torch.tensor([1, 4, 6]), weights, epochs=0, removed=2)


@pytest.mark.parametrize("mode", ["full", "short"])
def test_recipes_are_fitted_to_each_lesson_and_scored_on_its_images(mode):
    protocol = Protocol(folds=3, refit=True)
    names = ["nll", "active_fraction", "active_units", "head_parameters"]
    problem = make_problem(make_task(), objectives=names, protocol=protocol, mode=mode)
    recipe = Point("means", fit=linear_recipe).fit
    found = problem.table(problem.outcomes_of([recipe, recipe], SCORED), 2, SCORED)
    for split in SCORED:
        losses = []
        for lesson in protocol.lessons(problem.task, split, problem.seed):
            parts = list(lesson.train.items())
            features = torch.cat([problem.scorer.features(part)[rows] for part, rows in parts])
            labels = torch.cat([problem.task.split(part).labels[rows] for part, rows in parts])
            head = linear_recipe(TrainingSet(features, labels))
            losses.append(measures(head, problem, split, (lesson.scored or {}).get(split)))
        assert found[f"nll_{split}"].tolist() == pytest.approx([np.mean(losses)] * 2, abs=1e-6)
        # Three of the eight features, and none of the six neurons.
        assert found[f"active_fraction_{split}"].tolist() == pytest.approx([3 / 14] * 2)
        assert found[f"active_units_{split}"].tolist() == [3] * 2
        assert found[f"head_parameters_{split}"].tolist() == [3 * 3 + 3 - 2] * 2


def test_a_reports_values_are_no_part_of_the_search():
    task = make_task()
    plain, reporting = (
        make_problem(task, objectives=["nll"]),
        make_problem(task, objectives=["nll"], reported=["error"]),
    )
    X = on(plain)
    assert np.array_equal(plain.values(X, SCORED), reporting.values(X, SCORED))
    assert plain.fingerprint() == reporting.fingerprint()
    table = reporting.assess(X, SCORED)
    assert list(table) == [f"{name}_{split}" for name in ("nll", "error") for split in SCORED]
    assert table["error_test"].tolist() == pytest.approx(
        make_problem(task, objectives=["error"]).assess(X)["error_test"].tolist()
    )
    with pytest.raises(UsageError, match="'nll' is given twice"):
        make_problem(task, objectives=["nll"], reported=["nll"])


def test_the_seed_decides_the_folds_and_the_start():
    problem = make_problem(make_task(), objectives=["nll"], protocol=Protocol(3), mode="warm")
    X = on(problem)
    first = problem.values(X)
    other = problem.reseeded(5)
    assert (other.values(X) != first)[:-1].all()
    assert np.array_equal(problem.values(X), first)
    assert np.array_equal(other.values(X), make_problem(make_task(), **_options(problem), seed=5).values(X))


def _options(problem):
    return {"objectives": ["nll"], "protocol": replace(problem.protocol), "mode": problem.mode}
