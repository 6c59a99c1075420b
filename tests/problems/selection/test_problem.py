"""SelectionProblem: candidates are networks with some parts fine-tuned, worth what plain PyTorch makes of them."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional

from moprune import metrics
from moprune.algorithms import make
from moprune.contexts import Context
from moprune.data import Task
from moprune.errors import UsageError
from moprune.networks import merged, units
from moprune.networks.digits import DigitsNet
from moprune.objectives import objective
from moprune.population.tuning import Tuner, TuningRecipe
from moprune.search import search
from moprune.testing import ProblemContract
from problems.selection import Fitted, Graded, Importances, Rung, SelectionProblem, Tuning
from problems.selection.fidelity import fold_of

BLOCKS = ["conv1..bn1", "conv2..bn2", "conv3..bn3", "linear"]
# A step an epoch, on all images, so that their order says nothing.
WHOLE = {"batch_size": 200, "epochs": 2, "learning_rate": 0.01}


def images(n, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    return torch.rand(n, 1, 8, 8, generator=generator) + labels.view(-1, 1, 1, 1) * 0.2, labels


def make_task(**options):
    inputs, labels = images(150, 1)
    return Task.from_tensors(inputs, labels, test=images(30, 2), seed=0, **options)


def make_network(classes=3):
    network = DigitsNet(classes, width=4, seed=1)
    network.train()
    with torch.no_grad():
        network(images(60, 3)[0])  # statistics that are not those of a fresh network
    return network.eval()


def make_problem(kind="graded", classes=3, recipe=None, **options):
    network = make_network(classes)
    found = units(network, "block")
    genotype = Importances(found) if kind == "importances" else Graded(network, found, ranks=(1,))
    recipe = TuningRecipe(**({"batch_size": 32, "epochs": 1, "statistics": "frozen"} | (recipe or {})))
    return SelectionProblem(make_task(), network, genotype, recipe=recipe, device="cpu", **options)


def forgetful(problem):
    """Returns a problem that works everything out again."""
    problem.trainer.memory.limit = problem.scoring.memory.limit = problem.costs.memory.limit = 0
    return problem


def genome(problem, rates, grades=None):
    return problem.genotype.encode(Tuning(dict(zip(BLOCKS, rates, strict=True)), grades or {}))


def stacked(split):
    return torch.stack([split.inputs[i] for i in range(len(split))]), split.labels


def by_hand(problem, names, rates, epochs, start=None, rows=None):
    """A network trained by plain PyTorch with one step an epoch; names of parameters and factors of the rate."""
    network = copy.deepcopy(make_network(len(problem.task.classes)))
    network.load_state_dict(start or {}, strict=False)
    inputs, labels = stacked(problem.task.train)
    if rows is not None:
        inputs, labels = inputs[rows], labels[rows]
    parameters = dict(network.named_parameters())
    groups = [{"params": [parameters[name]], "factor": rate} for name, rate in zip(names, rates, strict=True)]
    adam = torch.optim.Adam(groups, lr=0.01)
    for epoch in range(epochs):
        for group in adam.param_groups:
            group["lr"] = group["factor"] * 0.01 * (1 + math.cos(math.pi * epoch / epochs)) / 2
        adam.zero_grad()
        functional.cross_entropy(network(inputs), labels).backward()
        adam.step()
    return network.requires_grad_(False)


def nll(network, split, rows=None):
    inputs, labels = stacked(split)
    rows = torch.arange(len(labels)) if rows is None else rows
    return metrics.nll(network(inputs[rows]), labels[rows])


def counted_trainings(problem):
    """Returns a list that tells the trainings of each call to the engine from now on."""
    calls, tuner = [], problem.trainer.tuner
    tune = tuner.tune
    tuner.tune = lambda jobs, *rest: calls.append(len(jobs)) or tune(jobs, *rest)
    return calls


class TestGraded(ProblemContract):
    exact = False  # sums depend on how many images are multiplied at once
    population = 4

    def make_problem(self):
        costs = ["trainable_share", "stored_bytes", "backward_flops"]
        return forgetful(
            make_problem(classes=5, head="new", seeds=2, objectives=["macro_error", "nll", *costs], batch_size=20)
        )


class TestImportances(ProblemContract):
    exact = False
    population = 4

    def make_problem(self):
        recipe = {"statistics": "all", "patience": 1, "horizon": 100, "epochs": 2}
        return forgetful(make_problem("importances", folds=2, rungs=[Rung(0.5, 0.5)], recipe=recipe))


NAMES = ["conv1.weight", "bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias", "linear.weight", "linear.bias"]


@pytest.mark.parametrize("head", ["kept", "new"])
def test_a_candidate_is_worth_what_plain_pytorch_makes_of_it(head):
    problem = make_problem(objectives=["nll"], head=head, seeds=2, recipe=WHOLE)
    x = genome(problem, [1.0, 10**0.3, 0.0, 10**-0.3], {"conv2..bn2": "norms"})
    rates = [1.0, 1.0, 1.0, 10**0.3, 10**0.3, 10**-0.3, 10**-0.3]
    starts = [problem.head_start(i) for i in range(2)]
    assert [bool(start) for start in starts] == [head == "new"] * 2
    networks = [by_hand(problem, NAMES, rates, 2, start) for start in starts]
    found = problem.values(x, ("search", "select", "test"))[0, :, 0]
    for split, value in zip((problem.task.search, problem.task.select, problem.task.test), found, strict=True):
        assert value == pytest.approx(np.mean([nll(network, split) for network in networks]), rel=1e-4)
    inputs, _ = stacked(problem.task.test)
    assert torch.allclose(problem.network(x)(inputs), networks[0](inputs), atol=1e-3)
    if head == "new":
        assert nll(networks[0], problem.task.test) != pytest.approx(nll(networks[1], problem.task.test), rel=1e-3)


def test_a_fold_is_trained_and_scored_on_its_images():
    problem = make_problem(objectives=["nll"], folds=2, recipe=WHOLE)
    x = genome(problem, [1.0, 0.0, 0.0, 1.0])
    names = ["conv1.weight", "bn1.weight", "bn1.bias", "linear.weight", "linear.bias"]
    out = problem.evaluate(np.stack([x] * 4), return_as_dictionary=True, contexts=[
        Context(subset=0), Context(subset=1), Context(subset=2), Context()
    ])  # fmt: skip
    for fold in range(2):
        network = by_hand(problem, names, [1.0] * 5, 2, rows=fold_of(problem.task.train.labels, fold, 2))
        expected = nll(network, problem.task.search, fold_of(problem.task.search.labels, fold, 2))
        assert out["F"][fold, 0] == pytest.approx(expected, rel=1e-4)
    assert out["F"][0] == out["F"][2] != out["F"][1]
    assert out["F"][3, 0] == pytest.approx(nll(by_hand(problem, names, [1.0] * 5, 2), problem.task.search), rel=1e-4)
    assert out["provisional"].ravel().tolist() == [1, 1, 1, 0]
    train, searched = len(problem.task.train), len(problem.task.search)
    assert out["images"].ravel().tolist() == [3 * 2 * train / 2 + searched / 2] * 3 + [3 * 2 * train + searched]


def test_a_rung_is_trained_for_fewer_epochs_on_fewer_images():
    problem = make_problem(objectives=["nll"], rungs=[Rung(0.25, 0.5), Rung(0.5, 1.0)], recipe=WHOLE | {"epochs": 4})
    x = genome(problem, [0.0, 0.0, 0.0, 1.0])
    out = problem.evaluate(np.stack([x] * 2), return_as_dictionary=True, contexts=[Context(rung=0), Context(rung=1)])
    network = by_hand(problem, ["linear.weight", "linear.bias"], [1.0] * 2, 2)
    assert out["F"][1, 0] == pytest.approx(nll(network, problem.task.search), rel=1e-4)
    assert out["F"][0, 0] != pytest.approx(out["F"][1, 0], rel=1e-4)
    assert out["provisional"].all()
    train, searched = len(problem.task.train), len(problem.task.search)
    assert out["images"].ravel().tolist() == [3 * train / 2 + searched, 3 * 2 * train + searched]
    assert (problem.rungs, problem.seeds) == (2, 1)


def test_seeds_are_added_and_not_repeated():
    problem = make_problem(classes=5, head="new", seeds=3, objectives=["nll"])
    x = genome(problem, [1.0, 0.0, 0.0, 1.0])
    other = genome(problem, [0.0, 0.0, 1.0, 1.0])
    calls = counted_trainings(problem)
    found = []
    for seeds in (1, 2, 3):
        out = problem.evaluate(x[None], return_as_dictionary=True, contexts=[Context(seeds=seeds)])
        found.append(out["F"][0, 0])
        assert bool(out["provisional"]) == (seeds < 3)
        assert out["images"].ravel() == [3 * len(problem.task.train) + len(problem.task.search)]
    assert calls == [1, 1, 1]
    both = problem.evaluate(np.stack([x, other]), return_as_dictionary=True)
    assert calls == [1, 1, 1, 3]  # those of the other candidate, together
    assert both["F"][0, 0] == found[2]
    assert both["images"].ravel().tolist() == [3 * (3 * len(problem.task.train) + len(problem.task.search))] * 2
    singles = [metrics.nll(problem.network_of(each.state)(stacked(problem.task.search)[0]), problem.task.search.labels)
               for each in next(problem.fitted(x[None]))]  # fmt: skip
    assert found == pytest.approx([np.mean(singles[: k + 1]) for k in range(3)], rel=1e-5)
    assert calls == [1, 1, 1, 3]


def test_what_was_searched_is_what_is_assessed():
    problem = make_problem(seeds=2, objectives=["nll", "trainable_parameters"])
    X = problem.first_population(3)
    calls = counted_trainings(problem)
    searched = problem.evaluate(X, return_as_dictionary=True)["natural"]
    assessed = problem.assess(X)
    assert calls == [6]
    assert assessed[["nll_search", "trainable_parameters_search"]].to_numpy() == pytest.approx(searched, rel=1e-6)
    inputs, labels = stacked(problem.task.select)
    first, second = (problem.network_of(each.state) for each in next(problem.fitted(X[:1])))
    expected = np.mean([metrics.nll(network(inputs), labels) for network in (first, second)])
    assert assessed["nll_select"][0] == pytest.approx(expected, rel=1e-5)


def test_genomes_of_one_tuning_share_its_training():
    problem = make_problem()
    x = genome(problem, [0.0, 1.0, 0.0, 1.0])
    twin = x.copy()
    twin[3] = 0.5  # the rate of a frozen unit
    calls = counted_trainings(problem)
    F = problem.evaluate(np.stack([x, twin]))
    assert calls == [1]
    assert (F[0] == F[1]).all()


def test_sharing_prefixes_does_not_change_what_candidates_are_worth():
    problem, apart = (make_problem(objectives=["nll"], head="new", classes=5, seeds=2) for _ in range(2))
    split = apart.task.train
    apart.trainer._tuner = Tuner(apart.base, *stacked(split), apart.recipe, share=False)
    X = np.random.default_rng(0).uniform(problem.xl, problem.xu, (6, problem.n_var))
    assert problem.evaluate(X) == pytest.approx(apart.evaluate(X), rel=1e-4)


def test_a_candidate_that_selects_nothing_is_not_trained_and_has_every_worst_value():
    names = ["macro_error", "nll", "trainable_parameters", "trainable_share"]
    problem = make_problem("importances", objectives=names)
    x = np.array([0.3, 0.2, 0.3, 0.1, 0.9])
    assert not problem.selected(x).any()
    calls = counted_trainings(problem)
    out = problem.evaluate(x[None], return_as_dictionary=True)
    assert out["natural"].tolist() == [[o.worst for o in problem.objectives]]
    assert [o.worst for o in problem.objectives] == [1.0, 10.0, sum(p.numel() for p in problem.base.parameters()), 1.0]
    assert out["images"].tolist() == [0.0]
    assert (problem.values(x, ("select",))[0, 0] == out["natural"]).all()
    assert list(problem.fitted(x[None])) == [[]]
    assert calls == []
    inputs, _ = stacked(problem.task.test)
    assert torch.allclose(problem.network(x)(inputs), make_network()(inputs), atol=1e-6)


def test_a_training_that_diverges_has_every_worst_value():
    problem = make_problem(objectives=["nll", "stored_bytes"], recipe={"optimiser": "sgd", "learning_rate": 1e30})
    x = genome(problem, [1.0, 1.0, 1.0, 1.0])
    out = problem.evaluate(x[None], return_as_dictionary=True)
    assert out["natural"].tolist() == [[o.worst for o in problem.objectives]]
    assert (problem.values(x)[0] == out["natural"]).all()
    assert out["images"] == [3 * len(problem.task.train)]
    (candidate,) = problem.candidates(x[None])
    assert candidate.predictors == ()
    assert problem.losses([candidate]) == [10.0]


def test_which_genes_count():
    problem = make_problem("importances")
    assert problem.selected(np.array([0.6, 0.5, 0.4, 0.9, 0.5])).tolist() == [True, False, False, True, False]
    problem = make_problem()
    x = genome(problem, [0.0, 1.0, 0.0, 1.0])
    assert problem.selected(x).tolist() == [False, True, False, False, True, False, True]
    assert len(problem.unit_names()) == problem.n_var == len(problem.genotype.owners)


@pytest.mark.parametrize("kind", ["graded", "importances"])
def test_the_first_population_is_of_different_well_known_tunings(kind):
    problem = make_problem(kind)
    first = problem.first_population(30)
    assert len(np.unique(first, axis=0)) == len(first) > 5
    assert ((problem.xl <= first) & (first <= problem.xu)).all()
    assert [rate > 0 for rate in problem.tunings(first[:1])[0].rates.values()] == [False, False, False, True]
    assert (problem.first_population(2) == first[:2]).all()


def test_changes_of_low_rank_are_merged_where_they_are_scored():
    problem = make_problem(recipe={"epochs": 2})
    x = genome(problem, [0.0, 0.0, 1.0, 1.0], {"conv3..bn3": 1})
    ((tuned,),) = problem.fitted(x[None])
    assert set(tuned.factors) == {"conv3.weight"}
    before = make_network().state_dict()["conv3.weight"]
    assert torch.equal(tuned.state["conv3.weight"], merged(before, tuned.factors["conv3.weight"]))
    (again,) = forgetful(make_problem(recipe={"epochs": 2})).fitted(x[None])
    assert all(torch.equal(again[0].state[name], value) for name, value in tuned.state.items())


def test_networks_of_others_are_scored_by_the_same_protocol():
    problem = make_problem(seeds=2, objectives=["nll", "stored_bytes"])
    X = problem.first_population(2)
    candidates = list(problem.candidates(X))
    assert problem.losses(candidates) == pytest.approx(problem.evaluate(X)[:, 0], rel=1e-6)
    (one, _), (two, _) = (candidate.predictors for candidate in candidates)
    together = Fitted(((*one, *two),), candidates[1].names, candidates[1].ranks, copies=2)
    table = problem.table(problem.outcomes_of([together, Fitted((), ())], ["test"]), 2, ["test"])
    inputs, labels = stacked(problem.task.test)
    mean = torch.stack([problem.network_of(state)(inputs).softmax(1) for state in (*one, *two)]).mean(0)
    assert table["nll_test"][0] == pytest.approx(metrics.nll(mean.log(), labels), rel=1e-4)
    assert table["stored_bytes_test"][0] == 2 * problem.costs(candidates[1].names, candidates[1].ranks)["stored_bytes"]
    assert table["nll_test"][1] == 10


def test_training_stops_by_the_accuracy_on_search():
    problem = make_problem(folds=2, recipe={"patience": 1, "epochs": 50})
    run = problem.trainer.run(problem.tunings(problem.first_population(1))[0], seed=0, fold=1)
    validation = problem.trainer.job(run).validation
    rows = fold_of(problem.task.search.labels, 1, 2)
    assert torch.equal(validation.inputs, stacked(problem.task.search)[0][rows])
    assert torch.equal(validation.labels, problem.task.search.labels[rows])
    assert problem.trainer.tuned([run])[0].epochs < 50


def test_corruptions_and_pools_are_scored_where_objectives_ask_for_them():
    pools = {split: {f"noise{split == 'test'}": torch.rand(20, 1, 8, 8)} for split in ("search", "test")}
    inputs, labels = images(150, 1)
    task = Task.from_tensors(inputs, labels, test=images(30, 2), ood=pools, seed=0)
    network = make_network()
    problem = SelectionProblem(
        task,
        network,
        Importances(units(network)),
        objectives=["ood_auroc"],
        recipe=TuningRecipe(epochs=1),
        device="cpu",
    )
    x = problem.first_population(1)
    tuned = problem.network(x[0])
    inside, outside = (
        tuned(stacked(task.test)[0]),
        tuned(torch.stack([task.ood["test"]["noiseTrue"][i] for i in range(20)])),
    )
    expected = metrics.auroc(metrics.ood_scores(inside, "energy"), metrics.ood_scores(outside, "energy"))
    assert problem.values(x, ("test",))[0, 0, 0] == pytest.approx(expected, abs=1e-3)


def test_another_run_seed_trains_otherwise():
    problem = make_problem(classes=5, head="new", objectives=["nll"])
    other, X = problem.reseeded(1), problem.first_population(2)
    assert (problem.evaluate(X) != other.evaluate(X)).all()
    assert (other.evaluate(X) == make_problem(classes=5, head="new", objectives=["nll"], seed=1).evaluate(X)).all()
    assert (problem.context, other.context) == ("seed=0", "seed=1")
    assert problem.fingerprint() == other.fingerprint()


@pytest.mark.parametrize(
    "options",
    [
        {"recipe": {"epochs": 2}},
        {"recipe": {"precision": "bfloat16"}},
        {"head": "new"},
        {"seeds": 2},
        {"folds": 2},
        {"rungs": [Rung(0.5)]},
        {"kind": "importances"},
        {"objectives": ["nll"]},
    ],
)
def test_the_fingerprint_tells_problems_apart(options):
    assert make_problem(**options).fingerprint() != make_problem().fingerprint()


def test_the_problem_can_be_pickled():
    problem = make_problem(classes=5, head="new", folds=2)
    X = problem.first_population(3)
    before = problem.evaluate(X)
    twin = pickle.loads(pickle.dumps(problem))  # noqa: S301 - made a moment ago, here
    calls = counted_trainings(twin)
    assert twin.evaluate(X) == pytest.approx(before, rel=1e-6)
    assert calls == [3]
    assert twin.fingerprint() == problem.fingerprint()


class StoppedError(Exception):
    pass


def stopped_after(evaluations):
    def observe(progress):
        if progress.evaluations >= evaluations:
            raise StoppedError

    return observe


@pytest.mark.parametrize("name", ["nsga2", "nsga2_promoting", "biotune_faithful"])
def test_a_search_that_was_interrupted_ends_as_if_it_had_not_been(name, tmp_path):
    def run(folder, observe=None):
        biotune = name == "biotune_faithful"
        options = {"objectives": ["macro_error"], "folds": 2} if biotune else {"rungs": [Rung(1.0, 0.5)], "seeds": 2}
        problem = make_problem("importances" if biotune else "graded", classes=5, head="new", **options)
        algorithm = make(name, problem, pop_size=6, first=problem.first_population(3))
        return search(problem, algorithm, n_eval=24, seed=1, out=folder, observe=observe)

    whole = run(tmp_path / "whole")
    with pytest.raises(StoppedError):
        run(tmp_path / "interrupted", stopped_after(12))
    resumed = run(tmp_path / "interrupted")
    assert len(whole.history()) >= 3
    assert whole.history().drop(columns="seconds").equals(resumed.history().drop(columns="seconds"))
    assert np.array_equal(whole.genomes(), resumed.genomes())
    assert whole.images() == resumed.images() > 0
    assert whole.front().equals(resumed.front())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "none"}, "head"),
        ({"classes": 5}, "5 outputs and task 'tensors' has 3 classes; give head='new'"),
        ({"seeds": 0}, "seeds is 0"),
        ({"folds": 99}, "folds is 99; give 1 to"),
        ({"rungs": [Rung(0.5), Rung(0.25)]}, "give them in rising order"),
        ({"objectives": ["adversarial_error"]}, "an objective needs attacks"),
        ({"objectives": ["corruption_error"]}, "needs corruptions for search and test"),
        ({"objectives": [objective("ood_auroc")], "folds": 2}, "folds: an objective needs ood"),
        ({"objectives": ["active_units"]}, "'active_units' is not a cost of this task"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        make_problem(**options).evaluate(make_problem().first_population(1))


def test_units_of_another_network_are_refused():
    other = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.Flatten(), torch.nn.Linear(108, 3))
    with pytest.raises(UsageError, match=r"unit '0' has '0\.weight', which DigitsNet does not"):
        SelectionProblem(make_task(), make_network(), Importances(units(other)), device="cpu")


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (Context(subset=0), "this problem has no subsets; give it folds"),
        (Context(rung=1), "rung 1 was asked for; this problem has 1 rungs"),
        (Context(seeds=3), "3 training seeds was asked for; this problem has 1 to 2"),
        (Context(seeds=0), "0 training seeds was asked for"),
    ],
)
def test_contexts_that_the_problem_does_not_have_are_refused(context, message):
    problem = make_problem(rungs=[Rung(0.5, 0.5)], seeds=2)
    with pytest.raises(UsageError, match=message):
        problem.evaluate(problem.first_population(1), contexts=[context])
