"""First populations of bit genomes."""

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling

from moprune.algorithms.scores import checked_scores, gumbel_top, log_weights

Bits = NDArray[np.bool_]

_TRIES = 20


class DensitySampling(Sampling):
    """Masks of every density: each draws p from U(0, 1), then switches exactly round(p L) random bits on.

    No mask comes twice: pymoo would drop the second, and a search that starts with fewer members than its control would
    end with more evaluations.

    The initialisation of (MO-)EvoPruneDeepTL. pymoo's own ``BinaryRandomSampling`` draws every bit with
    probability one half, so that all masks of a long genome have very nearly half their bits on.

    Args:
        include_all_on: whether the first individual is the unpruned network.
    """

    def __init__(self, include_all_on: bool = False) -> None:
        super().__init__()
        self.include_all_on = include_all_on

    def _do(self, problem: Problem, n_samples: int, *_: Any, random_state: np.random.Generator, **__: Any) -> Bits:
        drawn: dict[bytes, Bits] = {}
        if self.include_all_on:
            everything = np.ones(problem.n_var, dtype=bool)
            drawn[everything.tobytes()] = everything
        for _attempt in range(_TRIES * n_samples):  # a short genome may not have as many different masks
            if len(drawn) == n_samples:
                break
            mask = _mask(problem.n_var, random_state)
            drawn.setdefault(mask.tobytes(), mask)
        return np.array(list(drawn.values()))


def _mask(length: int, random_state: np.random.Generator) -> Bits:
    count = round(random_state.random() * length)
    mask = np.zeros(length, dtype=bool)
    mask[random_state.choice(length, size=count, replace=False)] = True
    return mask


class RankedSampling(Sampling):
    """Masks of many sizes, made of the bits that a ranking puts first.

    The first mask is the unpruned network. Half of the others are the best bits, of the sizes of a geometric grid from
    one bit to all; the rest are draws of those sizes with weights exp(standardised rank / temperature). Bits that tie
    are put in random order. No mask comes twice, so that a short genome may give fewer than asked for.

    Args:
        scores: one finite number a bit, higher for those worth keeping.
        temperature: > 0; the larger, the less the scores matter to the draws.
    """

    def __init__(self, scores: ArrayLike, temperature: float = 1.0) -> None:
        super().__init__()
        self.scores = checked_scores(scores, np.size(scores))
        self.log_weights = log_weights(self.scores, temperature)

    def _do(self, problem: Problem, n_samples: int, *_: Any, random_state: np.random.Generator, **__: Any) -> Bits:
        checked_scores(self.scores, problem.n_var)
        sizes = _geometric_sizes(problem.n_var, max(1, n_samples // 2))
        drawn: dict[bytes, Bits] = {}
        for places in islice(self._places(sizes, random_state), _TRIES * n_samples):
            if len(drawn) == n_samples:
                break
            mask = np.zeros(problem.n_var, dtype=bool)
            mask[places] = True
            drawn.setdefault(mask.tobytes(), mask)
        return np.array(list(drawn.values()))

    def _places(self, sizes: list[int], random_state: np.random.Generator) -> Iterator[NDArray[np.intp]]:
        ranking = np.lexsort((random_state.random(len(self.scores)), -self.scores))
        yield ranking
        yield from (ranking[:size] for size in sizes)
        for size in cycle(sizes):
            yield gumbel_top(self.log_weights, size, random_state)


def _geometric_sizes(length: int, count: int) -> list[int]:
    """Returns up to ``count`` different whole numbers from 1 to ``length``, even on a logarithmic scale."""
    return sorted({round(size) for size in np.geomspace(1, length, count)})


class GivenGenomes(Sampling):
    """Genomes that are there already, in their order.

    Args:
        genomes: ``(n, n_var)``, no two alike; as many are taken as are asked for.
    """

    def __init__(self, genomes: NDArray[np.bool_]) -> None:
        super().__init__()
        self.genomes = genomes

    def _do(self, problem: Problem, n_samples: int, *_: Any, **__: Any) -> NDArray[np.bool_]:  # noqa: ARG002
        return self.genomes[:n_samples]
