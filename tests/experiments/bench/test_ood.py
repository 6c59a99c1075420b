import numpy as np
import pytest
import torch

from experiments.bench import ood as bench
from experiments.bench.digits import genomes, pruning_problem
from moprune.errors import MopruneError, UsageError

TINY = {"candidates": 2, "hidden": 6, "rounds": 2}


def test_measures_both_ways_and_finds_them_equal():
    row = bench.bench_ood(**TINY)
    assert (row.name, row.sizes["detectors"]) == ("ood", 8)
    assert 0 < row.ways["naive"].ratio.least <= row.ways["naive"].ratio.most
    assert 0 <= row.difference <= bench.TOLERANCE


def test_every_detector_without_gradients_is_measured():
    assert set(bench.MEASURED) == {
        "msp", "max_logit", "energy", "odin", "knn", "knn_features", "mahalanobis", "mahalanobis_features",
    }  # fmt: skip


def test_another_auroc_is_an_error(monkeypatch):
    naive = bench._naive
    monkeypatch.setattr(bench, "_naive", lambda *given: naive(*given) + 0.01)
    with pytest.raises(MopruneError, match="AUROC differs"):
        bench.bench_ood(**TINY)


def test_the_naive_detectors_tell_things_apart():
    # AUROCs near a half alone would make agreement cheap.
    problem = pruning_problem(["error"], hidden=32, epochs=0, seed=0, device=torch.device("cpu"))
    found = bench._naive(problem, np.ones((1, problem.n_var), dtype=bool))
    assert found.shape == (1, 8)
    assert found.max() > 0.9


def test_work_by_hand():
    problem = pruning_problem(["error"], hidden=3, epochs=0, seed=0, device=torch.device("cpu"))
    population = np.zeros((1, problem.n_var), dtype=bool)
    population[0, :2] = True
    head = 2 * (5 + 7) * (2 * 3 + 3 * 4)
    two, three = (2 * 7 * 5 * d + 2 * 5 * d * d + d**3 / 3 + 7 * d * d for d in (2, 3))
    work = bench.work(problem, population, 5, 7)
    assert (work.operations, work.bytes) == (pytest.approx(head + two + three), 4 * 12 * 2)


def test_genomes_are_the_same_again_and_never_empty():
    problem = pruning_problem(["error"], hidden=3, epochs=0, seed=0, device=torch.device("cpu"))
    drawn = genomes(problem, 50, 1)
    assert (drawn == genomes(problem, 50, 1)).all()
    assert drawn.any(1).all()
    assert drawn.mean(1).std() > 0.1


@pytest.mark.parametrize("wrong", [{"candidates": 0}, {"rounds": 1}])
def test_arguments_that_make_no_benchmark(wrong):
    with pytest.raises(UsageError, match="a benchmark needs"):
        bench.bench_ood(**{**TINY, **wrong})
