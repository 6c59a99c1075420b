"""SparseEA against its pseudo-code, on a knapsack whose front is known by enumeration."""

import itertools

import numpy as np
import pytest
from pymoo.core.problem import Problem

from moprune.algorithms import SparseEA, make
from moprune.errors import UsageError
from moprune.log import EvaluationLog
from moprune.search import run_algorithm
from moprune.testing import AlgorithmContract, toy_problem

VALUES = np.array([8.0, 1.0, 6.0, 0.0, 9.0, 2.0, 0.0, 4.0, 0.0, 1.0])
WEIGHTS = np.array([3.0, 2.0, 4.0, 1.0, 2.0, 3.0, 4.0, 5.0, 2.0, 1.0])


class Knapsack(Problem):
    """Value left behind, and weight carried: both minimised."""

    def __init__(self):
        super().__init__(n_var=10, n_obj=2, vtype=bool)

    def _evaluate(self, X, out, *_, **__):
        out["F"] = objectives(X)


def objectives(X):
    return np.stack([(~X) @ VALUES, X @ WEIGHTS], axis=1)


def dominates(a, b):
    return all(a <= b) and any(a < b)


def front_numbers(F):
    """Peels one front after another off, comparing every pair."""
    numbers, left, number = {}, set(range(len(F))), 0
    while left:
        front = {i for i in left if not any(dominates(F[j], F[i]) for j in left)}
        numbers |= dict.fromkeys(front, number)
        left -= front
        number += 1
    return [numbers[i] for i in range(len(F))]


def searched(algorithm, n_eval, seed=1):
    with EvaluationLog() as log:
        ended = run_algorithm(Knapsack(), algorithm, n_eval=n_eval, seed=seed, log=log)
        table, genomes = log.history("search", seed)
    return ended, table, np.array(list(genomes))


class TestContract(AlgorithmContract):
    """30 bits in batches of 8, 8 and 14; then the search."""

    n_eval = 80

    def make_problem(self):
        return toy_problem(30)

    def make_algorithm(self, problem):
        return make("sparseea", problem, pop_size=8)


def test_it_begins_with_one_genome_a_bit_and_scores_bits_by_front():
    ended, table, genomes = searched(SparseEA(pop_size=4), 30)
    np.testing.assert_array_equal(genomes[:10], np.eye(10, dtype=bool))
    assert table["generation"].value_counts().sort_index().tolist()[:2] == [4, 6]
    expected = front_numbers(objectives(np.eye(10, dtype=bool)))
    assert len(set(expected)) > 2
    np.testing.assert_array_equal(ended.scores, -np.array(expected))


def test_the_first_population_is_the_best_of_single_bits_and_masks():
    algorithm = SparseEA(pop_size=6)
    algorithm.setup(Knapsack(), termination=("n_eval", 1000), seed=2)
    while algorithm.scores is None or len(algorithm.pop) > 6:
        algorithm.next()
    everyone = np.array(list({tuple(i.X) for i in algorithm.pop} | {tuple(x) for x in np.eye(10, dtype=bool)}))
    assert len(algorithm.pop) == 6
    numbers = dict(zip(map(tuple, everyone), front_numbers(objectives(everyone)), strict=True))
    kept = {tuple(i.X) for i in algorithm.pop}
    assert max(numbers[x] for x in kept) <= min(numbers[x] for x in numbers if x not in kept)


def test_first_masks_are_of_every_size_and_prefer_good_bits():
    algorithm = SparseEA(pop_size=4000)
    algorithm.setup(Knapsack(), termination=("n_eval", 10**6), seed=3)
    scores = np.array([0.0] * 5 + [1.0] * 5)
    X = algorithm._first_masks(scores).get("X")
    assert X.any(axis=1).all()
    # Each of ceil(10 u) tournaments is won by one of the five good bits with probability 3/4, of the bad with 1/4.
    counts = np.arange(1, 11)
    good, bad = (np.mean(1 - (1 - share / 5) ** counts) for share in (0.75, 0.25))
    assert X[:, 5:].mean(axis=0) == pytest.approx(good, abs=0.04)
    assert X[:, :5].mean(axis=0) == pytest.approx(bad, abs=0.04)


def test_a_child_is_two_published_steps_from_a_member_of_the_population():
    algorithm = SparseEA(pop_size=8)
    algorithm.setup(Knapsack(), termination=("n_eval", 60), seed=4)
    while algorithm.scores is None or len(algorithm.pop) > 8:
        algorithm.next()
    while algorithm.has_next():
        parents = algorithm.pop.get("X")
        children = algorithm.infill()
        for x in children.get("X"):
            assert min((x != p).sum() for p in parents) <= 2
        algorithm.evaluator.eval(Knapsack(), children)
        algorithm.advance(infills=children)


def test_it_finds_nearly_all_of_the_front_in_a_fifth_of_what_enumeration_costs():
    every = np.array(list(itertools.product([False, True], repeat=10)))
    F = objectives(every)
    front = {tuple(f) for f, number in zip(F, front_numbers(F), strict=True) if number == 0}
    shares = []
    for seed in range(5):
        _, _, genomes = searched(SparseEA(pop_size=20), 200, seed)
        shares.append(len(front & {tuple(f) for f in objectives(genomes)}) / len(front))
    rng = np.random.default_rng(0)
    blind = [len(front & {tuple(f) for f in F[rng.choice(1024, 200, replace=False)]}) / len(front) for _ in range(50)]
    assert np.mean(shares) > 0.9 > np.max(blind)


def test_one_bit_and_no_room_for_a_search():
    class OneBit(Knapsack):
        def __init__(self):
            Problem.__init__(self, n_var=1, n_obj=2, vtype=bool)

        def _evaluate(self, X, out, *_, **__):
            out["F"] = np.column_stack([X[:, 0], ~X[:, 0]]).astype(float)

    with EvaluationLog() as log:
        run_algorithm(OneBit(), SparseEA(pop_size=4), n_eval=20, seed=1, log=log)
        assert set(map(tuple, log.history("search", 1)[1])) == {(True,), (False,)}


def test_numbers_are_refused():
    with pytest.raises(UsageError, match="searches bits"):
        SparseEA().setup(Problem(n_var=3, n_obj=2, xl=0.0, xu=1.0), seed=1)
