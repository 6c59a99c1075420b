"""Non-dominated points and hypervolume of objective matrices, by pymoo's and moocore's implementations."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from moprune.errors import MopruneError
from moprune.objectives import Objective

Matrix = NDArray[np.float64]


def nondominated(F: Matrix) -> NDArray[np.int64]:
    """Returns the indices of the non-dominated rows of minimised objectives, ascending.

    Of rows that are equal the first alone is kept (pymoo keeps them all).

    Args:
        F: minimised objectives, ``(n, m)``, finite.

    Raises:
        MopruneError: they are not finite, on which moocore would end the process.
    """
    if not len(F):
        return np.empty(0, dtype=np.int64)
    if not np.isfinite(F).all():
        raise MopruneError("objectives that are not finite have no front; look for NaN or infinity in them")
    _, first = np.unique(F, axis=0, return_index=True)
    first = np.sort(first)
    front = NonDominatedSorting().do(F[first], only_non_dominated_front=True)
    return np.sort(first[front])


def hypervolume(F: Matrix, objectives: Sequence[Objective]) -> float:
    """Returns the share of the objective space, from 0 to each objective's worst, that the rows dominate.

    Each minimised objective is divided by its ``scale``, so that for shares the reference point is (1, ..., 1), the
    one the published fronts are measured with; in [0, 1] where every objective lies between 0 and its worst.
    """
    if not len(F):
        return 0.0
    scale = np.array([o.scale for o in objectives])
    reference = np.array([o.reference for o in objectives]) / scale
    return float(HV(ref_point=reference)(F / scale))
