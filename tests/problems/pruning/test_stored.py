"""Pruning with features on disk: the contract, and the same bits as with features in memory."""

import numpy as np
import pytest
import torch
from torch import nn

from moprune.data import StoredFeatures, Task, open_features, rows
from moprune.errors import UsageError
from moprune.networks import FeatureExtractor
from moprune.networks.given import AsGiven, GivenFeatures
from moprune.objectives import objective
from moprune.population import Training, streaming
from moprune.testing import ProblemContract
from problems.pruning import Protocol, PruningProblem
from problems.pruning.controls import Setting, points

QUICK = Training(epochs=4, batch_size=20, learning_rate=0.05)
OBJECTIVES = ("error", "brier", "active_fraction", objective("ood_auroc", detector="energy"))


@pytest.fixture(autouse=True)
def _places(tmp_path, monkeypatch):
    """A cache of this test's own, and blocks far smaller than the data when heads are trained."""
    monkeypatch.setenv("MOPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 2000)


def made_features(folder, count=200, width=12, classes=5):
    random = np.random.default_rng(0)
    labels = np.arange(count) % classes
    features = random.normal(size=(classes, width))[labels] + random.normal(size=(count, width))
    folder.mkdir(exist_ok=True)
    np.save(folder / "features.npy", features.astype(np.float32))
    np.save(folder / "labels.npy", labels)
    return Task.from_source(open_features(folder), ood_search=["3"], ood_test=["4"])


def given_problem(task, **options):
    extractor = FeatureExtractor(GivenFeatures(), features="features", preprocess=AsGiven())
    defaults = {"objectives": OBJECTIVES, "hidden": (6,), "training": QUICK, "device": "cpu", "encoding": "units"}
    return PruningProblem(task, extractor, **defaults | options)


def masks(problem, count=9):
    return np.random.default_rng(1).random((count, problem.n_var)) < np.linspace(0.1, 1, count)[:, None]


class TestTheContract(ProblemContract):
    population = 12

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path / "data"

    def make_problem(self):
        task = made_features(self.folder)
        return given_problem(task, memory_limit=1, strategy="loop", protocol=Protocol(folds=3, refit=True))


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "loop", "protocol": Protocol(folds=3, refit=True)},
        {"strategy": "stacked", "repeats": 2},
        {"members": 3, "protocol": Protocol(folds=2)},
        {"mode": "warm", "training": Training(epochs=5, patience=1, restore_best=True)},
        {"mode": "one_shot"},
        {"encoding": "edges", "objectives": (*OBJECTIVES, "parameters")},
    ],
    ids=lambda options: next(iter(options)),
)
def test_values_are_those_of_features_in_memory_bit_for_bit(tmp_path, options):
    task = made_features(tmp_path / "data")
    total = 4 * 12 * sum(task.sizes().values())
    held, stored = (given_problem(task, memory_limit=limit, **options) for limit in (total, total - 1))
    assert isinstance(held.scorer.matrix("train"), torch.Tensor)
    assert all(isinstance(stored.scorer.matrix(part), StoredFeatures) for part in ("train", "search/3", "test/4"))
    assert held.fingerprint() == stored.fingerprint()
    X, splits = masks(held), ("search", "select", "test")
    assert (held.values(X, splits) == stored.values(X, splits)).all()
    names = ("anova", "magnitude") if held.encoding.layers == (0,) else ("magnitude",)
    assert all((held.ranking(name) == stored.ranking(name)).all() for name in names)


def test_features_of_images_too_large_for_memory_give_the_same_values():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    images = torch.randn(3, 1, 4, 4, generator=generator)[labels] + torch.randn(120, 1, 4, 4, generator=generator)
    task, network = Task.from_tensors(images, labels), nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 3))
    for parameter in network.parameters():
        parameter.data.normal_(generator=generator)
    options = {"objectives": ("error", "active_fraction"), "hidden": (6,), "training": QUICK, "device": "cpu"}
    held, stored = (PruningProblem(task, network, memory_limit=n, **options) for n in (2**20, 1))
    assert isinstance(stored.scorer.matrix("search"), StoredFeatures)
    X = masks(held)
    assert (held.values(X, ("search", "test")) == stored.values(X, ("search", "test"))).all()
    assert torch.equal(held.network(X[4])(torch.ones(2, 1, 4, 4)), stored.network(X[4])(torch.ones(2, 1, 4, 4)))


def test_logits_in_blocks_are_those_of_all_rows_to_rounding(tmp_path, monkeypatch):
    task = made_features(tmp_path / "data")
    X, values = None, []
    for size in (10**6, 500):
        monkeypatch.setattr(rows, "BLOCK_BYTES", size)
        problem = given_problem(task, memory_limit=1, objectives=("brier", "nll"))
        X = masks(problem) if X is None else X
        values.append(problem.values(X, ("search", "test")))
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@pytest.mark.parametrize("name", ["unpruned", "anova", "magnitude", "magnitude_one_shot", "magnitude_weights"])
def test_controls_that_read_batches_have_the_same_points(tmp_path, name):
    task = made_features(tmp_path / "data")
    found = []
    for limit in (2**20, 1):
        problem = given_problem(task, memory_limit=limit, encoding="features")
        data = problem._training_set(Protocol().lessons(task, "search", 0)[0])
        setting = Setting(problem.encoding, data, QUICK, 0, (3, 12))
        genomes = [point for point in points(name, setting) if point.genome is not None]
        recipes = [point.fit for point in points(name, setting) if point.fit is not None]
        table = problem.table(problem.outcomes_of(recipes, ("search",)), len(recipes), ("search",))
        found.append((np.array([point.genome for point in genomes]), table))
    assert (found[0][0] == found[1][0]).all()
    assert found[0][1].equals(found[1][1])


@pytest.mark.parametrize("name", ["mutual_information", "lasso", "group_lasso", "logistic_regression"])
def test_controls_that_need_all_features_say_so(tmp_path, name):
    task = made_features(tmp_path / "data")
    problem = given_problem(task, memory_limit=1, encoding="features")
    data = problem._training_set(Protocol().lessons(task, "search", 0)[0])
    setting = Setting(problem.encoding, data, QUICK, 0, (3,))
    with pytest.raises(UsageError, match=r"needs all features in memory, .* raise pruning.memory_limit"):
        [point.fit(data) for point in points(name, setting)]


@pytest.mark.parametrize("detector", ["knn", "mahalanobis", "knn_features", "mahalanobis_features"])
def test_detectors_that_need_all_features_are_refused(tmp_path, detector):
    objectives = ("error", objective("ood_auroc", detector=detector))
    with pytest.raises(UsageError, match="take detector msp, max_logit, energy or odin"):
        given_problem(made_features(tmp_path / "data"), memory_limit=1, objectives=objectives)


@pytest.mark.parametrize("name", ["adversarial_error", objective("ood_auroc", detector="odin_perturbed")])
def test_what_changes_images_is_refused_of_given_features(tmp_path, name):
    with pytest.raises(UsageError, match="change images, and of given features there are none"):
        given_problem(made_features(tmp_path / "data"), objectives=("error", name))


def test_a_pool_of_another_width_is_refused(tmp_path):
    made_features(tmp_path / "other", width=5)
    made_features(tmp_path / "data")
    task = Task.from_source(open_features(tmp_path / "data"), ood_search=[str(tmp_path / "other")], ood_test=["4"])
    with pytest.raises(UsageError, match="width 5, those of train 12"):
        given_problem(task).values(np.ones((1, 18), dtype=bool), ["search"])
