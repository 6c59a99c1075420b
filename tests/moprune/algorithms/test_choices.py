"""Operators for choices among real numbers: what children may be, how often choices move; the rest is pymoo's."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from scipy.stats import binomtest, chisquare

from moprune.algorithms import (
    WITH_OPERATORS,
    ChoiceCrossover,
    ChoiceMutation,
    ChoiceRepair,
    SelectedDuplicateElimination,
    make,
)
from moprune.errors import UsageError
from moprune.log import EvaluationLog
from moprune.search import run_algorithm
from moprune.testing import AlgorithmContract, toy_problem

CHOICES = np.array([True, True, False, False, True, False])
UPPER = np.array([3.0, 1.0, 2.0, 5.0, 4.0, 1.0])


class Mixed(Problem):
    """Two objectives of which both depend on the whole part of choices alone."""

    def __init__(self, choices=CHOICES, upper=UPPER, lower=0.0):
        super().__init__(n_var=len(choices), n_obj=2, xl=np.full(len(choices), lower), xu=upper)
        self.choices = choices
        self.asked = []

    def _evaluate(self, X, out, *_, **__):
        self.asked.append(X.copy())
        Z = np.where(self.choices, np.minimum(np.floor(X), self.xu - 1), X)
        out["F"] = np.column_stack([Z.sum(axis=1), ((self.xu - Z) ** 2).sum(axis=1)])


def draws(n, seed=0):
    return np.random.default_rng(seed).uniform(0, UPPER, (n, len(UPPER)))


def crossed(X, Y, seed=0):
    """Returns both children of each pair of rows, ``(2, n, D)``."""
    pop, n = Population.new("X", np.concatenate([X, Y])), len(X)
    pairs = np.column_stack([np.arange(n), np.arange(n) + n])
    random_state = np.random.default_rng(seed)
    children = ChoiceCrossover(CHOICES).do(Mixed(), pop, parents=pairs, random_state=random_state)
    return children.get("X").reshape(2, n, -1)


def mutated(X, seed=0):
    pop = Population.new("X", X.copy())
    return ChoiceMutation(CHOICES).do(Mixed(), pop, random_state=np.random.default_rng(seed)).get("X")


def repaired(X):
    return ChoiceRepair(CHOICES).do(Mixed(), Population.new("X", X.copy())).get("X")


@given(st.integers(0, 10**6))
def test_children_share_out_their_parents_choices(seed):
    X, Y = draws(5, seed), draws(5, seed + 1)
    first, second = crossed(X, Y, seed)
    kept = (first == X) & (second == Y)
    swapped = (first == Y) & (second == X)
    assert (kept | swapped)[:, CHOICES].all()
    for children in (first, second):
        assert ((children >= 0) & (children <= UPPER)).all()


def test_half_of_the_choices_are_swapped_and_the_rest_is_spread_as_by_sbx():
    X, Y = draws(4000), draws(4000, 1)
    first, second = crossed(X, Y)
    swapped = (first == Y)[:, CHOICES]
    assert swapped.mean() == pytest.approx(0.9 / 2, abs=0.02)  # of ten pairs one is left as it is
    moved = ((first != X) & (first != Y))[:, ~CHOICES]
    assert moved.mean() == pytest.approx(0.9 / 2, abs=0.02)  # SBX moves half of the variables, and leaves no value
    np.testing.assert_allclose(np.median((first + second - X - Y)[:, ~CHOICES], axis=0), 0, atol=0.02)


def test_a_choice_is_drawn_anew_once_in_six_and_any_of_its_values_equally_often():
    X = np.full((20000, 6), 0.5)
    mutants = mutated(X)
    assert ((mutants >= 0) & (mutants <= UPPER)).all()
    for variable in np.flatnonzero(CHOICES):
        drawn = mutants[:, variable][mutants[:, variable] != 0.5]
        assert binomtest(len(drawn), len(X), 0.9 / 6).pvalue > 1e-3
        counts = np.bincount(drawn.astype(int), minlength=int(UPPER[variable]))
        assert len(counts) == UPPER[variable]
        assert len(counts) == 1 or chisquare(counts).pvalue > 1e-3
    steps = mutants[:, ~CHOICES] - X[:, ~CHOICES]
    assert (steps != 0).mean() == pytest.approx(0.9 / 6, abs=0.01)


@given(st.integers(0, 10**6))
def test_repaired_choices_are_the_same_choices_and_equal_where_they_agree(seed):
    X = np.concatenate([draws(6, seed), np.round(draws(6, seed)), np.zeros((1, 6)), UPPER[None]])
    Y = repaired(X)
    assert (Y[:, ~CHOICES] == X[:, ~CHOICES]).all()
    problem = Mixed()
    np.testing.assert_allclose(problem.evaluate(Y), problem.evaluate(X))
    assert set(np.unique(Y[:, CHOICES] % 1)) == {0.5}
    assert (repaired(Y) == Y).all()


class TestContract(AlgorithmContract):
    def make_problem(self):
        return Mixed()

    def make_algorithm(self, problem):
        return make("nsga2_promoting", problem, pop_size=10, choices=CHOICES)


@pytest.mark.parametrize("choices", [np.zeros(6, dtype=bool), None], ids=["none", "not said"])
def test_without_choices_the_operators_are_those_of_nsga2(choices):
    with EvaluationLog() as log:
        run_algorithm(Mixed(), make("nsga2", Mixed(), pop_size=10, choices=choices), n_eval=80, seed=4, log=log)
        asked = log.requests("search", 4)
    with EvaluationLog() as log:
        run_algorithm(Mixed(), make("nsga2", Mixed(), pop_size=10), n_eval=80, seed=4, log=log)
        assert log.requests("search", 4) == asked


@pytest.mark.parametrize("name", WITH_OPERATORS)
def test_every_name_asks_for_repaired_choices_only(name):
    if name == "agemoea2" and importlib.util.find_spec("numba") is None:
        pytest.skip("agemoea2 needs numba, which is not installed")
    for choices in (CHOICES, np.ones(6, dtype=bool)):
        problem = Mixed(choices)
        with EvaluationLog() as log:
            algorithm = make(name, problem, pop_size=8, choices=choices, first=draws(3))
            run_algorithm(problem, algorithm, n_eval=60, seed=1, log=log)
        X = np.concatenate(problem.asked)
        assert (X[:, choices] % 1 == 0.5).all()
        assert len(np.unique(X, axis=0)) > 20
        np.testing.assert_array_equal(np.floor(X[:3, choices]), np.floor(draws(3)[:, choices]))


class Freezing(Mixed):
    """Where the first choice is 0, the variables after the second do not count."""

    def __init__(self):
        super().__init__(upper=np.array([2.0, 3.0, 2.0, 5.0, 4.0, 1.0]))

    def counting(self, x):
        return np.array([True, True, *[x[0] >= 1] * 4])

    def _evaluate(self, X, out, *_, **__):
        super()._evaluate(np.array([np.where(self.counting(x), x, 0) for x in X]), out)


class Telling(Freezing):
    selected = Freezing.counting


@pytest.mark.parametrize("name", ["nsga2", "nsga2_promoting"])
def test_candidates_that_differ_in_what_does_not_count_are_duplicates(name):
    clones = []
    for problem in (Freezing(), Telling()):
        with EvaluationLog() as log:
            algorithm = make(name, problem, pop_size=12, choices=CHOICES)
            X = run_algorithm(problem, algorithm, n_eval=150, seed=1, log=log).pop.get("X")
        frozen = X[X[:, 0] < 1]
        clones.append(len(frozen) - len(np.unique(frozen[:, 1])))
        assert len(X) == 12
        assert len(frozen)
    assert clones[0] > clones[1] == 0


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_duplicates_are_those_that_a_comparison_of_pairs_finds(seed, values):
    rng = np.random.default_rng(seed)
    X, Y = (rng.integers(values, size=(n, 3)).astype(float) for n in (9, 5))
    elimination = SelectedDuplicateElimination(selects_the_larger)

    def same(x, y):
        a, b = selects_the_larger(x), selects_the_larger(y)
        return (a == b).all() and (x[a] == y[b]).all()

    kept = [x for i, x in enumerate(X) if not any(same(x, y) for y in [*X[:i], *Y])]
    left = elimination.do(Population.new("X", X), Population.new("X", Y))
    assert [each.X.tolist() for each in left] == [x.tolist() for x in kept]


def selects_the_larger(x):
    return x > 1


def test_choices_of_bits_and_of_algorithms_with_operators_of_their_own_are_refused():
    for name, problem in (("nsga2", toy_problem(6)), ("gde3", Mixed())):
        with pytest.raises(UsageError, match=f"{name!r} takes no choices here: .*nsga2_promoting"):
            make(name, problem, choices=CHOICES)


@pytest.mark.parametrize(
    ("problem", "choices", "message"),
    [
        (Mixed(), CHOICES[:5], r"6 truth values, one a variable, not bool of shape \(5,\)"),
        (Mixed(), CHOICES.astype(int), "not int64 of shape"),
        (Mixed(upper=UPPER - 0.5), CHOICES, "bounds other than 0 and a whole number"),
        (Mixed(lower=-1.0), CHOICES, "bounds other than 0 and a whole number"),
        (Mixed(upper=np.where(CHOICES, 0.0, 1.0)), CHOICES, "bounds other than 0 and a whole number"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(problem, choices, message):
    with pytest.raises(UsageError, match=message):
        make("nsga2", problem, choices=choices)
