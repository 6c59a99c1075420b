"""What holds of all controls."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from moprune.contexts import Context
from moprune.data import Task
from moprune.errors import UsageError
from moprune.networks import units
from moprune.networks.selection import state_of
from moprune.population.tuning import TuningRecipe
from problems.selection import Graded, Importances
from problems.selection.anchors import anchors
from problems.selection.controls import CONTROLS, Setting, points, suitable
from problems.selection.problem import SelectionProblem

NAMES = [
    pytest.param(
        name, marks=pytest.mark.skipif(name == "tpe" and not importlib.util.find_spec("optuna"), reason="needs optuna")
    )
    for name in CONTROLS
]


def spent(found):
    return sum(point.images for point in found)


@pytest.mark.parametrize("name", NAMES)
def test_points_repeat_themselves_fit_the_network_and_leave_it_alone(make_setting, name):
    setting = make_setting(candidates=4, head="new", seeds=2)
    before, random_state = state_of(setting.problem.base), torch.get_rng_state()
    first, again = points(name, setting), points(name, setting)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[key]) for key, value in state_of(setting.problem.base).items())
    assert 0 < len(first) == len({point.name for point in first})
    assert 0 < spent(first) <= setting.budget
    for one, other in zip(first, again, strict=True):
        assert (one.name, one.images, one.fitted.names) == (other.name, other.images, other.fitted.names)
        assert len(one.fitted.predictors) == 2
        trained = zip(one.fitted.predictors, other.fitted.predictors, setting.starts, strict=True)
        for (state,), (same,), start in trained:
            assert all(torch.equal(value, same[key]) for key, value in state.items())
            # Whatever moved has been counted.
            origin = {**before, **start}
            moved = {key for key, value in state.items() if not torch.equal(value, origin[key])}
            assert moved <= {*one.fitted.names, *one.fitted.ranks}
            assert all(value.isfinite().all() for value in state.values())
    assert np.isfinite(setting.problem.losses([point.fitted for point in first])).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("candidates", [2.2, 6.0])
def test_no_budget_is_exceeded(make_setting, name, candidates):
    setting = make_setting(candidates=candidates, epochs=4, recipe={"patience": 1, "epochs": 4})
    found = points(name, setting)
    assert 0 < spent(found) <= setting.budget


@pytest.mark.parametrize("patience", [None, 1])
def test_a_control_costs_and_scores_what_the_search_says_of_the_same_tuning(make_setting, patience):
    setting = make_setting(candidates=2, epochs=5, head="new", seeds=2, recipe={"patience": patience})
    problem = setting.problem
    genomes = {name: problem.genotype.encode(t) for name, t in anchors(problem.base, problem.units, problem.genotype)}
    same = {
        ("linear_probe", "head at 1"): "head alone",
        ("norms_only", "norms at 1"): "norms",
        ("full", "everything at 0.1"): "everything at 0.1",
        ("last_k", "last 2 at 1"): "last 2",
        ("first_k", "first 2 at 1"): "first 2",
        ("single_units", "conv2..bn2 alone at 1"): "conv2..bn2 alone",
        ("lora", "rank 2 at 1"): "rank 2",
        ("subtuning", "head at 1"): "head alone",
    }
    for (control, point), anchor in same.items():
        found = {each.name: each for each in points(control, setting)}[point]
        out = problem.evaluate(genomes[anchor][None], return_as_dictionary=True, contexts=[Context()])
        assert found.images == out["images"][0]
        assert problem.losses([found.fitted]) == pytest.approx(out["F"][:, 0], rel=1e-12)
        (outcomes,) = problem.outcomes_of([found.fitted], ["search"])
        costs = [each.compute(outcomes["search"][0]) for each in problem.objectives[1:]]
        assert costs == out["natural"][0, 1:].tolist()


def test_what_does_not_suit(task, make_setting):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    problem = SelectionProblem(
        task, network, Graded(network, units(network)), recipe=TuningRecipe(epochs=1), device="cpu"
    )
    setting = Setting(problem, 1e6)
    fitting = ["linear_probe", "full", "l2_sp", "l1_sp", "auto_rgn", "auto_snr", "tpe"]
    assert suitable(setting) == fitting
    with pytest.raises(UsageError, match=r"control 'lp_ft' does not suit this search .*; choose from: linear_probe"):
        points("lp_ft", setting)
    with pytest.raises(UsageError, match="control"):
        points("lpft", setting)
    assert suitable(make_setting()) == list(CONTROLS)


@pytest.mark.parametrize("name", ["full", "gradual_last", "auto_rgn", "subtuning"])
def test_too_small_a_budget_is_refused(make_setting, name):
    with pytest.raises(UsageError, match=r"the search spent .* one candidate takes .*; give the search more"):
        points(name, make_setting(candidates=0.99))


@pytest.mark.parametrize("name", ["full", "gradual_last", "l2_sp", "auto_rgn"])
def test_what_diverges_has_failed(make_setting, name):
    setting = make_setting(candidates=3, recipe={"learning_rate": 1e30, "optimiser": "sgd"})
    found = points(name, setting)
    assert all(not point.fitted.predictors for point in found)
    worst = setting.problem.objectives[0].worst
    assert setting.problem.losses([point.fitted for point in found]) == [worst] * len(found)


def test_importances_have_controls_too(make_setting):
    network = make_setting().problem.base
    setting = make_setting(candidates=3, genotype=Importances(units(network, "block")))
    assert [point.name for point in points("lora", setting)] == ["rank 1 at 1", "rank 4 at 1", "rank 8 at 1"]


def test_scoring_on_pools_is_paid_for(make_setting):
    generator = torch.Generator().manual_seed(0)
    inputs, *pools = (torch.rand(count, 1, 8, 8, generator=generator) for count in (60, 20, 10))
    noise = {split: {f"noise for {split}": pool} for split, pool in zip(("search", "test"), pools, strict=True)}
    data = Task.from_tensors(inputs, torch.arange(60) % 3, ood=noise, seed=0)
    setting = make_setting(data=data, epochs=1, objectives=("macro_error", "ood_fpr95"))
    problem, pool = setting.problem, sum(map(len, data.ood["search"].values()))
    out = problem.evaluate(problem.first_population(1), return_as_dictionary=True, contexts=[Context()])
    assert setting.cost() == out["images"][0] == 3 * len(data.train) + len(data.search) + pool
    assert pool > 0
