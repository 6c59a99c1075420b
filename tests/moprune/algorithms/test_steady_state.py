import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.core.population import Population

from moprune.algorithms import make
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
        return make("ssga", problem, pop_size=10)


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


def children_by_hand(X, state, p_mutation, candidates):
    """Selection, crossover and mutation in plain loops, for the same random draws."""
    first = int(state.integers(len(X)))
    others = [i for i in range(len(X)) if i != first]
    drawn = state.choice(others, size=candidates, replace=False)
    distances = [sum(int(a != b) for a, b in zip(X[i], X[first], strict=True)) for i in drawn]
    second = drawn[distances.index(max(distances))]
    swaps = state.random(X.shape[1])
    children = [[], []]
    for gene, swap in enumerate(swaps):
        pair = [X[first][gene], X[second][gene]]
        for child, value in zip(children, pair[::-1] if swap < 0.5 else pair, strict=True):
            child.append(bool(value))
    for child in children:
        if state.random() < p_mutation:
            place = state.integers(X.shape[1])
            child[place] = not child[place]
    return children


@given(st.integers(0, 10**6), st.integers(4, 9), st.integers(1, 30), st.integers(1, 3))
def test_children_are_those_of_plain_loops(seed, members, length, candidates):
    X = np.random.default_rng(seed).random((members, length)) < 0.5
    algorithm = prepared(X, np.zeros(members), candidates=candidates, p_mutation=0.5)
    algorithm.random_state = np.random.default_rng(seed)
    expected = children_by_hand(X, np.random.default_rng(seed), 0.5, candidates)
    assert algorithm._infill().get("X").tolist() == expected


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=4, max_size=8),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=2, max_size=2),
)
def test_replacement_is_that_of_trying_every_pair(members, children):
    """With few values of error and size, most of them tie."""

    def masks(rows):
        return np.array([np.arange(6) < size for _, size in rows])

    algorithm = prepared(masks(members), [error for error, _ in members])
    algorithm._advance(Population.new("X", masks(children), "F", np.array([[float(e)] for e, _ in children])))
    worst = max(itertools.combinations(range(len(members)), 2), key=lambda p: sorted(members[i] for i in p)[::-1])
    stay = [row for i, row in enumerate(members) if i not in worst]
    pool = [members[i] for i in worst] + children
    best = min(itertools.combinations(pool, 2), key=sorted)
    now = sorted((int(i.F[0]), int(i.X.sum())) for i in algorithm.pop)
    assert now == sorted([*stay, *best])
    algorithm._set_optimum()
    assert [(int(i.F[0]), int(i.X.sum())) for i in algorithm.opt] == [min(now)]


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
    with pytest.raises(UsageError, match="one objective"):
        make("ssga", toy_problem())
    with pytest.raises(UsageError, match="pop_size"):
        SteadyStateGA(2)


def test_by_name_it_has_the_published_size():
    assert make("ssga", OneMax()).pop_size == 30
