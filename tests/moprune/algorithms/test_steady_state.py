import numpy as np
import pytest
from pymoo.core.population import Population

from moprune.algorithms.steady_state import SteadyStateGA, uniform_crossover
from moprune.errors import UsageError
from moprune.objectives import Objective, Outcome
from moprune.problem import SearchProblem
from moprune.testing import AlgorithmContract, toy_problem


class OneMax(SearchProblem):
    """The share of bits off, computed from the genome alone."""

    def __init__(self, n_var=24):
        off = Objective("off", "share", True, 1.0, _off, is_cost=True)
        super().__init__(n_var=n_var, boolean=True, objectives=[off])

    def outcomes(self, X, splits):
        for x in X:
            yield {split: [Outcome(None, None, costs={"off": 1 - x.mean()})] for split in splits}

    def fingerprint(self):
        return {"problem": "one max", "n": self.n_var}


def _off(outcome):
    return outcome.costs["off"]


class TestContract(AlgorithmContract):
    def make_problem(self):
        return OneMax()

    def make_algorithm(self, problem):
        return SteadyStateGA(10)


def prepared(X, F, **options):
    algorithm = SteadyStateGA(len(X), **options)
    algorithm.setup(OneMax(X.shape[1]), seed=1, termination=("n_eval", 1000))
    algorithm.pop = Population.new("X", X, "F", np.asarray(F, float)[:, None])
    return algorithm


def test_children_are_complementary_and_made_of_their_parents():
    rng = np.random.default_rng(0)
    a, b = rng.random(1000) < 0.3, rng.random(1000) < 0.6
    c, d = uniform_crossover(a, b, rng)
    np.testing.assert_array_equal(c ^ d, a ^ b)
    np.testing.assert_array_equal(c & d, a & b)
    assert 400 < (c == a)[a != b].mean() * 1000 < 600


def test_mating_prefers_the_farthest_of_the_candidates():
    """With all others as candidates, and nothing but zeros and one opposite, the opposite is always a parent."""
    X = np.zeros((6, 40), dtype=bool)
    X[3] = True
    algorithm = prepared(X, np.arange(6), candidates=5, p_mutation=0.0)
    for _ in range(30):
        off = algorithm._infill().get("X")
        np.testing.assert_array_equal(off[0] ^ off[1], np.ones(40, dtype=bool))


def test_a_mutation_flips_one_bit_as_often_as_said():
    X = np.zeros((4, 50), dtype=bool)
    algorithm = prepared(X, np.zeros(4), p_mutation=0.07)
    flips = np.concatenate([algorithm._infill().get("X").sum(axis=1) for _ in range(3000)])
    assert set(flips) == {0, 1}
    assert flips.mean() == pytest.approx(0.07, abs=0.012)


def test_the_best_two_of_children_and_worst_members_stay_and_ties_go_to_fewer_bits():
    X = np.eye(6, 8, dtype=bool)
    X[4, 5:] = True  # as bad as member 5, with more bits on
    algorithm = prepared(X, [0.1, 0.2, 0.3, 0.4, 0.9, 0.9])
    children = np.zeros((2, 8), dtype=bool)
    children[0, :4] = True
    algorithm._advance(Population.new("X", children, "F", np.array([[0.5], [0.95]])))
    assert sorted(algorithm.pop.get("F")[:, 0]) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.9]
    (tied,) = algorithm.pop[algorithm.pop.get("F")[:, 0] == 0.9].get("X")
    np.testing.assert_array_equal(tied, X[5])


def test_it_solves_one_max():
    from moprune.search import search

    run = search(OneMax(), SteadyStateGA(20), n_eval=1500, seed=1)
    assert run.history()["off_search"].min() < 0.05


def test_problems_it_cannot_search_are_refused():
    from moprune.search import search

    with pytest.raises(UsageError, match="one objective"):
        search(toy_problem(), SteadyStateGA(), n_eval=40, seed=1)
    with pytest.raises(UsageError, match="pop_size"):
        SteadyStateGA(2)
