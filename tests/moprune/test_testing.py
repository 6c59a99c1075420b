"""The contracts accept what keeps them and catch what does not."""

import random
from functools import partial

import numpy as np
import pytest
import torch

from moprune.algorithms import make
from moprune.errors import MopruneError
from moprune.objectives import Objective
from moprune.testing import AlgorithmContract, ObjectiveContract, ProblemContract, ToyProblem, toy_problem


class TestToyProblem(ProblemContract):
    def make_problem(self):
        return toy_problem()


def test_the_optimum_of_the_toy_problem_is_its_front():
    problem = toy_problem(5)
    everything = (np.arange(32)[:, None] >> np.arange(5) & 1).astype(bool)
    F = problem.minimised(problem.values(everything)[:, 0])
    dominated = [any((g <= f).all() and (g < f).any() for g in F) for f in F]
    front = {row.tobytes() for row in everything[~np.array(dominated)]}
    assert front == {row.tobytes() for row in problem.optimum()}
    assert problem.values(problem.optimum())[:, 0, 0].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


class Altered(ToyProblem):
    """Spoils the values of the toy problem in one way."""

    def __init__(self, how):
        super().__init__()
        self.how, self.calls = how, 0

    def values(self, X, splits=("search",)):
        table = super().values(X, splits)
        self.calls += 1
        if self.how == "depends on the batch":
            table += len(X) * 1e-3
        elif self.how == "depends on the order":
            table += np.arange(len(X))[:, None, None] * 1e-3
        elif self.how == "depends on earlier calls":
            table += self.calls * 1e-3
        elif self.how == "depends on hashes":
            table += hash("a string") % 1000
        elif self.how == "changes the genomes":
            X[:] = ~X
        elif self.how == "draws from random":
            random.random()
        elif self.how == "draws from numpy":
            np.random.rand()  # noqa: NPY002
        elif self.how == "draws from torch":
            torch.rand(1)
        elif self.how == "shifts other splits":
            table[:, 1:] += 1e-3 * len(splits)
        return table

    def fingerprint(self):
        return super().fingerprint() | ({"at": id(self)} if self.how == "unstable fingerprint" else {})

    def checked(self, X):
        return X[:, : self.n_var].astype(bool) if self.how == "takes anything" else super().checked(X)

    def __deepcopy__(self, memo):
        return Altered(self.how) if self.how == "copies" else self

    def __reduce__(self):
        return (Altered, (self.how,)) if self.how != "cannot be pickled" else (lambda: None, ())


@pytest.mark.parametrize(
    ("how", "test"),
    [
        ("depends on the batch", "test_alone_as_in_a_population"),
        ("depends on the batch", "test_pieces_of_a_population_do_not_matter"),
        ("depends on the order", "test_the_order_of_a_population_does_not_matter"),
        ("depends on earlier calls", "test_a_deep_copy_shares_everything"),
        ("depends on hashes", "test_the_same_in_another_process"),
        ("cannot be pickled", "test_the_same_in_another_process"),
        ("changes the genomes", "test_genomes_are_not_modified"),
        ("draws from random", "test_global_random_states_stay_untouched"),
        ("draws from numpy", "test_global_random_states_stay_untouched"),
        ("draws from torch", "test_global_random_states_stay_untouched"),
        ("shifts other splits", "test_a_split_does_not_depend_on_the_others_asked_for"),
        ("unstable fingerprint", "test_the_fingerprint_is_json_and_repeats_itself"),
        ("takes anything", "test_genomes_that_do_not_fit_are_refused"),
        ("copies", "test_a_deep_copy_shares_everything"),
    ],
)
def test_a_broken_problem_is_caught(how, test):
    suite = ProblemContract()
    suite.make_problem = lambda: Altered(how)
    with pytest.raises(AssertionError, match=r"\w"):
        getattr(suite, test)()


def forgetful(problem):
    algorithm = make("nsga2", problem, pop_size=6)
    algorithm.mating.mutation.do = partial(_unseeded, algorithm.mating.mutation)
    return algorithm


