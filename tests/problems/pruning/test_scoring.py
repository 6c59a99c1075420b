"""The scorer: every part of an outcome by a slow path of plain torch, folds, failed heads, threads and pickles."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize
from torch import nn

from moprune.data import Task, TensorInputs, corrupted
from moprune.detectors import DETECTORS
from moprune.errors import UsageError
from moprune.networks import FeatureExtractor, Preprocess
from moprune.networks.attacks import Attack
from moprune.networks.heads import HeadSpec, HeadWeights, TrainedHead, initial_weights
from moprune.objectives import NEEDS, objective
from moprune.population import TrainingSet
from problems.pruning.scoring import Scorer

EVERYTHING = frozenset(NEEDS)
CPU = torch.device("cpu")
ATTACK = Attack("pgd", epsilon=0.1, steps=3)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOPRUNE_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def task():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    images = (labels[:, None, None, None] / 4 + 0.5 * torch.rand(120, 1, 4, 4, generator=generator)).clamp(0, 1)
    pools = {
        "search": {"far": torch.rand(20, 1, 4, 4, generator=generator)},
        "test": {"other": torch.rand(15, 1, 4, 4, generator=generator)},
    }
    plain = Task.from_tensors(images, labels, ood=pools)
    names = dict.fromkeys(("train", "search", "select"), ("gaussian_noise@3", "contrast@5")) | {"test": ("pixelate@5",)}
    versions = {
        split: {name: corrupted(plain.split(split).inputs, name) for name in each} for split, each in names.items()
    }
    return replace(plain, corruptions=versions)


def make_extractor():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.normal_(generator=generator)
    return FeatureExtractor(network, preprocess=Preprocess(mean=(0.4,), std=(0.5,), mode="L"))


def make_scorer(task, needs=EVERYTHING, **options):
    return Scorer(task, make_extractor(), needs, **{"device": CPU, "attack": ATTACK} | options)


def make_head(seed=0, hidden=(6,)):
    spec = HeadSpec(8, hidden, 3, "tanh")
    masks = [torch.arange(width) % 4 != 1 for width in spec.units]
    return TrainedHead(spec, masks[0].nonzero()[:, 0], initial_weights(spec, seed).compact(tuple(masks)), epochs=1)


def stacked(inputs):
    return torch.stack([inputs[i] for i in range(len(inputs))])


def by_hand(head, images):
    """Logits and representations of raw images, step by step."""
    with torch.no_grad():
        seen = kept_features(head, images).double()
        *hidden, last = [matrix.double() for matrix in head.weights.matrices]
        for matrix in hidden:
            seen = torch.tanh(seen @ matrix)
        return (seen @ last + head.weights.biases[-1].double()).float(), seen.float()


def kept_features(head, images):
    backbone = make_extractor().network[:-1].double()
    with torch.no_grad():
        return backbone((images.double() - 0.4) / 0.5)[:, head.kept].float()


def close(found, expected):
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
@pytest.mark.parametrize("split", ["search", "select", "test"])
def test_every_part_of_an_outcome_is_that_of_its_images(task, split, hidden):
    head = make_head(hidden=hidden)
    scorer = make_scorer(task)
    scorer.prepare(split)
    with torch.inference_mode():  # as in a worker
        found = scorer.outcome(head, split)
    images = stacked(task.split(split).inputs)
    logits, seen = by_hand(head, images)
    close(found.logits, logits)
    assert torch.equal(found.labels, task.split(split).labels)
    assert found.costs == {"head_parameters": head.spec.parameters(head.widths)}
    close(found.representations.images, seen)
    close(found.representations.train, by_hand(head, stacked(task.train.inputs))[1])
    assert torch.equal(found.representations.train_labels, task.train.labels)
    close(found.features.images, kept_features(head, images))
    close(found.features.train, kept_features(head, stacked(task.train.inputs)))
    assert torch.equal(found.features.train_labels, task.train.labels)
    for read in (found, found.representations, found.features, found.perturbed):
        assert set(read.ood_logits if read is found else read.pools) == set(task.ood[split])
    for pool, inputs in task.ood[split].items():
        logits, seen = by_hand(head, stacked(inputs))
        close(found.ood_logits[pool], logits)
        close(found.representations.pools[pool], seen)
        close(found.features.pools[pool], kept_features(head, stacked(inputs)))
        assert not torch.allclose(found.perturbed.pools[pool], logits, atol=1e-6)
        assert torch.allclose(found.perturbed.pools[pool], logits, atol=0.1)
    assert set(found.corrupted_logits) == set(task.corruptions[split])
    for name, inputs in task.corruptions[split].items():
        close(found.corrupted_logits[name], by_hand(head, stacked(inputs))[0])


def test_attacked_and_perturbed_images_by_autograd(task):
    head = make_head()
    scorer = make_scorer(task, attack=Attack("fgsm", epsilon=0.1))
    with torch.inference_mode():
        found = scorer.outcome(head, "search")
    images, labels = stacked(task.search.inputs), task.search.labels
    whole = nn.Sequential(make_extractor().network[:-1], head.module()).double()

    def sign(temperature, target):
        x = images.double().requires_grad_()
        loss = nn.functional.cross_entropy(whole((x - 0.4) / 0.5) / temperature, target, reduction="sum")
        return torch.autograd.grad(loss, x)[0].sign().float()

    close(found.attacked.logits, by_hand(head, (images + 0.1 * sign(1, labels)).clamp(0, 1))[0])
    assert torch.equal(found.attacked.labels, labels)
    close(found.perturbed.images, by_hand(head, images - 0.0014 * sign(1000, found.logits.argmax(1)))[0])


def test_only_what_is_needed_is_there_and_computed(task):
    head = make_head()
    for needs, parts in (
        (set(), {"search"}),
        ({"ood"}, {"search", "search/far"}),
        ({"ood", "representations"}, {"search", "search/far", "train"}),
        ({"ood", "features"}, {"search", "search/far", "train"}),
        ({"corruptions"}, {"search", "search/gaussian_noise@3", "search/contrast@5"}),
        ({"attacks"}, {"search"}),
    ):
        scorer = make_scorer(task, frozenset(needs))
        found = scorer.outcome(head, "search")
        assert scorer._features.keys() == parts
        given = {
            "ood": bool(found.ood_logits),
            "representations": found.representations is not None,
            "features": found.features is not None,
            "corruptions": bool(found.corrupted_logits),
            "attacks": found.attacked is not None,
            "perturbed": found.perturbed is not None,
        }
        assert {need for need, there in given.items() if there} == needs


def test_preparing_leaves_nothing_to_compute(task, monkeypatch):
    scorer = make_scorer(task)
    rows = {"train": torch.tensor([5, 2, 9, 30]), "search": torch.arange(6)}
    scorer.prepare("search", rows)
    monkeypatch.setattr("problems.pruning.scoring.bounded_features", lambda *_: pytest.fail("features were computed"))
    lengths = {part: len(features) for part, features in scorer._features.items()}
    monkeypatch.setattr(Scorer, "_inputs", lambda self, part: range(lengths[part]))
    scorer.outcome(make_head(), "search", rows=rows)


def test_rows_of_several_splits_stand_for_one(task):
    """The whole of search by rows is search; a fold is made of the right images, labels and corruptions."""
    head, scorer = make_head(), make_scorer(task)
    whole = scorer.outcome(head, "search")
    same = scorer.outcome(head, "search", rows={"search": torch.arange(len(task.search))})
    for name in ("error", "ood_auroc", "corruption_error", "adversarial_error"):
        assert objective(name).compute(whole) == objective(name).compute(same)
    rows = {"train": torch.tensor([7, 3, 3, 50]), "search": torch.tensor([2, 0])}
    fold = scorer.outcome(head, "search", rows=rows)
    images = torch.cat([stacked(task.split(part).inputs.subset(places)) for part, places in rows.items()])
    close(fold.logits, by_hand(head, images)[0])
    assert fold.labels.tolist() == [int(task.split(part).labels[i]) for part, places in rows.items() for i in places]
    for name, logits in fold.corrupted_logits.items():
        versions = [stacked(task.corruptions[part][name].subset(places.tolist())) for part, places in rows.items()]
        close(logits, by_hand(head, torch.cat(versions))[0])
    assert fold.attacked.labels.tolist() == fold.labels.tolist()
    close(fold.ood_logits["far"], whole.ood_logits["far"])


def test_the_reference_is_what_the_head_was_trained_on(task):
    head, scorer = make_head(), make_scorer(task)
    part = TrainingSet(scorer.features("train")[10:40], task.train.labels[10:40])
    found = scorer.outcome(head, "search", reference=part)
    close(found.representations.train, by_hand(head, stacked(task.train.inputs)[10:40])[1])
    close(found.features.train, kept_features(head, stacked(task.train.inputs)[10:40]))
    for read in (found.representations, found.features):
        assert torch.equal(read.train_labels, task.train.labels[10:40])


def test_detectors_of_features_are_scikit_learns_on_what_the_head_reads(task):
    head = make_head()
    found = make_scorer(task).outcome(head, "search")
    parts = (task.train.inputs, task.search.inputs, task.ood["search"]["far"])
    train, inside, outside = (kept_features(head, stacked(part)).double().numpy() for part in parts)
    assert train.shape[1] == 6, "of the 8 features"
    neighbours = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(normalize(train))
    labels = task.train.labels.numpy()
    means = np.stack([train[labels == c].mean(0) for c in range(3)])
    fitted = LedoitWolf(assume_centered=True).fit(train - means[labels])
    scorings = {
        "knn_features": lambda rows: neighbours.kneighbors(normalize(rows))[0][:, -1],
        "mahalanobis_features": lambda rows: np.min([fitted.mahalanobis(rows - mean) for mean in means], axis=0),
    }
    truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    for detector, scores in scorings.items():
        expected = roc_auc_score(truth, np.r_[scores(inside), scores(outside)])
        assert objective("ood_auroc", detector=detector).compute(found) == pytest.approx(expected, abs=1e-9)


def test_detectors_of_features_cannot_tell_images_apart_by_none(task):
    spec = HeadSpec(8, (6,), 3, "tanh")
    nothing = tuple(torch.zeros(width, dtype=torch.bool) for width in spec.units)
    head = TrainedHead.of(spec, nothing, initial_weights(spec, 0).compact(nothing), epochs=1)
    found = make_scorer(task).outcome(head, "search")
    assert found.features.images.shape == (len(task.search), 0)
    for detector in ("knn_features", "mahalanobis_features"):
        assert objective("ood_auroc", detector=detector).compute(found) == 0.5


def test_gradients_are_taken_for_no_more_images_than_asked(task):
    found = make_scorer(task, gradient_images=6).outcome(make_head(), "search")
    assert torch.bincount(found.attacked.labels).tolist() == [2, 2, 2]
    assert len(found.perturbed.images) == len(found.perturbed.pools["far"]) == 6
    assert len(found.logits) == len(task.search)


@pytest.mark.parametrize("how", ["failed", "infinite", "overflows on a pool"])
def test_a_head_that_did_not_learn_predicts_nothing(task, how):
    head = make_head()
    if how == "failed":
        head = replace(head, failed=True)
    elif how == "infinite":
        matrices = (head.weights.matrices[0] * float("nan"), head.weights.matrices[1])
        head = replace(head, weights=HeadWeights(matrices, head.weights.biases))
    else:
        far = dict(task.ood["search"])
        far["far"] = TensorInputs(torch.full((3, 1, 4, 4), 0.5))
        task = replace(task, ood={**task.ood, "search": far})
        scorer = make_scorer(task)
        scorer.features("search/far")[:] = float("inf")
    scorer = scorer if how == "overflows on a pool" else make_scorer(task)
    found = scorer.outcome(head, "search")
    parts = [found.logits, *found.ood_logits.values(), *found.corrupted_logits.values(), found.attacked.logits]
    parts += [found.perturbed.images, *found.perturbed.pools.values()]
    for seen in (found.representations, found.features):
        parts += [seen.images, seen.train, *seen.pools.values()]
    assert all((part == 0).all() for part in parts)
    assert torch.equal(found.labels, task.search.labels)
    assert torch.equal(seen.train_labels, task.train.labels)
    assert found.costs["head_parameters"] > 0
    for detector in DETECTORS:
        assert objective("ood_auroc", detector=detector).compute(found) == 0.5


def test_many_threads_score_as_one(task):
    heads = [make_head(seed) for seed in range(12)]
    expected = [make_scorer(task).outcome(head, "search") for head in heads]
    scorer = make_scorer(task)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(torch.inference_mode()(lambda head: scorer.outcome(head, "search")), heads))
    for a, b in zip(found, expected, strict=True):
        for name in ("nll", "ood_auroc", "corruption_error", "adversarial_error"):
            assert objective(name).compute(a) == objective(name).compute(b)
    assert not scorer.features("search").is_inference(), "heads could not be trained on it outside inference mode"


def test_it_goes_to_another_process_without_its_callback(task):
    scorer = make_scorer(task, on_features=lambda *_: None)
    before = scorer.outcome(make_head(), "search")
    other = pickle.loads(pickle.dumps(scorer))  # noqa: S301
    assert scorer._on_features is not None
    after = other.outcome(make_head(), "search")
    for need, name in (("ood", "ood_auroc"), ("corruptions", "corruption_error"), ("attacks", "adversarial_error")):
        assert need in other.needs
        assert objective(name).compute(after) == objective(name).compute(before)
    assert other.fingerprint() == scorer.fingerprint()


def test_the_fingerprint_holds_what_changes_outcomes(task):
    assert make_scorer(task, frozenset({"ood", "corruptions", "representations"})).fingerprint() == {}
    assert make_scorer(task, frozenset({"ood", "perturbed"})).fingerprint() == {"gradient_images": 128}
    attack = {"method": "pgd", "epsilon": 0.1, "steps": 3}
    assert make_scorer(task).fingerprint() == {"attack": attack, "gradient_images": 128}


def test_what_the_task_has_not_is_said(task):
    bare = replace(task, ood={}, corruptions={})
    for needs, message in (
        ({"ood"}, "needs OOD pools for search and test"),
        ({"corruptions"}, "needs corruptions for search and test"),
        ({"odd"}, "need 'odd' is not known; did you mean 'ood'"),
    ):
        with pytest.raises(UsageError, match=message):
            make_scorer(bare, frozenset(needs))
    with pytest.raises(UsageError, match="gradient_images must be >= 1"):
        make_scorer(task, gradient_images=0)
    with pytest.raises(UsageError, match="has no 'search/fog@1'"):
        make_scorer(task).features("search/fog@1")
    untrained = replace(task, corruptions={**task.corruptions, "train": {}})
    with pytest.raises(UsageError, match="has no 'train/gaussian_noise@3'"):
        make_scorer(untrained).outcome(make_head(), "search", rows={"train": torch.arange(3)})
