"""The rules of layer selection: what is searched and who is chosen, as published and as it should be."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from experiments.loading import load_experiment
from experiments.tasks import task_kind
from experiments.tasks.front_members import front_ensemble, front_soup
from moprune.errors import UsageError
from problems.selection import Graded, Importances

SIZES = {"search": 150, "select": 50}
SMALL = ["data.splits.train.limit=60", "selection.recipe.epochs=1", "selection.seeds=2"]


def points(**columns):
    losses = {"search": [0.10, 0.11, 0.30], "select": [0.10, 0.11, 0.02], "test": [0.5, 0.5, 0.0]}
    errors = {f"{loss}_{split}": v for loss in ("macro_error", "error") for split, v in losses.items()}
    costs = {"trainable_parameters_select": [900, 500, 10], "trainable_share_select": [0.9, 0.5, 0.01]}
    return pd.DataFrame({"solution": ["a", "b", "c"], **errors, **costs, **columns})


def test_the_least_error_on_search_and_select_is_chosen_and_as_published_on_search_alone():
    sound = task_kind(load_experiment("mo-selection"))
    assert sound.choose(points(), SIZES) == "a"
    assert (
        sound.choose(points(macro_error_select=[0.10, 0.11, 0.02], macro_error_search=[0.1, 0.05, 0.3]), SIZES) == "b"
    )
    paper = task_kind(load_experiment("biotune"))
    assert paper.choose(points(), SIZES) == "a"
    assert paper.choose(points(macro_error_search=[0.10, 0.09, 0.3]), SIZES) == "b"
    assert not paper.optimistic


def test_a_budget_limits_the_trainable_share_unless_nobody_keeps_it():
    kind = task_kind(load_experiment("mo-selection", ["budget=0.2"]))
    assert kind.choose(points(), SIZES) == "c"
    assert kind.choose(points(trainable_share_select=[0.9, 0.8, 0.7]), SIZES) == "a"
    assert "at most 20% of the parameters" in kind.choice(["macro_error"])


def test_where_no_cost_is_a_goal_the_least_loss_is_chosen():
    kind = task_kind(load_experiment("mo-selection", ["objectives=[macro_error]", "search.algorithm=ga"]))
    assert kind.choose(points(), SIZES) == "a"
    assert kind.choice(["macro_error", "error"]) == "least macro_error on search and select"


def test_the_published_profile_is_as_published():
    config = load_experiment("mo-selection", ["profile=paper"])
    selection, recipe = config.selection, config.selection.recipe
    assert (recipe.optimiser, recipe.learning_rate, recipe.epochs, recipe.patience) == ("adam", 1e-3, 30, 3)
    assert (recipe.batch_size, recipe.horizon, recipe.statistics, recipe.weight_decay) == (96, 100, "all", 0.0)
    assert (selection.genome, selection.seeds, selection.folds, selection.rungs) == ("importances", 3, 2, ())
    assert (config.search.algorithm, config.search.pop_size, config.search.n_eval) == ("biotune_faithful", 10, 140)
    assert [o.name for o in config.objectives] == ["macro_error"]


def test_the_sound_profile_follows_the_algorithm_and_the_data():
    assert len(load_experiment("mo-selection").selection.rungs) == 1
    assert load_experiment("mo-selection", ["search.algorithm=nsga2"]).selection.rungs == ()
    seen = load_experiment("mo-selection", ["data.corruptions={search: [contrast@3], test: [jpeg@3]}"])
    assert [o.name for o in seen.objectives] == ["macro_error", "trainable_parameters", "corruption_error"]
    assert "trainable_share" in [o.name for o in seen.reported]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["selection.genome=importance"], ["importance", "graded, importances"]),
        (["selection.genome=importances", "selection.ranks=[2]"], ["ranks", "importances"]),
        (["selection.ranks=[4, 2]"], ["ranks", "rising"]),
        (["selection.log_rates=[1, -2]"], ["log_rates", "least"]),
        (["selection.units={early: []}"], ["units", "early: [conv1.*, bn1.*]"]),
        (["selection.units=[conv1]"], ["units", "group of keys"]),
        (["selection.recipe.optimiser=lion"], ["optimiser", "adam, adamw, sgd"]),
        (["selection.recipe.statistics=batch"], ["statistics", "all, frozen, tuned"]),
        (["selection.recipe.batch_size=1"], ["batch_size", "2"]),
        (["selection.folds=1"], ["folds", "2"]),
        (["search.algorithm=nsga2", "selection.rungs=[{epochs: 0.5, images: 1}]"], ["rungs", "nsga2_promoting"]),
        (["budget=0.5", "reported=[error]"], ["budget", "trainable_share"]),
        (["objectives=[nll, trainable_parameters]", "reported=[trainable_share]"], ["macro_error, error"]),
        (["controls=[uniform_soup]"], ["uniform_soup", "front_soup", "linear_probe"]),
        (["pruning.hidden=[4]"], ["task pruning", "selection"]),
    ],
)
def test_what_says_nothing_is_refused_in_a_line(overrides, words):
    with pytest.raises(UsageError) as caught:
        load_experiment("mo-selection", overrides)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_kept_head_needs_the_classes_of_the_data():
    kind = task_kind(load_experiment("mo-selection", ["data.exclude=['9']"]))
    with pytest.raises(UsageError) as caught:
        kind.problem(1)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in ("10", "9", "new"))


def test_units_and_genes_are_those_of_the_configuration():
    own = "selection.units={early: [conv1.*, bn1.*], rest: [conv2.*, bn2.*, conv3.*, bn3.*], head: [linear.*]}"
    ranks = ["selection.ranks=[1, 2]", "selection.log_rates=[-1, 0]"]
    genotype = task_kind(load_experiment("mo-selection", [*SMALL, own, *ranks])).problem(1).genotype
    assert isinstance(genotype, Graded)
    assert [unit.name for unit in genotype.units] == ["early", "rest", "head"]
    assert (genotype.ranks, genotype.log_rates) == ((1, 2), (-1, 0))
    split = ["selection.parts=split", "selection.genome=importances", "search.algorithm=ga", "objectives=[macro_error]"]
    genotype = task_kind(load_experiment("mo-selection", [*SMALL, *split])).problem(1).genotype
    assert isinstance(genotype, Importances)
    assert len(genotype.units) == 2 * 3 + 1


def test_a_sound_search_starts_from_known_tunings_and_a_published_one_does_not():
    sound = task_kind(load_experiment("mo-selection", SMALL))
    problem = sound.problem(1)
    known = {row.tobytes() for row in problem.first_population(20)}
    assert len(known) > 5
    for algorithm in sound.algorithm(problem), sound.random_search(problem):
        algorithm.setup(problem, termination=("n_eval", 20), seed=1)
        assert known <= {each.X.tobytes() for each in algorithm.ask()}
    paper = task_kind(load_experiment("biotune", SMALL))
    algorithm = paper.algorithm(paper.problem(1))
    algorithm.setup(paper.problem(1), termination=("n_eval", 10), seed=1)
    anchors = {row.tobytes() for row in paper.problem(1).first_population(10)}
    assert not anchors & {each.X.tobytes() for each in algorithm.ask()}


def test_a_control_that_cannot_be_made_is_refused_before_the_search():
    kind = task_kind(load_experiment("mo-selection", [*SMALL, "controls=[lp_ft]"]))  # it takes two epochs
    with pytest.raises(UsageError, match="lp_ft"):
        kind.check(kind.problem(1))
    ranked = task_kind(load_experiment("mo-selection", [*SMALL, "search.ranking=anova"]))
    with pytest.raises(UsageError, match=r"search\.ranking"):
        ranked.algorithm(ranked.problem(1))


@pytest.fixture(scope="module")
def members(cache):
    """A problem of two training seeds, and some genomes of it."""
    problem = task_kind(load_experiment("mo-selection", SMALL)).problem(1)
    return problem, problem.first_population(4)


def logits(problem, state):
    network, split = problem.network_of(state), problem.task.test
    images = torch.stack([problem.scorer.preprocess(split.inputs[i]) for i in range(len(split))])
    with torch.no_grad():
        return network(images), split.labels


def test_a_soup_is_the_mean_of_the_members_weights(members):
    problem, genomes = members
    networks = [problem.network(genome).state_dict() for genome in genomes]
    soup = front_soup(problem, genomes)
    ((state,),) = soup.predictors
    mean = problem.network_of(state).state_dict()
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            expected = torch.stack([each[name] for each in networks]).mean(0)
            torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-6)
    (outcome,) = next(problem.outcomes_of([soup], ["test"]))["test"]
    torch.testing.assert_close(outcome.logits, logits(problem, state)[0], rtol=1e-4, atol=1e-4)
    assert outcome.costs["trainable_share"] == 1.0  # everything is among the members


def test_an_ensemble_is_the_mean_of_the_members_probabilities_for_each_training_seed(members):
    problem, genomes = members
    ensemble = front_ensemble(problem, genomes)
    outcomes = next(problem.outcomes_of([ensemble], ["test"]))["test"]
    assert len(outcomes) == problem.seeds == 2
    trainings = list(problem.fitted(genomes))
    for seed, outcome in enumerate(outcomes):
        alone = [logits(problem, each[seed].state)[0].softmax(1) for each in trainings]
        expected = torch.stack(alone).mean(0)
        torch.testing.assert_close(outcome.logits.softmax(1), expected, rtol=1e-4, atol=1e-5)
    whole = problem.costs([name for unit in problem.units for name in unit.parameters], {})["stored_bytes"]
    assert outcomes[0].costs["stored_bytes"] == len(genomes) * whole


def test_random_search_draws_whole_batches_for_what_the_search_spent(members):
    kind = task_kind(load_experiment("mo-selection", [*SMALL, "search.pop_size=4"]))
    problem = kind.problem(1)
    # A training image is three passes, and every search image one; from two training seeds.
    cost = 2 * (3 * 60 + len(problem.task.search))
    for images, expected in (9 * cost, 8), (4 * cost, 4), (cost, 4):
        assert kind.random_evaluations(SimpleNamespace(problem=problem, images=lambda n=images: n)) == expected