def _unseeded(mutation, problem, pop, **options):
    return type(mutation).do(mutation, problem, pop, **options | {"random_state": np.random.default_rng()})


def test_an_algorithm_that_draws_unseeded_is_caught():
    suite = AlgorithmContract()
    suite.make_algorithm = forgetful
    with pytest.raises(AssertionError, match="same seed differ"):
        suite.test_the_same_seed_asks_for_the_same_genomes()
    with pytest.raises((AssertionError, MopruneError), match=r"differs once|does not repeat itself"):
        suite.test_a_resumed_run_equals_a_straight_one()


def test_an_algorithm_of_one_generation_is_no_fault():
    suite = AlgorithmContract()
    suite.make_algorithm = lambda problem: make("nsga2", problem, pop_size=60)
    suite.test_a_resumed_run_equals_a_straight_one()


def _objective(compute, **options):
    return Objective(**{"name": "mine", "unit": "share", "minimise": True, "worst": 1.0, "compute": compute} | options)


@pytest.mark.parametrize(
    ("objective", "test"),
    [
        (_objective(lambda o: float("nan")), "test_values_are_finite_and_no_worse_than_the_worst"),
        (_objective(lambda o: 2.0), "test_values_are_finite_and_no_worse_than_the_worst"),
        (_objective(lambda o: np.random.rand()), "test_it_is_deterministic"),  # noqa: NPY002
        (_objective(lambda o: float(o.logits[0, 0])), "test_the_order_of_images_does_not_matter"),
        (_objective(lambda o: o.costs["active_fraction"]), "test_a_cost_does_not_read_images_nor_a_measure_costs"),
        (
            _objective(lambda o: float(o.logits.max()), is_cost=True),
            "test_a_cost_does_not_read_images_nor_a_measure_costs",
        ),
        (_objective(lambda o: float(len(o.ood_logits))), "test_it_reads_only_what_it_says_it_needs"),
        (_objective(lambda o: float(len(o.corrupted_logits))), "test_it_reads_only_what_it_says_it_needs"),
        (_objective(lambda o: float(o.attacked is None)), "test_it_reads_only_what_it_says_it_needs"),
        (_objective(lambda o: float(o.perturbed is None)), "test_it_reads_only_what_it_says_it_needs"),
        (
            _objective(lambda o: float(o.representations is None), needs=frozenset({"ood"})),
            "test_it_reads_only_what_it_says_it_needs",
        ),
        (_objective(lambda o: float(o.features is None)), "test_it_reads_only_what_it_says_it_needs"),
        (
            _objective(lambda o: float(o.features.train[0, 0]), needs=frozenset({"features"})),
            "test_the_order_of_images_does_not_matter",
        ),
        (
            _objective(lambda o: float(o.representations.images[0, 0]), needs=frozenset({"representations"})),
            "test_the_order_of_images_does_not_matter",
        ),
        (
            _objective(lambda o: float(o.representations.images.sum()), is_cost=True),
            "test_a_cost_does_not_read_images_nor_a_measure_costs",
        ),
        (_objective(lambda o: 0.0), "test_it_can_be_pickled"),
    ],
)
def test_a_broken_objective_is_caught(objective, test):
    suite = ObjectiveContract()
    suite.make_objective = lambda: objective
    with pytest.raises(AssertionError, match=r"\w"):
        getattr(suite, test)()


class Reporting(ToyProblem):
    """Reports beside its objectives, or forgets to."""

    def __init__(self, forgets=False):
        super().__init__()
        self.forgets = forgets
        self.reported = (_objective(_nothing, name="nothing"),)

    def assess(self, X, splits=("search", "select", "test")):
        table = super().assess(X, splits)
        return table.drop(columns=[each for each in table if self.forgets and each.startswith("nothing")])


def _nothing(_outcome):
    return 0.0


class TestReporting(ProblemContract):
    def make_problem(self):
        return Reporting()


def test_a_problem_that_forgets_what_it_reports_is_caught():
    suite = ProblemContract()
    suite.make_problem = lambda: Reporting(forgets=True)
    with pytest.raises(AssertionError, match="objective and report"):
        suite.test_values_are_finite_and_of_the_right_shape()
