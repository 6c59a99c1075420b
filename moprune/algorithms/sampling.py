"""First populations of bit genomes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling

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
