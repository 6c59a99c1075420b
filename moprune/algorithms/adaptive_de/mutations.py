"""The mutations of differential evolution, as indices and weights."""

import numpy as np
from numpy.typing import NDArray

from moprune.algorithms.adaptive_de.trials import Floats, Indices, Mutation


def distinct(random_state: np.random.Generator, taken: Indices, available: int, count: int = 1) -> Indices:
    """Draws rows that differ from those taken and from each other.

    Args:
        random_state: draws them.
        taken: ``(n, t)`` distinct rows that are not to be drawn, row by row.
        available: rows to draw from: 0 to ``available - 1``, all of ``taken`` among them.
        count: rows to draw for each, at most ``available - t``.

    Returns:
        ``(n, count)`` rows, each uniform over those left.
    """
    first = taken.shape[1]
    for _ in range(count):
        drawn = random_state.integers(available - taken.shape[1], size=len(taken))
        for row in np.sort(taken, axis=1).T:
            drawn += drawn >= row
        taken = np.column_stack([taken, drawn])
    return taken[:, first:]


def rand(random_state: np.random.Generator, F: Floats, differences: int = 1) -> Mutation:
    """DE/rand/1 or DE/rand/2: ``x_r1 + F (x_r2 - x_r3) [+ F (x_r4 - x_r5)]``, all different and not the parent."""
    r = distinct(random_state, members(F), len(F), 1 + 2 * differences)
    return Mutation(r[:, 0], r[:, 1::2], r[:, 2::2], np.repeat(F[:, None], differences, axis=1))


def rand_to_best_2(random_state: np.random.Generator, F: Floats, best: int) -> Mutation:
    """DE/rand-to-best/2 of SaDE: ``x_i + F (x_best - x_i) + F (x_r1 - x_r2) + F (x_r3 - x_r4)``."""
    i = members(F)
    r = distinct(random_state, i, len(F), 4)
    plus = np.column_stack([np.full(len(F), best), r[:, 0::2]])
    return Mutation(i[:, 0], plus, np.column_stack([i, r[:, 1::2]]), np.repeat(F[:, None], 3, axis=1))


def current_to_rand(random_state: np.random.Generator, F: Floats) -> Mutation:
    """DE/current-to-rand/1: ``x_i + K (x_r1 - x_i) + F (x_r2 - x_r3)`` with K from U(0, 1)."""
    i, K = members(F), random_state.random(len(F))
    r = distinct(random_state, i, len(F), 3)
    return Mutation(i[:, 0], r[:, :2], np.column_stack([i, r[:, 2]]), np.column_stack([K, F]))


def current_to_pbest(
    random_state: np.random.Generator, F: Floats, ranked: Indices, elite: Indices, archived: int
) -> Mutation:
    """DE/current-to-pbest/1 with archive: ``x_i + F (x_pbest - x_i) + F (x_r1 - x_r2)`` (Zhang & Sanderson 2009).

    Args:
        random_state: draws the rows.
        F: ``(n,)`` scale factors.
        ranked: ``(n,)`` members, the best first.
        elite: ``(n,)`` how many of the best pbest is drawn from, each >= 1.
        archived: rows after the population that r2 may also be.
    """
    i = members(F)
    best = ranked[random_state.integers(elite)]
    r1 = distinct(random_state, i, len(F))
    r2 = distinct(random_state, np.column_stack([i, r1]), len(F) + archived)
    return Mutation(
        i[:, 0], np.column_stack([best, r1]), np.column_stack([i, r2]), np.repeat(F[:, None], 2, axis=1)
    )  # fmt: skip


def trigonometric(random_state: np.random.Generator, losses: Floats) -> Mutation:
    """The trigonometric mutation of three members r1, r2, r3, not the parent (Fan & Lampinen 2003).

    ``(x_r1 + x_r2 + x_r3) / 3 + (p2 - p1)(x_r1 - x_r2) + (p3 - p2)(x_r2 - x_r3) + (p1 - p3)(x_r3 - x_r1)`` with
    ``p_k = |f_k| / (|f_1| + |f_2| + |f_3|)``, which is ``sum_k (4/3 - 3 p_k) x_rk``; the mean where all are zero.

    Args:
        random_state: draws the members.
        losses: ``(n,)`` what p is made of; the mutation changes when a constant is added to them.
    """
    r = distinct(random_state, members(losses), len(losses), 3)
    weight = trigonometric_weights(losses[r])
    return Mutation(r[:, 0], r[:, 1:], np.repeat(r[:, :1], 2, axis=1), weight[:, 1:])


def trigonometric_weights(losses: Floats) -> Floats:
    """Returns ``4/3 - 3 p_k`` of each row's three losses, ``(n, 3)``; every row sums to one."""
    size = np.abs(losses)
    total = size.sum(axis=1, keepdims=True)
    share = np.divide(size, total, out=np.full_like(size, 1 / 3), where=total > 0)
    weights: Floats = 4 / 3 - 3 * share
    return weights


def members(values: NDArray[np.generic]) -> Indices:
    """Returns the column of all members' own numbers, ``(n, 1)``."""
    return np.arange(len(values))[:, None]
