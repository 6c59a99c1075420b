"""The pruning problem: the contract for every encoding, and its numbers by a slow path of plain torch."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.optimize import minimize
from sklearn.metrics import roc_auc_score
from torch import nn

from moprune.algorithms import make
from moprune.data import Task
from moprune.errors import UsageError
from moprune.log import EvaluationLog
from moprune.networks.heads import initial_weights
from moprune.objectives import NAMES, Objective, objective
from moprune.population import Training, TrainingSet
from moprune.search import search
from moprune.testing import ProblemContract, reference_fit
from problems.pruning import Protocol, PruningProblem
from problems.selection.costs import NAMES as OF_SELECTION

HIDDEN = {"features": (), "neurons": (6,), "first": (6, 5), "second": (6, 5), "units": (5,)}
QUICK = Training(epochs=4, batch_size=20, learning_rate=0.05)


def make_task(*, ood=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(120) % 3
    centres = torch.randn(3, 1, 4, 4, generator=generator)
    images = centres[labels] + torch.randn(120, 1, 4, 4, generator=generator)
    pools = {
        "search": {"far": 2 * torch.randn(20, 1, 4, 4, generator=generator), "near": centres[labels[:10]] * 1.5},
        "test": {"other": 1 + torch.randn(15, 1, 4, 4, generator=generator)},
    }
    return Task.from_tensors(images, labels, ood=pools if ood else None)


def make_network():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.normal_(generator=generator)
    return network


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOPRUNE_CACHE", str(tmp_path))


def make_problem(encoding="units", *, task=None, **options):
    defaults = {"hidden": HIDDEN.get(encoding, (6,)), "training": QUICK, "device": "cpu"}
    network = options.pop("network", None) or make_network()
    return PruningProblem(task or make_task(), network, encoding=encoding, **defaults | options)


class Encoded(ProblemContract):
    population = 24
    strategy = "loop"

    @pytest.fixture(autouse=True)
    def _encoded(self, encoding):
        self.encoding = encoding

    def make_problem(self):
        return make_problem(self.encoding, strategy=self.strategy)


@pytest.mark.parametrize("encoding", sorted(HIDDEN))
class TestEachEncodingInALoop(Encoded):
    pass


@pytest.mark.parametrize("encoding", ["features", "units"])
class TestEachEncodingStacked(Encoded):
    strategy = "stacked"
    exact = False  # batched matrix products round by how many matrices there are


class TestEveryObjectiveOfSeveralRepeats(ProblemContract):
    population = 12

    def make_problem(self):
        training = replace(QUICK, patience=2, min_delta=0.05, restore_best=True)
        names = [name for name in NAMES if objective(name).needs <= {"ood"} and name not in OF_SELECTION]
        return make_problem(objectives=names, repeats=2, training=training, strategy="loop", chunk=4, seed=5)


KNN = objective("ood_auroc", detector="knn_features")
WAYS = {
    "folds of committees": {
        "members": 3, "readers": 1, "protocol": Protocol(3, refit=True), "mode": "short", "reported": ["error"],
        "objectives": ["brier", "active_fraction", "head_parameters", KNN], "hidden": (6, 5), "hidden_bias": True,
    },
    "committees that stop early": {"members": 4, "training": replace(QUICK, patience=1, min_delta=0.1), "repeats": 2},
    "refitting": {"protocol": Protocol(refit=True), "reported": ["nll", "ood_fpr95"], "strategy": "loop"},
    "a warm start": {"mode": "warm", "protocol": Protocol(2), "strategy": "loop", "repeats": 2},
    "one shot of connections": {"encoding": "edges", "mode": "one_shot", "protocol": Protocol(2), "strategy": "loop"},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
class TestEachWayToTrainAndScore(ProblemContract):
    population = 10

    @pytest.fixture(autouse=True)
    def _by(self, way):
        self.way = way

    def make_problem(self):
        return make_problem(**WAYS[self.way])


def by_hand(problem, genome, task, split):
    """All objectives of a genome: every step spelled out in plain torch and scikit-learn."""
    network = make_network()[:-1]

    def features(images):
        with torch.no_grad():
            return network(torch.stack([images[i] for i in range(len(images))]))

    train = TrainingSet(features(task.train.inputs), task.train.labels)
    masks, start = problem.encoding.masks(genome), initial_weights(problem.spec, problem.seed)
    (head,) = reference_fit(problem.spec, [masks], train, start, problem.training, seed=problem.seed)
    part = task.split(split)
    logits = head.logits(features(part.inputs).double())
    scores = -logits.logsumexp(1)
    aurocs = []
    for pool in task.ood[split].values():
        outside = -head.logits(features(pool).double()).logsumexp(1)
        truth = [0] * len(scores) + [1] * len(outside)
        aurocs.append(roc_auc_score(truth, torch.cat([scores, outside])))
    widths = [int(mask.sum()) for mask in masks]
    parameters = sum(a * b for a, b in zip(widths, [*widths[1:], 3], strict=True)) + 3
    return {
        "error": float((logits.argmax(1) != part.labels).double().mean()),
        "nll": float(nn.functional.cross_entropy(logits, part.labels)),
        "ood_auroc": float(np.mean(aurocs)),
        "active_fraction": float(genome.mean()),
        "active_units": float(genome.sum()),
        "head_parameters": float(parameters),
    }


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
@pytest.mark.parametrize("encoding", sorted(HIDDEN))
def test_objectives_equal_those_computed_by_hand(encoding, strategy):
    task = make_task()
    names = ["error", "nll", "ood_auroc", "active_fraction", "active_units", "head_parameters"]
    problem = make_problem(encoding, task=task, objectives=names, strategy=strategy, seed=2)
    X = np.random.default_rng(0).random((4, problem.n_var)) < 0.6
    X[-1] = False
    table = problem.assess(X)
    for i, genome in enumerate(X):
        for split in ("search", "select", "test"):
            for name, expected in by_hand(problem, genome, task, split).items():
                assert table[f"{name}_{split}"][i] == pytest.approx(expected, abs=1e-4), (name, split)


def test_repeats_are_averaged():
    one, two, both = (make_problem(objectives=["nll"], repeats=r, strategy="loop") for r in (1, 1, 2))
    X = np.ones((1, one.n_var), dtype=bool)
    second = two._fit
    two._fit = lambda X, lesson, mode, _, then: second(X, lesson, mode, 1, then)
    expected = (one.values(X) + two.values(X)) / 2
    assert both.values(X) == pytest.approx(expected, abs=1e-12)
    assert one.values(X) != two.values(X)


def network_logits(module, inputs):
    with torch.no_grad():
        return module(torch.stack([inputs[i] for i in range(len(inputs))]))


@pytest.mark.parametrize("encoding", sorted(HIDDEN))
def test_the_network_of_a_genome_is_what_was_scored(encoding):
    task, original = make_task(), make_network()
    problem = make_problem(encoding, task=task, objectives=["error", "nll"], network=original)
    before = {name: value.clone() for name, value in original.state_dict().items()}
    X = np.random.default_rng(1).random((5, problem.n_var)) < 0.5
    X[0], X[1] = True, False
    for genome, head, values in zip(X, problem.heads(X), problem.values(X, ["test"])[:, 0], strict=True):
        network = problem.network(genome)
        logits = network_logits(network, task.test.inputs)
        assert isinstance(network, nn.Sequential), "an ordinary network of the same class"
        assert torch.allclose(logits, head.logits(problem.scorer.features("test")), rtol=0, atol=1e-5)
        assert float((logits.argmax(1) != task.test.labels).double().mean()) == pytest.approx(values[0])
        assert not network.training
        parameters = sum(p.numel() for p in network[-1].parameters())
        assert parameters == problem.spec.parameters(head.widths)
    for name, value in original.state_dict().items():
        assert torch.equal(before[name], value), "the network given was changed"


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
@pytest.mark.parametrize("epochs", [1, 5])
@pytest.mark.parametrize("encoding", sorted(HIDDEN))
def test_heads_that_diverged_are_as_bad_as_guessing(encoding, epochs, strategy):
    """One step can leave weights that are finite, but whose logits are not."""
    training = Training(epochs=epochs, batch_size=1000, learning_rate=1e30)
    names = ["error", "macro_error", "nll", "ece", "ood_auroc", "ood_fpr95", "ood_fpr95_id"]
    problem = make_problem(encoding, training=training, objectives=names, strategy=strategy)
    X = np.ones((2, problem.n_var), dtype=bool)
    values = problem.assess(X, ["search", "test"])
    assert np.isfinite(values.to_numpy()).all()
    if epochs == 5:
        assert (values["error_search"] >= 0.6).all()
        assert (values["ood_auroc_search"] <= 0.6).all()


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
@pytest.mark.parametrize("encoding", ["edges", "features", "units"])
def test_costs_are_those_of_the_genome_whatever_became_of_the_head(encoding, strategy):
    """Without training, after training, and where it diverged; counts are whole numbers."""
    names, found = ["active_fraction", "active_units", "head_parameters"], []
    for training in (replace(QUICK, epochs=0), QUICK, Training(epochs=5, learning_rate=1e30)):
        problem = make_problem(encoding, hidden=(5,), objectives=names, strategy=strategy, training=training)
        X = np.random.default_rng(3).random((8, problem.n_var)) < np.linspace(0, 1, 8)[:, None]
        found.append(problem.assess(X))
        for split in ("search", "test"):
            assert found[-1][f"active_fraction_{split}"].tolist() == pytest.approx(X.mean(1).tolist(), abs=1e-15)
            assert found[-1][f"active_units_{split}"].tolist() == X.sum(1).tolist()
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def test_a_seed_is_common_to_all_candidates_and_a_part_of_the_context():
    one, other = make_problem(objectives=["nll"], seed=1), make_problem(objectives=["nll"], seed=2)
    X = np.ones((2, one.n_var), dtype=bool)
    assert (one.values(X)[0] == one.values(X)[1]).all()
    assert (one.values(X) != other.values(X)).all()
    assert one.fingerprint() == other.fingerprint()
    assert one.context != other.context
    again = other.reseeded(1)
    assert again.context == one.context
    assert again.values(X) == pytest.approx(one.values(X), abs=1e-6)


def test_the_fingerprint_follows_all_that_values_depend_on():
    base = make_problem().fingerprint()
    others = [
        make_problem(task=make_task(seed=1)),
        make_problem(encoding="neurons", hidden=(5,)),
        make_problem(hidden=(6,)),
        make_problem(activation="tanh"),
        make_problem(hidden_bias=True),
        make_problem(objectives=["error"]),
        make_problem(training=replace(QUICK, epochs=5)),
        make_problem(repeats=2),
        make_problem(members=3),
        make_problem(members=3, readers=3),
        make_problem(mode="short"),
        make_problem(protocol=Protocol(2)),
        make_problem(protocol=Protocol(refit=True)),
        make_problem(encoding="edges", hidden=(5,)),
        make_problem(network=nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))),
    ]
    texts = {json.dumps(problem.fingerprint(), sort_keys=True) for problem in others}
    assert len(texts | {json.dumps(base, sort_keys=True)}) == len(others) + 1
    # How the work is done, unlike what is computed, is no part of it.
    assert make_problem(strategy="loop", chunk=3, reported=["nll"], readers=1).fingerprint() == base


def test_features_are_computed_once_and_kept(tmp_path):
    calls = []
    first = make_problem(cache=tmp_path / "kept", on_features=lambda *seen: calls.append(seen))
    X = np.ones((1, first.n_var), dtype=bool)
    values = first.values(X, ["search", "select", "test"])
    assert {c[0] for c in calls} >= {"train", "search", "test", "search/far", "select/near", "test/other"}
    before = len(calls)
    first.values(X, ["search", "select", "test"])
    second = make_problem(cache=tmp_path / "kept", on_features=lambda *seen: calls.append(seen))
    assert (second.values(X, ["search", "select", "test"]) == values).all()
    assert len(calls) == before


def test_a_progress_callback_does_not_bind_the_problem_to_its_process():
    problem = make_problem(on_features=lambda *_: None)
    assert pickle.dumps(problem)


def test_ones_own_objective_is_searched():
    worst_class = Objective("worst_class_error", "share of images", True, 1.0, worst_class_error)
    problem = make_problem(objectives=["active_fraction", worst_class])
    run = search(problem, make("nsga2", problem, pop_size=6), n_eval=18, seed=1)
    front = run.front()
    assert {"worst_class_error_search", "worst_class_error_test"} <= set(front)
    assert (
        front["worst_class_error_search"]
        >= make_problem(objectives=["macro_error"]).values(run.genomes()[front.index])[:, 0, 0] - 1e-12
    ).all()
    run.log.close()


def worst_class_error(outcome):
    wrong = outcome.logits.argmax(1) != outcome.labels
    return max(float(wrong[outcome.labels == c].double().mean()) for c in outcome.labels.unique())


def test_pymoos_default_operators_are_refused_with_advice():
    problem = make_problem()
    message = r"boolean genomes, not float64.*moprune\.algorithms\.make"
    with EvaluationLog() as log, pytest.raises(UsageError, match=message):
        search(problem, NSGA2(pop_size=6), n_eval=12, seed=1, log=log)
    with pytest.raises(UsageError, match=message):
        minimize(problem, NSGA2(pop_size=6), ("n_gen", 2), seed=1)


@pytest.mark.parametrize("objectives", [["ood_auroc"], ["error", "ood_fpr95"], ["ood_fpr95_id"]])
def test_objectives_on_pools_need_pools(objectives):
    with pytest.raises(UsageError, match="needs OOD pools"):
        make_problem(task=make_task(ood=False), objectives=objectives)
    assert make_problem(task=make_task(ood=False), objectives=["error"]).n_obj == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "unit", "hidden": ()}, "did you mean 'units'"),
        ({"encoding": "neurons", "hidden": ()}, "needs a hidden layer"),
        ({"objectives": ["eror"]}, "did you mean 'error'"),
        ({"objectives": []}, "no objective"),
        ({"repeats": 0}, "repeats must be >= 1"),
        ({"members": 0}, "members >= 1, not 0"),
        ({"members": 3, "readers": 4}, "1 to 3 readers a feature, not 3 members and 4 readers"),
        ({"members": 3, "encoding": "edges"}, "connections are pruned in single heads"),
        ({"members": 3, "mode": "warm"}, "mode 'warm' starts from a plain head's weights"),
        ({"members": 3, "mode": "one_shot"}, "mode 'one_shot' starts"),
        ({"mode": "shrot"}, "did you mean 'short'"),
        ({"objectives": ["error"], "reported": ["error"]}, "'error' is given twice"),
        ({"reported": ["eror"]}, "did you mean 'error'"),
        ({"activation": "rleu"}, "did you mean 'relu'"),
        ({"device": "gpu"}, "device 'gpu' is not usable"),
        ({"features": "nothing"}, "nothing"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, message):
    given = {"hidden": (5,)} | options
    with pytest.raises(UsageError, match=message):
        PruningProblem(make_task(), make_network(), training=QUICK, **given)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnCuda(ProblemContract):
    population = 24
    tolerance = 0.1  # of 18 images one may change sides

    def make_problem(self):
        return make_problem(device="cuda")
