"""First populations of bit genomes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling


class DensitySampling(Sampling):
    """Masks of every density: each draws p from U(0, 1), then switches exactly round(p L) random bits on.

    The initialisation of (MO-)EvoPruneDeepTL. pymoo's own ``BinaryRandomSampling`` draws every bit with
    probability one half, so that all masks of a long genome have very nearly half their bits on.

    Args:
        include_all_on: whether the first individual is the unpruned network.
    """

    def __init__(self, include_all_on: bool = False) -> None:
        super().__init__()
        self.include_all_on = include_all_on

    def _do(
        self, problem: Problem, n_samples: int, *_: Any, random_state: np.random.Generator, **__: Any
    ) -> NDArray[np.bool_]:
        length = problem.n_var
        counts = np.rint(random_state.random(n_samples) * length).astype(int)
        X = np.zeros((n_samples, length), dtype=bool)
        for row, count in zip(X, counts, strict=True):
            row[random_state.choice(length, size=count, replace=False)] = True
        if self.include_all_on:
            X[0] = True
        return X
