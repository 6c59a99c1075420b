"""Empirical attainment surfaces: what the seeds reach in two objectives, at best, in the median and at worst.

A point of objective space is attained by a seed whose front holds a point at least as good in both objectives. The
surface of level k bounds what at least k of the n seeds attain (Grunert da Fonseca, Fonseca & Hall 2001), computed by
moocore (Fonseca et al. 2011). Fronts of more objectives are projected on the two.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import moocore
import numpy as np
import pandas as pd

from analysis.fronts import matrix
from moprune.fronts import Matrix
from moprune.objectives import Objective

LEVELS: Mapping[str, float] = MappingProxyType({"best": 0.0, "median": 50.0, "worst": 100.0})
"""Percentage of the seeds that attain a surface; at least one seed."""


def surfaces(fronts: Sequence[Matrix]) -> dict[str, Matrix]:
    """Returns the corners of the surfaces by level (``best``, ``median``, ``worst``), each ``(k, 2)``.

    Corners ascend in the first objective and descend in the second; nothing is attained to the left of the first or
    below the last. ``median`` is attained by at least half of the seeds.

    Args:
        fronts: minimised objectives of each seed, ``(n_i, 2)``, at least one point each.
    """
    sets = np.concatenate([np.full(len(F), i) for i, F in enumerate(fronts)])
    table = moocore.eaf(np.concatenate(fronts), sets, percentiles=list(LEVELS.values()))
    found = {}
    for name, percentile in LEVELS.items():
        corners = table[table[:, 2] == percentile, :2]
        found[name] = corners[np.lexsort((-corners[:, 1], corners[:, 0]))]
    return found


def attainment(front: pd.DataFrame, first: Objective, second: Objective, split: str) -> pd.DataFrame:
    """Returns the surfaces of a front over its seeds in natural units.

    Args:
        front: all seeds' members, with ``seed`` and ``<objective>_<split>``.
        first: the objective of the horizontal axis.
        second: that of the vertical axis.
        split: the split.

    Returns:
        A row a corner: ``level`` and one column by the name of each objective, from the best of ``first`` on.
    """
    fronts = [matrix(members, (first, second), split) for _, members in front.groupby("seed", sort=True)]
    tables = [
        pd.DataFrame(
            {"level": level, first.name: first.natural(corners[:, 0]), second.name: second.natural(corners[:, 1])}
        )
        for level, corners in surfaces(fronts).items()
    ]
    return pd.concat(tables, ignore_index=True)
