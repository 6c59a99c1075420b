"""Duplicate elimination by hashing genomes, bits packed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.population import Population


class PackedDuplicateElimination(DuplicateElimination):
    """Marks individuals whose bits (or floats, exactly) equal those of an earlier or another individual.

    The same result as pymoo's default on boolean genomes in O(n L) instead of O(n^2 L): with 400 genomes of
    20,000 bits a generation spends milliseconds on it rather than seconds.
    """

    def _do(self, pop: Population, other: Population | None, is_duplicate: NDArray[np.bool_]) -> NDArray[np.bool_]:
        seen = set() if other is None else set(_keys(other))
        for i, key in enumerate(_keys(pop)):
            if key in seen:
                is_duplicate[i] = True
            elif other is None:
                seen.add(key)
        return is_duplicate


def _keys(pop: Population) -> list[bytes]:
    X: Any = np.asarray(pop.get("X"))
    if X.dtype == np.bool_:
        X = np.packbits(X, axis=1)
    return [row.tobytes() for row in X]
