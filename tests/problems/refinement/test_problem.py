"""RefinementProblem: candidates are networks with other weights, scored as a plain forward pass scores them."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.func import functional_call

from moprune import metrics
from moprune.algorithms.adaptive_de import SHADE
from moprune.contexts import Context
from moprune.data import Task
from moprune.errors import UsageError
from moprune.networks.digits import DigitsNet
from moprune.networks.selection import state_of
from moprune.objectives import objective
from moprune.population.recipes import Recipe
from moprune.search import search
from moprune.testing import ProblemContract
from problems.refinement import RefinementProblem
from problems.refinement.genomes import Mixing, Scales, Subspace, Weights
from problems.refinement.members import Members


def images(n, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    return torch.rand(n, 1, 8, 8, generator=generator) + labels.view(-1, 1, 1, 1) * 0.1, labels


def make_task(**options):
    inputs, labels = images(180, 1)
    return Task.from_tensors(inputs, labels, test=images(60, 2), seed=0, **options)


def make_network():
    network = DigitsNet(3, width=4, seed=1)
    network.train()
    with torch.no_grad():
        network(images(60, 3)[0])  # statistics that are not those of a fresh network
    return network.eval()


def make_members(network, count=3):
    states = []
    for k in range(count):
        generator = torch.Generator().manual_seed(k)
        states.append(
            {
                name: value + 0.05 * value.abs().mean() * torch.randn(value.shape, generator=generator)
                for name, value in state_of(network).items()
                if not name.endswith("running_var")
            }
        )
    return Members(tuple(states), (Recipe(),) * count, tuple(f"member {k + 1}" for k in range(count)), 0)


def make_problem(kind="head", **options):
    network = make_network()
    members = make_members(network)
    genotype = {
        "head": lambda: Weights(network, ["head"], 0.1),
        "norms": lambda: Weights(network, ["norms"], 0.1),
        "unbounded": lambda: Weights(network, ["convolutions", "norms"]),
        "scales": lambda: Scales(network, ["all"], per="filter", spread=0.2),
        "mixing": lambda: Mixing(network, members.states, per="layer"),
        "subspace": lambda: Subspace(network, ["all"], 6, kind="random", spread=0.1, seed=0),
    }[kind]()
    return RefinementProblem(
        make_task(), network, genotype, members=members, device="cpu", **({"batch_size": 20} | options)
    )


def by_hand(problem, state, split):
    """Logits of a split by plain PyTorch."""
    network = make_network()
    given = problem.task.split(split)
    inputs = torch.stack([given.inputs[i] for i in range(len(given))])
    with torch.no_grad():
        return functional_call(network, dict(state), (inputs,)), given.labels


class TestHeads(ProblemContract):
    exact = False  # a linear layer's sums depend on how many rows are multiplied at once
    tolerance = 1e-6
    population = 8

    def make_problem(self):
        return make_problem("head", objectives=["nll", "ece"], reported=["error", "macro_f1"])


class TestMixtures(ProblemContract):
    exact = False
    tolerance = 1e-6
    population = 6

    def make_problem(self):
        return make_problem("mixing", objectives=["nll", "worst_class_error"], reestimate=True)


@pytest.mark.parametrize("kind", ["head", "norms", "scales", "mixing", "subspace"])
def test_values_are_those_of_a_plain_forward_pass(kind):
    problem = make_problem(kind, objectives=["nll", "error", "worst_class_error"])
    X = np.random.default_rng(0).uniform(problem.xl, problem.xu, (3, problem.n_var))
    values = problem.values(X, ("search", "test"))
    for i, state in enumerate(problem.states(X)):
        for s, split in enumerate(("search", "test")):
            logits, labels = by_hand(problem, state, split)
            assert values[i, s, 0] == pytest.approx(metrics.nll(logits, labels), rel=1e-5)
            assert values[i, s, 1] == pytest.approx(metrics.error(logits, labels), abs=1 / 30)
            expected = problem.objectives[2].compute(problem.scorer._outcome({split: logits}, split))
            assert values[i, s, 2] == pytest.approx(expected, abs=1 / 9)


@pytest.mark.parametrize("kind", ["head", "unbounded", "scales", "mixing", "subspace"])
def test_the_first_population_begins_with_the_pretrained_network(kind):
    problem = make_problem(kind)
    first = problem.first_population(10)
    assert (first[0] == problem.genotype.start).all()
    assert len(np.unique(first, axis=0)) == len(first) <= 5
    logits, labels = by_hand(problem, {}, "search")
    assert problem.values(first[:1])[0, 0, 0] == pytest.approx(metrics.nll(logits, labels), rel=1e-6)
    assert (problem.first_population(2) == first[:2]).all()


def test_members_and_their_mean_are_in_the_first_population():
    problem = make_problem("mixing")
    first = problem.first_population(10)
    losses = problem.losses([(state,) for state in problem.members.states])
    assert problem.values(first[2:])[:, 0, 0] == pytest.approx(losses, rel=1e-6)
    soup = {
        name: torch.stack([state[name] for state in problem.members.states]).mean(0)
        for name in problem.members.states[0]
    }
    assert problem.values(first[1:2])[0, 0, 0] == pytest.approx(problem.losses([(soup,)])[0], rel=1e-5)


def test_a_search_ends_no_worse_than_it_began():
    problem = make_problem("norms")
    start = problem.values(problem.genotype.start)[0, 0, 0]
    run = search(problem, SHADE(8, sampling=problem.first_population(8)), n_eval=40, seed=1)
    assert run.history()["nll_search"].min() <= start


def test_several_states_predict_together():
    problem = make_problem("mixing")
    states = problem.members.states
    (outcome,) = (each["test"][0] for each in problem.outcomes_of([states], ["test"]))
    mean = torch.stack([by_hand(problem, state, "test")[0].softmax(1) for state in states]).mean(0)
    assert outcome.logits.softmax(1).numpy() == pytest.approx(mean.numpy(), abs=1e-5)


def test_states_may_change_what_genomes_do_not():
    problem = make_problem("head")
    states = [{}, problem.members.states[0], {"linear.bias": torch.ones(3)}]
    losses = problem.losses([(state,) for state in states])
    for state, loss in zip(states, losses, strict=True):
        assert loss == pytest.approx(metrics.nll(*by_hand(problem, state, "search")), rel=1e-5)


@pytest.mark.parametrize("name", ["nll", "error", "brier"])
def test_bounds_change_no_decision(name):
    problem = make_problem("norms", objectives=[name], batch_size=3)
    X = np.random.default_rng(1).uniform(problem.xl, problem.xu, (30, problem.n_var))
    full = problem.evaluate(X, return_as_dictionary=True)
    values = full["F"][:, 0]
    bounds = [*values[:10], *np.random.default_rng(2).permutation(values)[:10], *0.7 * values[20:]]
    out = problem.evaluate(X, return_as_dictionary=True, contexts=[Context(float(bound)) for bound in bounds])
    dropped = out["provisional"].ravel() > 0
    assert ((out["F"][:, 0] <= bounds) == (values <= bounds)).all()
    assert not dropped[:10].any()  # equal to the bound is not beyond it
    assert dropped.any()
    assert (out["F"][dropped, 0] > np.array(bounds)[dropped]).all()
    assert out["F"][~dropped, 0] == pytest.approx(values[~dropped], rel=1e-9)
    images = out["images"].ravel()
    assert (images[~dropped] == len(problem.task.search)).all()
    assert (images[dropped] < len(problem.task.search)).any()


def test_bounds_that_cannot_be_told_from_a_part_are_no_bounds():
    for options in ({"objectives": ["nll", "error"]}, {"objectives": ["ece"]}, {"objectives": ["macro_f1"]}):
        problem = make_problem("head", **options)
        out = problem.evaluate(problem.first_population(1), return_as_dictionary=True, contexts=[Context(-1.0)])
        assert not out["provisional"].any()


def test_a_subset_has_the_classes_of_the_whole_and_counts_its_images():
    problem = make_problem("head", images_a_subset=12)
    x = problem.first_population(1)
    out = problem.evaluate(np.repeat(x, 3, 0), return_as_dictionary=True, contexts=[
        Context(subset=0), Context(subset=1), Context(subset=0)
    ])  # fmt: skip
    assert out["F"][0] == out["F"][2] != out["F"][1]
    assert out["images"].ravel().tolist() == [12, 12, 12]
    assert out["provisional"].all()
    rows = problem._subset(0)
    assert torch.bincount(problem.task.search.labels[rows]).tolist() == [4, 4, 4]
    logits, labels = by_hand(problem, {}, "search")
    assert out["F"][0, 0] == pytest.approx(metrics.nll(logits[rows], labels[rows]), rel=1e-5)
    assert (problem.reseeded(1)._subset(0) != rows).any()
    with pytest.raises(UsageError, match="no subsets"):
        make_problem("head").evaluate(x, contexts=[Context(subset=0)])


def test_reestimated_statistics_are_those_of_the_training_images():
    problem = make_problem("norms", reestimate=True)
    network = copy.deepcopy(make_network())
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    given = problem.task.train
    inputs = torch.stack([given.inputs[i] for i in range(len(given))])
    order = problem.scorer._calibration(False).order
    network.train()
    with torch.no_grad():
        for batch in inputs[order].split(20):
            network(batch)
        network.eval()
        tests = torch.stack([problem.task.test.inputs[i] for i in range(60)])
        expected = metrics.nll(network(tests), problem.task.test.labels)
    start = problem.genotype.start
    assert problem.values(start, ("test",))[0, 0, 0] == pytest.approx(expected, rel=1e-4)
    with torch.no_grad():
        assert metrics.nll(problem.network(start)(tests), problem.task.test.labels) == pytest.approx(expected, rel=1e-4)
    assert expected != pytest.approx(make_problem("norms").values(start, ("test",))[0, 0, 0], rel=1e-3)


def test_the_search_alone_is_scored_in_less_precision():
    plain, rough = make_problem("norms"), make_problem("norms", precision="bfloat16")
    x = plain.genotype.start + 0.05 * np.random.default_rng(0).standard_normal((6, plain.n_var))
    whole = plain.values(x, ("search", "select", "test"))
    found = rough.values(x, ("search", "select", "test"))
    assert (found[:, 1:] == whole[:, 1:]).all()
    assert (found[:, 0] != whole[:, 0]).any()
    assert np.allclose(found[:, 0], whole[:, 0], rtol=0.02)
    assert rough.fingerprint() != plain.fingerprint()
    assert np.allclose(rough.evaluate(x), found[:, 0])
    with pytest.raises(UsageError, match="precision"):
        make_problem("norms", precision="int8")


def test_pools_and_corruptions_are_scored_where_objectives_ask_for_them():
    inputs, labels = images(180, 1)
    pools = {split: {f"noise{split == 'test'}": torch.rand(20, 1, 8, 8)} for split in ("search", "test")}
    task = Task.from_tensors(inputs, labels, test=images(60, 2), ood=pools, seed=0)
    network = make_network()
    problem = RefinementProblem(
        task, network, Weights(network, ["head"], 0.1), objectives=["nll", "ood_auroc"], device="cpu"
    )
    (row,) = problem.assess(problem.first_population(1), ["test"]).to_dict("records")
    pool = torch.stack([task.ood["test"]["noiseTrue"][i] for i in range(20)])
    with torch.no_grad():
        inside, outside = by_hand(problem, {}, "test")[0], network(pool)
    expected = metrics.auroc(metrics.ood_scores(inside, "energy"), metrics.ood_scores(outside, "energy"))
    assert row["ood_auroc_test"] == pytest.approx(expected, abs=1e-3)


def test_a_prediction_that_is_not_finite_counts_as_none():
    problem = make_problem("unbounded")
    genome = problem.genotype.start.copy()
    genome[:] = 1e30
    assert problem.values(genome)[0, 0, 0] == pytest.approx(np.log(3))
    out = problem.evaluate(genome[None], return_as_dictionary=True, contexts=[Context(0.5)])
    assert out["F"][0, 0] > 0.5


def test_the_network_of_a_genome_predicts_what_was_scored():
    problem = make_problem("scales")
    genome = np.random.default_rng(0).uniform(problem.xl, problem.xu)
    network = problem.network(genome)
    inputs = torch.stack([problem.task.test.inputs[i] for i in range(60)])
    with torch.no_grad():
        assert metrics.nll(network(inputs), problem.task.test.labels) == pytest.approx(
            problem.values(genome, ("test",))[0, 0, 0], rel=1e-5
        )
    assert len(problem.unit_names()) == problem.n_var


def test_the_problem_can_be_pickled():
    problem = make_problem("mixing")
    twin = pickle.loads(pickle.dumps(problem))  # noqa: S301 - made a moment ago, here
    assert (twin.values(twin.first_population(3)) == problem.values(problem.first_population(3))).all()
    assert twin.fingerprint() == problem.fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": ["adversarial_error"]}, "which pruning alone provides"),
        ({"objectives": [objective("ood_auroc", detector="knn")]}, "which pruning alone provides"),
        ({"objectives": ["corruption_error"]}, "needs corruptions for search and test"),
        ({"images_a_subset": 2}, "images_a_subset is 2; give 3"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        make_problem("head", **options)


def test_the_classes_must_be_those_of_the_network():
    network = DigitsNet(4, width=4)
    with pytest.raises(UsageError, match="4 outputs and task 'tensors' has 3 classes"):
        RefinementProblem(make_task(), network, Weights(network, ["head"], 0.1), device="cpu")
