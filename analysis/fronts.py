"""Reading a front: which member to take, and how good the whole is."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from moprune.fronts import hypervolume, nondominated
from moprune.objectives import Objective

SPLITS = ("search", "select", "test")


def standard_error(share: float, images: int) -> float:
    """Returns the standard error of a share measured on so many images, by the binomial formula.

    With Laplace's correction (one success and one failure added), so that a share of 0 or 1 has an error too.
    """
    smoothed = (share * images + 1) / (images + 2)
    return float(np.sqrt(smoothed * (1 - smoothed) / (images + 2)))


def choose(front: pd.DataFrame, images: int, *, error: str = "error", cost: str = "active_fraction") -> str:
    """Returns the solution a user should take, chosen on the ``select`` split alone.

    The one-standard-error rule (Breiman et al. 1984, section 3.4.3): of the members whose error on ``select`` lies
    within one standard error of the least, the one with the least cost; ties go to the lesser error.

    Args:
        front: as written to ``front.csv``.
        images: number of images of the ``select`` split.
        error: the objective that counts as error, a share to be minimised.
        cost: the objective that counts as cost.
    """
    errors = front[f"{error}_select"]
    limit = errors.min() + standard_error(errors.min(), images)
    within = front[errors <= limit]
    return str(within.sort_values([f"{cost}_select", f"{error}_select", "solution"])["solution"].iloc[0])


def matrix(front: pd.DataFrame, objectives: Sequence[Objective], split: str) -> np.ndarray:
    """Returns the minimised objectives of a front on one split, ``(n, m)``."""
    columns = [o.minimised(front[f"{o.name}_{split}"].to_numpy(float)) for o in objectives]
    return np.column_stack(columns)


def front_hypervolume(front: pd.DataFrame, objectives: Sequence[Objective], split: str) -> float:
    """Returns the hypervolume of a front on one split, see :func:`moprune.fronts.hypervolume`.

    On ``test`` it is the volume of the members the search offers, whether or not they stay non-dominated there.
    """
    return hypervolume(matrix(front, objectives, split), objectives)


def still_nondominated(front: pd.DataFrame, objectives: Sequence[Objective], split: str) -> np.ndarray:
    """Returns which members remain non-dominated on another split, ``(n,)`` bool."""
    keep = np.zeros(len(front), dtype=bool)
    keep[nondominated(matrix(front, objectives, split))] = True
    return keep
