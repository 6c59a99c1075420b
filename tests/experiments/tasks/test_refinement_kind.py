"""The rules of refinement: what is searched and who is chosen, as published and as it should be."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.loading import load_experiment
from experiments.tasks import task_kind
from experiments.tasks.drawn import drawn
from experiments.tasks.refinement import searched_on_train
from moprune.data import Task, open_digits
from moprune.errors import UsageError
from moprune.networks import DigitsNet, pretrained_digits, state_of
from problems.refinement.genomes import Mixing, Scales, Weights
from problems.refinement.members import Members
from problems.refinement.problem import RefinementProblem

SIZES = {"search": 300, "select": 100}


def points(**columns):
    return pd.DataFrame({"solution": ["a", "b", "c"], **columns})


@pytest.mark.parametrize(
    ("experiment", "chosen"), [("sa-shade", "b"), ("sa-shade-paper", "c"), ("metaheuristics-paper", "a")]
)
def test_members_are_chosen_on_what_the_profile_says(experiment, chosen):
    # On search a is best, on select (published: the test) c, on both together b.
    splits = {"search": [0.1, 0.2, 0.6], "select": [0.9, 0.3, 0.1], "test": [0.0, 0.0, 0.0]}
    table = points(**{f"{loss}_{split}": values for loss in ("nll", "error") for split, values in splits.items()})
    assert task_kind(load_experiment(experiment)).choose(table, SIZES) == chosen


def test_a_single_objective_chooses_and_of_several_the_loss():
    errors = {f"{name}_{split}": values for split in SIZES for name, values in
              {"macro_error": [0.1, 0.5, 0.5], "nll": [3.0, 2.0, 1.0]}.items()}  # fmt: skip
    one = load_experiment("sa-shade", ["objectives=[macro_error]", "reported=[nll]"])
    two = load_experiment("sa-shade", ["objectives=[macro_error, nll]", "search.algorithm=nsga2"])
    assert task_kind(one).choose(points(**errors), SIZES) == "a"
    assert task_kind(one).choice(["macro_error", "nll"]) == "least macro_error on search and select"
    assert task_kind(two).choose(points(**errors), SIZES) == "c"


def test_a_better_worst_class_may_cost_a_point_of_error():
    kind = task_kind(load_experiment("worst-class"))
    errors = {"error_search": [0.10, 0.105, 0.15], "error_select": [0.10, 0.12, 0.10], "nll_search": [1, 2, 3]}
    worst = {f"worst_class_error_{split}": [0.5, 0.3, 0.1] for split in ("search", "select")}
    assert kind.choose(points(**errors, **worst), SIZES) == "b"  # of b .8 points of error more than the least, of c 3.8
    assert "for at most 1% more error" in kind.choice(["error", "worst_class_error"])


def test_a_search_of_class_biases_starts_from_a_soup_and_what_the_rule_makes_of_it():
    changes = ["refinement.start=uniform_soup", "refinement.members={count: 2, epochs: 1}", "search.pop_size=10"]
    kind = task_kind(load_experiment("worst-class", changes))
    problem = kind.problem(1)
    _, network, _ = kind._data
    assert problem.genotype.changed == ("linear.bias",)
    soup = {
        name: torch.stack([state.get(name, each) for state in problem.members.states]).mean(0)
        for name, each in state_of(network).items()
    }
    for name, tensor in state_of(problem.scorer.base).items():
        torch.testing.assert_close(tensor, soup[name], rtol=1e-5, atol=1e-6)
    first = kind._first(problem)
    assert (first[0] == problem.genotype.start).all()
    assert 1 < len(first) <= 10
    errors = problem.values(first)[:, 0]
    assert errors[1:, 1].min() <= errors[0, 1]  # the worst class of some step is no worse than the soup's
    start, pretrained = (kind._setting(problem, 10).pretrained, state_of(network))
    restored = problem.network_of(start)
    assert all(torch.equal(each, pretrained[name]) for name, each in state_of(restored).items())


def test_the_best_member_can_be_the_start():
    kind = task_kind(
        load_experiment("worst-class", ["refinement.start=best_member", "refinement.members={count: 2, epochs: 1}"])
    )
    problem = kind.problem(1)
    losses = problem.losses([(state,) for state in problem.members.states])
    assert problem.values(problem.genotype.start)[0, 0, 0] == pytest.approx(min(losses))


def test_as_published_train_is_searched_and_test_selects():
    generator = torch.Generator().manual_seed(0)
    task = Task.from_tensors(torch.rand(60, 1, 4, 4, generator=generator), torch.arange(60) % 3)
    published = searched_on_train(task)
    assert published.search is task.train
    assert published.select is published.test is task.test
    assert published.optimistic
    kinds = {name: task_kind(load_experiment(name)) for name in ("sa-shade", "sa-shade-paper", "metaheuristics-paper")}
    assert [kind.optimistic for kind in kinds.values()] == [False, True, False]


def test_shares_are_drawn_from_the_simplex_and_boxes_uniformly():
    network = DigitsNet(3, width=2)
    generator = torch.Generator().manual_seed(0)
    members = [
        {name: torch.randn(p.shape, generator=generator) for name, p in network.named_parameters()} for _ in range(3)
    ]
    mixing = Mixing(network, members, per="layer")
    random = np.random.default_rng(0)
    shares = np.array([drawn(mixing, mixing.start[None]).draw(random) for _ in range(200)])
    assert shares.shape == (200, mixing.n_var)
    totals = shares.reshape(200, -1, 3).sum(2)
    assert shares.min() >= 0
    assert totals.max() <= 1
    assert abs(shares.mean() - 1 / 4) < 0.01  # flat over the start and three members

    scales = Scales(network, ["all"])
    box = drawn(scales, scales.start[None]).do(_box(scales), 500, random_state=random).get("X")
    assert abs(box).max() <= scales.spread
    assert abs(box.mean()) < 0.01


def test_without_bounds_the_first_population_is_mixed_or_nothing_is_drawn():
    weights = Weights(DigitsNet(3, width=2), ["head"])
    first = np.stack([weights.start, weights.start + 1])
    one = drawn(weights, first).draw(np.random.default_rng(0))
    share = one - weights.start
    assert np.ptp(share) < 1e-6  # one share for all
    assert 0 <= share[0] <= 1
    with pytest.raises(UsageError, match="nothing bounds the weights"):
        drawn(weights, first[:1])


def test_members_that_cannot_be_averaged_are_warned_of():
    network = pretrained_digits()
    task = Task.from_source(open_digits().without(["5", "6", "7", "8", "9"])[0])
    start = state_of(network)
    # The channels of a layer in another order: the same function, but weights whose mean makes no sense.
    order = torch.arange(16).flip(0)
    other = {name: start[name][order] for name in start if name.startswith(("conv1.", "bn1."))}
    other["conv2.weight"] = start["conv2.weight"][:, order]
    near = {name: 1.01 * tensor if name == "linear.weight" else tensor for name, tensor in start.items()}
    kind = task_kind(load_experiment("sa-shade"))
    for members, said in ((start, other), 1), ((start, near), 0):
        given = Members(members, (), ("one", "two"), 0)
        problem = RefinementProblem(task, network, Weights(network, ["head"]), members=given)
        assert problem.losses([(start,)]) == pytest.approx(problem.losses([(other,)]), abs=1e-5)
        notes = kind.notes(SimpleNamespace(problem=problem))
        assert len(notes) == said
        assert all("do not share a basin" in note for note in notes)


def test_a_control_that_cannot_be_made_is_refused_before_the_search():
    kind = task_kind(load_experiment("metaheuristics", ["controls=[start, uniform_soup]"]))
    with pytest.raises(UsageError, match="uniform_soup"):
        kind.check(kind.problem(1))
    unbounded = ["refinement.delta=null", "controls=[start, random]", "search.algorithm=shade"]
    kind = task_kind(load_experiment("metaheuristics", unbounded))
    with pytest.raises(UsageError, match="control random"):
        kind.check(kind.problem(1))


def _box(genotype):
    from pymoo.core.problem import Problem

    problem = Problem(n_var=genotype.n_var, n_obj=1, xl=genotype.lower, xu=genotype.upper)
    problem.dtype = np.dtype(np.float64)
    return problem
