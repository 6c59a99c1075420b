"""CMA-ES against the library's own loop, and where it starts."""

import cma
import numpy as np
import pytest
from pymoo.core.problem import Problem
from pymoo.optimize import minimize

from moprune.algorithms.cmaes import CMAES, LARGEST_FULL
from moprune.errors import MopruneError, UsageError
from moprune.testing import AlgorithmContract


class Bowl(Problem):
    def __init__(self, n_var=4, low=-2.0, high=6.0, loss=None):
        super().__init__(n_var=n_var, n_obj=1, xl=low, xu=high)
        self.loss, self.batches = loss or bowl, []

    def _evaluate(self, X, out, *_, **__):
        self.batches.append(X.copy())
        out["F"] = self.loss(X)


def bowl(X):
    return ((X - 1) ** 2 * 10.0 ** np.arange(X.shape[-1])).sum(axis=-1)


class TestContract(AlgorithmContract):
    def make_problem(self):
        return Bowl()

    def make_algorithm(self, problem):
        return CMAES(8)


def test_generations_are_those_of_the_librarys_own_loop():
    first = np.random.default_rng(0).uniform(-2, 6, size=(8, 4))
    problem = Bowl()
    minimize(problem, CMAES(sampling=first, sigma=0.3), ("n_eval", 8 * 30), seed=5)
    np.testing.assert_array_equal(problem.batches[0], first)
    rng = np.random.default_rng(5)
    strategy = cma.CMAEvolutionStrategy(
        first[np.argmin(bowl(first))] / 8, 0.3,
        {"popsize": 8, "bounds": [-2 / 8, 6 / 8], "randn": lambda *shape: rng.standard_normal(shape), "seed": np.nan,
         "verbose": -9},
    )  # fmt: skip
    for batch in problem.batches[1:]:
        places = strategy.ask()
        np.testing.assert_allclose(batch, np.array(places) * 8, rtol=1e-12)
        strategy.tell(places, list(bowl(batch)))


def test_it_solves_an_ill_conditioned_bowl_and_remembers_the_best():
    best = []
    problem = Bowl()
    result = minimize(problem, CMAES(), ("n_eval", 3000), seed=1, callback=lambda a: best.append(a.opt[0].F[0]))
    assert len(problem.batches[0]) == 4 + int(3 * np.log(4))
    assert result.F[0] < 1e-9
    assert best == sorted(best, reverse=True)
    points = np.concatenate(problem.batches)
    assert points.min() >= -2
    assert points.max() <= 6
    assert result.F[0] == bowl(points).min()


def test_an_optimum_that_was_given_is_the_result():
    X = np.full((1, 4), 1.0)
    result = minimize(Bowl(), CMAES(8, sampling=X), ("n_eval", 80), seed=1)
    assert result.F[0] == 0


def test_without_bounds_the_first_steps_are_as_wide_as_the_first_members_differ():
    for spread in (0.01, 10.0):
        first = 1 + spread * np.random.default_rng(0).normal(size=(10, 4))
        problem = Bowl(low=-np.inf, high=np.inf)
        minimize(problem, CMAES(sampling=first, sigma=0.5), ("n_eval", 20), seed=1)
        steps = problem.batches[1] - first[np.argmin(bowl(first))]
        assert 0.3 * spread < steps.std() < 0.8 * spread
    with pytest.raises(UsageError, match="all alike"):
        minimize(problem, CMAES(sampling=np.ones((4, 4))), ("n_eval", 20), seed=1)


def test_where_some_variables_are_bounded_their_first_steps_are_in_widths_of_the_box():
    low, high = np.array([-2.0, -np.inf, -1.0, -np.inf]), np.array([6.0, np.inf, 1.0, 9.0])
    first = np.random.default_rng(0).uniform(-1, 1, size=(8, 4))
    problem = Bowl(low=low, high=high)
    algorithm = CMAES(sampling=first, sigma=0.5).setup(problem, termination=("n_eval", 16), seed=1)
    algorithm.next()
    spread = np.sqrt(first.var(axis=0).mean())
    np.testing.assert_allclose(algorithm.scale, [8, spread, 2, spread])


def test_a_variable_that_cannot_move_stays():
    problem = Bowl(low=np.array([-2.0, 3, -2, -2]), high=np.array([6.0, 3, 6, 6]))
    minimize(problem, CMAES(8), ("n_eval", 80), seed=1)
    assert (np.concatenate(problem.batches)[:, 1] == 3).all()


def test_of_many_variables_only_the_variances_are_learnt():
    for n_var in (20, LARGEST_FULL + 1):
        problem = Bowl(n_var, loss=lambda X: (X**2).sum(axis=1))
        algorithm = CMAES(8).setup(problem, termination=("n_eval", 16), seed=1)
        algorithm.next()
        algorithm.next()
        assert hasattr(algorithm.strategy.sm, "C") == (n_var == 20)


def test_it_ends_where_nothing_is_to_be_gained_and_says_nothing(capsys):
    problem = Bowl(loss=lambda X: np.ones(len(X)))
    minimize(problem, CMAES(8), ("n_eval", 10**5), seed=1)
    assert len(problem.batches) < 1000
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("make", "problem", "message"),
    [
        (lambda: CMAES(3), Bowl(), "at least 4"),
        (lambda: CMAES(sigma=0), Bowl(), "sigma"),
        (lambda: CMAES(), Bowl(1), "two variables"),
        (lambda: CMAES(), Problem(n_var=3, n_obj=2, xl=0, xu=1), "one objective"),
    ],
)
def test_bad_input_is_refused(make, problem, message):
    with pytest.raises(UsageError, match=message):
        minimize(problem, make(), ("n_eval", 40), seed=1)


def test_losses_that_are_not_finite_stop_the_search():
    with pytest.raises(MopruneError, match="loss nan"):
        minimize(Bowl(loss=lambda X: np.full(len(X), np.nan)), CMAES(8), ("n_eval", 40), seed=1)
