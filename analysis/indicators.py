"""How good fronts are: published indicators for each seed, source and split.

A source is what proposed the points: ``search``, or a control by its name. Every distance is taken in minimised
objectives, each divided by its :attr:`~moprune.objectives.Objective.scale`, so that no unit outweighs another.

==================  ===================================================================================================
``members``         points of the source, found non-dominated on the search split
``nondominated``    share of them that no other member dominates on this split, in (0, 1]
``hypervolume``     share of the objective space they dominate (:func:`moprune.fronts.hypervolume`); more is better
``igd_plus``        IGD+ (Ishibuchi et al. 2015, pymoo): mean distance by which they fall short of the reference front,
                    which is what remains non-dominated of all sources and seeds together; 0 is best
``spacing``         Schott's spacing (1995, pymoo) of the members non-dominated on this split: standard deviation of the
                    city-block distance to the nearest neighbour, 0 when evenly spaced; NaN of fewer than two
``spread``          maximum spread (Zitzler 1999): diagonal of the box around those members, in [0, sqrt(objectives)]
``shift_<name>``    mean value on this split less that on search, natural units. For a minimised objective a shift above
                    0 is optimism: the search saw its members better than they are
==================  ===================================================================================================
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pymoo.indicators.igd_plus import IGDPlus
from pymoo.indicators.spacing import SpacingIndicator

from analysis.fronts import SPLITS, front_hypervolume, matrix
from moprune.fronts import Matrix, nondominated
from moprune.objectives import Objective

KEYS = ("seed", "source", "split")


def sources(front: pd.DataFrame, controls: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    """Returns the points of each source by its name: ``search``, then the controls, those of one point a seed last.

    The order decides colours and markers, and is the same wherever only some of them are drawn.

    Args:
        front: as written to ``front.csv``.
        controls: as written to ``controls.csv``, if any.
    """
    if controls is None or controls.empty:
        return {"search": front}
    named = {str(name): points for name, points in controls.groupby("control", sort=True)}
    ordered = sorted(named, key=lambda name: is_baseline(named[name]))
    return {"search": front, **{name: named[name] for name in ordered}}


def is_baseline(points: pd.DataFrame) -> bool:
    """Whether a source has one point a seed, as the unpruned network has, rather than a front."""
    return len(points) <= (points["seed"].nunique() if "seed" in points else 1)


def baselines(controls: pd.DataFrame | None) -> set[str]:
    """Returns the names of the controls that are baselines: one point a seed spans no front."""
    return {
        name for name, points in sources(pd.DataFrame(), controls).items() if name != "search" and is_baseline(points)
    }


def merged(front: pd.DataFrame, objectives: Sequence[Objective], split: str = "search") -> pd.DataFrame:
    """Returns the rows that no other row, of whatever seed, dominates on a split, in their order.

    Of rows equal in every objective the first alone is kept.
    """
    return front.iloc[nondominated(matrix(front, objectives, split))]


def scaled(points: pd.DataFrame, objectives: Sequence[Objective], split: str) -> Matrix:
    """Returns minimised objectives, each divided by its scale, ``(n, m)``."""
    values: Matrix = matrix(points, objectives, split) / np.array([o.scale for o in objectives])
    return values


def indicators(
    front: pd.DataFrame,
    controls: pd.DataFrame | None,
    objectives: Sequence[Objective],
    splits: Sequence[str] = SPLITS,
    reported: Sequence[Objective] = (),
) -> pd.DataFrame:
    """Returns a row for each seed, source and split, with the columns explained at the top of this module.

    Args:
        front: all seeds' front members: ``solution``, ``seed`` and ``<objective>_<split>``.
        controls: the same columns beside ``control``, if there are controls.
        objectives: the objectives, in the order of the problem.
        splits: the splits to measure on.
        reported: measures beside the objectives whose shift is told too.
    """
    points = sources(front, controls)
    everything = pd.concat(points.values(), ignore_index=True)
    references = {split: scaled(merged(everything, objectives, split), objectives, split) for split in splits}
    rows = [
        {"seed": seed, "source": source, "split": split} | _row(members, objectives, split, references[split], reported)
        for source, all_seeds in points.items()
        for seed, members in all_seeds.groupby("seed", sort=False)
        for split in splits
    ]
    return pd.DataFrame(rows)


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Returns mean and standard deviation over the seeds of each indicator, by source and split.

    Columns are pairs ``(indicator, "mean" | "std")``; the deviation (n - 1) of a single seed is NaN.
    """
    values = [column for column in table.columns if column not in KEYS]
    return table.groupby(["source", "split"], sort=False)[values].agg(["mean", "std"])


def spacing(F: Matrix) -> float:
    """Returns Schott's spacing of scaled points ``(n, m)``; NaN of fewer than two."""
    return float(SpacingIndicator()(F)) if len(F) > 1 else float("nan")


def spread(F: Matrix) -> float:
    """Returns Zitzler's maximum spread of scaled points ``(n, m)``: the diagonal of the box around them."""
    return float(np.linalg.norm(np.ptp(F, axis=0)))


def _row(
    members: pd.DataFrame,
    objectives: Sequence[Objective],
    split: str,
    reference: Matrix,
    reported: Sequence[Objective] = (),
) -> dict[str, float | int]:
    F = scaled(members, objectives, split)
    best = F[nondominated(F)]
    shifts = {
        f"shift_{o.name}": float((members[f"{o.name}_{split}"] - members[f"{o.name}_search"]).mean())
        for o in (*objectives, *reported)
        if f"{o.name}_search" in members
    }
    return {
        "members": len(F),
        "nondominated": _undominated(F),
        "hypervolume": front_hypervolume(members, objectives, split),
        "igd_plus": float(IGDPlus(reference)(F)),
        "spacing": spacing(best),
        "spread": spread(best),
        **shifts,
    }


def _undominated(F: Matrix) -> float:
    """Returns the share of rows that no row dominates; equal rows do not dominate each other."""
    best = {row.tobytes() for row in F[nondominated(F)]}
    return float(np.mean([row.tobytes() in best for row in F]))
