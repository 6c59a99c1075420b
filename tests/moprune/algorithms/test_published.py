"""The published NSGA-II: each of its components, and what sets it apart from the sound one."""

import numpy as np
import pytest
from pymoo.core.population import Population
from scipy.stats import binom

from moprune.algorithms import make, published_nsga2
from moprune.log import EvaluationLog
from moprune.search import run_algorithm
from moprune.testing import toy_problem


def test_thirty_members_then_two_offspring_a_generation_and_200_evaluations():
    problem = toy_problem(40)
    with EvaluationLog() as log:
        run_algorithm(problem, make("nsga2_published", problem), n_eval=200, seed=1, log=log)
        table, genomes = log.history("search", 1)
    assert table["generation"].value_counts(sort=False).sort_index().tolist() == [30] + [2] * 85
    assert not genomes[0].all()


def test_repeated_genomes_are_asked_for_again_and_not_evaluated_again():
    problem = toy_problem(4)
    asked = {}
    for name in ("nsga2_published", "nsga2"):
        with EvaluationLog() as log:
            run_algorithm(problem, make(name, problem, pop_size=12, n_offsprings=2), n_eval=60, seed=2, log=log)
            asked[name] = log.requests("search", 2)
    assert len(asked["nsga2_published"]) == 60
    assert len(set(asked["nsga2_published"])) <= 16


def prepared(X, F, rank, crowding):
    algorithm = published_nsga2(len(X))
    algorithm.setup(toy_problem(X.shape[1]), termination=("n_eval", 10**6), seed=3)
    pop = Population.new("X", X, "F", F)
    pop.set("rank", rank)
    pop.set("crowding", crowding)
    algorithm.pop = pop
    return algorithm


def test_parents_are_compared_by_rank_and_then_crowding():
    """A member of the first front wins over a crowded-out one of the second that it does not dominate."""
    X = np.eye(4, 8, dtype=bool)
    F = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 1.1], [1.1, 0.5]])
    algorithm = prepared(X, F, [0, 0, 1, 1], [1.0, 2.0, 9.0, 3.0])
    compare = algorithm.mating.selection.func_comp
    pairs = np.array([[0, 1], [1, 0], [0, 2], [2, 0], [1, 2], [2, 3], [3, 1]])
    winners = compare(algorithm.pop, pairs, algorithm=algorithm)[:, 0]
    key = [(0, -1.0), (0, -2.0), (1, -9.0), (1, -3.0)]
    assert winners.tolist() == [min(pair, key=lambda i: key[i]) for pair in pairs.tolist()]


def test_each_bit_flips_with_probability_one_over_the_length():
    """In a population of equals crossover changes nothing; copies are not thrown away."""
    X = np.tile(np.arange(50) < 20, (30, 1))
    algorithm = prepared(X, np.zeros((30, 2)), [0] * 30, [0.0] * 30)
    flips = np.concatenate([(algorithm._infill().get("X") ^ X[:2]).sum(axis=1) for _ in range(2000)])
    shares = np.bincount(flips, minlength=6)[:6] / len(flips)
    assert shares == pytest.approx(binom(50, 1 / 50).pmf(np.arange(6)), abs=0.03)


def test_crossover_always_happens_and_swaps_each_bit_with_probability_one_half():
    X = np.zeros((30, 400), dtype=bool)
    X[:15] = True
    algorithm = prepared(X, np.zeros((30, 2)), [0] * 30, [0.0] * 30)
    shares = np.concatenate([algorithm._infill().get("X").mean(axis=1) for _ in range(400)])
    mixed = shares[(shares > 0.1) & (shares < 0.9)]
    # Two different members are a zero and a one with probability 15/29; then every child is half and half.
    assert len(mixed) / len(shares) == pytest.approx(15 / 29, abs=0.08)
    assert mixed.min() > 0.37
    assert mixed.max() < 0.63
    assert mixed.mean() == pytest.approx(0.5, abs=0.01)
