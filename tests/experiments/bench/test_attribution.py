import pytest
import torch

from experiments.bench import attribution as bench
from experiments.bench.digits import genomes, pruning_problem
from moprune.errors import MopruneError, UsageError

TINY = {"candidates": 2, "images": 8, "hidden": 6, "rounds": 2}


def test_measures_both_ways_and_finds_them_equal():
    row = bench.bench_attribution(**TINY)
    assert (row.name, row.unit, row.sizes["images"]) == ("attribution", "members", 8)
    parts = sorted([row.figures["ratio of conductances alone"], row.figures["ratio of maps alone"]])
    assert parts[0] > 0
    assert 0 <= row.difference <= bench.TOLERANCE
    assert row.floor.least > 0


@pytest.fixture
def members():
    problem = pruning_problem(["error"], hidden=6, epochs=1, seed=0, device=torch.device("cpu"))
    return bench.Members(problem, problem.heads(genomes(problem, 2, 0)), 40)


def test_both_ways_find_something(members):
    assert all(float(each.abs().max()) > 0.01 for each in [*members.conductances(), *members.maps()])


@pytest.mark.parametrize(("way", "change"), [("naive_maps", 1.01), ("naive_conductances", float("nan"))])
def test_another_value_is_an_error(members, monkeypatch, way, change):
    found = getattr(members, way)()
    monkeypatch.setattr(members, way, lambda: [each * change for each in found])
    with pytest.raises(MopruneError, match="differs from captum's"):
        bench._compare(members)


@pytest.mark.parametrize("wrong", [{"candidates": 0}, {"images": 3}, {"rounds": 1}])
def test_arguments_that_make_no_benchmark(wrong):
    with pytest.raises(UsageError, match="a benchmark needs"):
        bench.bench_attribution(**{**TINY, **wrong})
