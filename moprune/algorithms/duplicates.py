"""Duplicate elimination by hashing genomes, bits packed, or what of them counts."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.population import Population


class PackedDuplicateElimination(DuplicateElimination):
    """Marks individuals whose bits (or floats, exactly) equal those of an earlier or another individual.

    The same result as pymoo's default in O(n L) instead of O(n^2 L), save that pymoo also takes floats at a distance up
    to 1e-16 for equal: with 400 genomes of 20,000 bits a generation spends milliseconds on it rather than seconds.
    """

    def _do(self, pop: Population, other: Population | None, is_duplicate: NDArray[np.bool_]) -> NDArray[np.bool_]:
        seen = set() if other is None else set(self._keys(other))
        for i, key in enumerate(self._keys(pop)):
            if key in seen:
                is_duplicate[i] = True
            elif other is None:
                seen.add(key)
        return is_duplicate

    def _keys(self, pop: Population) -> list[bytes]:
        X: Any = np.asarray(pop.get("X"))
        if X.dtype == np.bool_:
            X = np.packbits(X, axis=1)
        return [row.tobytes() for row in X]


class SelectedDuplicateElimination(PackedDuplicateElimination):
    """Marks individuals that select the same variables with the same values as an earlier or another individual.

    For problems in which a genome says which of its variables count: those that differ in others alone are the same
    candidate, and NSGA-II would fill its population with them.

    Args:
        selected: from a genome ``(n_var,)`` to which of its variables count, bool ``(n_var,)``.
    """

    def __init__(self, selected: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> None:
        super().__init__()
        self.selected = selected

    def _keys(self, pop: Population) -> list[bytes]:
        return [self._key(np.asarray(individual.X)) for individual in pop]

    def _key(self, x: NDArray[Any]) -> bytes:
        mask = self.selected(x)
        key: bytes = mask.tobytes() + x[mask].tobytes()
        return key
