"""First populations: what was given, what is drawn, and in which type."""

import copy
import tracemalloc

import numpy as np
import pytest
from pymoo.core.problem import Problem
from pymoo.operators.sampling.lhs import LHS
from pymoo.operators.sampling.rnd import FloatRandomSampling

from moprune.algorithms import make
from moprune.algorithms.single_objective import ADAPTIVE_DE, SINGLE_OBJECTIVE
from moprune.algorithms.start import FirstMembers, initial_population
from moprune.contexts import PLAIN

D = 300_000


class Wide(Problem):
    """Single-precision variables; each candidate's loss is its mean square."""

    dtype = np.dtype(np.float32)

    def __init__(self, n_var=5):
        super().__init__(n_var=n_var, n_obj=1, xl=-1.0, xu=1.0)
        self.types = set()

    def _evaluate(self, X, out, *_, **__):
        self.types.add(X.dtype)
        out["F"] = np.square(X).mean(axis=1)


def test_drawn_members_are_those_of_pymoo_in_the_problems_type():
    problem = Wide()
    ours = initial_population(problem, None, 6, np.random.default_rng(2)).get("X")
    theirs = FloatRandomSampling().do(problem, 6, random_state=np.random.default_rng(2)).get("X")
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs.astype(np.float32))
    lhs = initial_population(problem, LHS(), 6, np.random.default_rng(2)).get("X")
    assert lhs.dtype == np.float32


@pytest.mark.parametrize("name", [*SINGLE_OBJECTIVE, "gde3", "nsde", "nsga2"])
def test_first_members_come_first_and_the_rest_lies_within_the_bounds(name):
    problem = Wide()
    rows = np.random.default_rng(0).uniform(-1, 1, size=(3, 5)).astype(np.float32)
    algorithm = make(name, problem, pop_size=8, first=rows)
    for _ in range(2):  # a copy starts as the original does
        begun = copy.deepcopy(algorithm).setup(problem, termination=("n_eval", 80), seed=1)
        X = begun.ask().get("X")
        assert X.shape == (8, 5)
        np.testing.assert_array_equal(X[:3], rows)
        assert np.abs(X).max() <= 1


def test_first_members_are_shared_by_copies_and_kept():
    rows = np.zeros((2, 5))
    sampling = FirstMembers(rows)
    assert copy.deepcopy(sampling).rows is rows
    population = initial_population(Wide(), sampling, 2, np.random.default_rng(0))
    population[0].X += 1
    assert not rows.any()


def test_bounds_that_single_precision_cannot_hold_do_not_refuse_a_member_on_them():
    problem = Wide()
    problem.xl = np.full(5, -0.1)  # above what float32 makes of it
    first = np.full((1, 5), -0.1, dtype=np.float32)
    assert (first < problem.xl).all()
    assert len(initial_population(problem, first, 2, np.random.default_rng(0))) == 2


@pytest.mark.parametrize("name", [*ADAPTIVE_DE, "bat", "rpso", "firefly", "cmaes"])
def test_candidates_keep_the_type_of_the_problem(name):
    problem = Wide(8)
    algorithm = make(name, problem, pop_size=8).setup(problem, termination=("n_eval", 60), seed=1)
    while algorithm.has_next():
        algorithm.next()
    assert problem.types == {np.dtype(np.float32)}
    assert algorithm.pop.get("X").dtype == np.float32


@pytest.mark.parametrize(("name", "populations"), [("tde", 2), ("sade", 2), ("sa_shade_faithful", 2), ("sa_shade", 3)])
def test_beside_population_archive_and_trials_there_are_a_few_rows_at_most(name, populations):
    """A run on 300,000 variables, whose losses are given as they would be by a problem that holds no copies."""
    problem, n, row = Wide(D), 20, 4 * D
    rng = np.random.default_rng(0)
    first = [rng.random(D, dtype=np.float32) for _ in range(n)]  # these become the members
    tracemalloc.start()
    algorithm = make(name, problem, pop_size=n, first=first).setup(problem, termination=("n_eval", 160), seed=1)
    del first
    while algorithm.has_next():
        infills = algorithm.ask()
        infills.set("F", rng.random((n, 1)))
        assert len({(each.get("context") or PLAIN).subset for each in infills}) == 1
        algorithm.evaluator.n_eval += n
        algorithm.tell(infills=infills)
        del infills
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (populations - 1) * n * row < peak < populations * n * row + 6 * row
