"""Averages of the members' weights: uniform, greedy, and three at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moprune.seeding import numpy_generator
from problems.refinement.controls.points import Point, Setting
from problems.refinement.genomes import Mixing
from problems.refinement.members import averaged

Coefficients = NDArray[np.float64]
"""(K,) or (n, K): how much of each of K members is in a mixture; what is missing from 1 is the start's."""


def uniform_soup(setting: Setting) -> list[Point]:
    """Returns the mean of all members' weights (Wortsman et al. 2022, section 2)."""
    count = len(setting.states)
    return [Point(f"{count} members", (averaged(setting.network, setting.states),), 0)]


def greedy_soup(setting: Setting) -> list[Point]:
    """Returns the greedy soup (Wortsman et al. 2022, recipe 1): members from the best to the worst on the search split.

    Each is averaged in with those taken before it if the average is then no worse.
    """
    mixing, count = Mixing(setting.network, setting.states), len(setting.states)
    alone = _losses(setting, mixing, np.eye(count))
    order = np.argsort(alone, kind="stable")
    taken, least = [order[0]], alone[order[0]]
    for member in order[1:]:
        (loss,) = _losses(setting, mixing, _mean_of([*taken, member], count)[None])
        if loss <= least:
            taken, least = [*taken, member], loss
    soup = mixing.weights(_mean_of(taken, count))
    return [Point(f"{len(taken)} of {count} members", (soup,), setting.scored(2 * count - 1))]


def averaging(setting: Setting) -> list[Point]:
    """Returns the best of iterated three-way averaging with selection.

    Trigonometric mutation (Fan & Lampinen 2003) of losses that are nearly the same is the mean of three individuals:
    this is that operator alone. The population is the start and the members; in every generation each individual is
    compared with the mean of three different ones and replaced if that is no worse, until the budget is spent or the
    population is one point.
    """
    mixing, count = Mixing(setting.network, setting.states), len(setting.states)
    population = np.vstack([np.zeros(count), np.eye(count)])
    losses = _losses(setting, mixing, population)
    spent = len(population)
    generator = numpy_generator(setting.seed, "three-way averaging")
    while spent + len(population) <= setting.evaluations and np.ptp(population, axis=0).max() > 1e-6:
        parents = [generator.choice(len(population), 3, replace=False) for _ in population]
        trials = np.array([population[three].mean(0) for three in parents])
        scores = _losses(setting, mixing, trials)
        better = scores <= losses
        population[better], losses[better] = trials[better], scores[better]
        spent += len(trials)
    best = int(losses.argmin())
    return [Point(f"{spent} evaluations", (mixing.weights(population[best]),), setting.scored(spent))]


def _mean_of(members: Sequence[int], count: int) -> Coefficients:
    coefficients = np.zeros(count)
    coefficients[list(members)] = 1 / len(members)
    return coefficients


def _losses(setting: Setting, mixing: Mixing, population: Coefficients) -> NDArray[np.float64]:
    return setting.losses_of(mixing.weights(row) for row in population)
