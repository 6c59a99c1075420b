"""Reading a front: which member to take, and how good the whole is."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from moprune.errors import UsageError
from moprune.fronts import hypervolume, nondominated
from moprune.objectives import Objective

SPLITS = ("search", "select", "test")

OPTIMISTIC = "members were selected on the test images (profile paper, as published), so these figures are optimistic"
"""What everything made of a run whose task is :meth:`~moprune.data.task.Task.published` has to say."""


def standard_error(share: float, images: int) -> float:
    """Returns the standard error of a share measured on so many images, by the binomial formula.

    With Laplace's correction (one success and one failure added), so that a share of 0 or 1 has an error too.
    """
    smoothed = (share * images + 1) / (images + 2)
    return float(np.sqrt(smoothed * (1 - smoothed) / (images + 2)))


LOSSES = ("brier", "nll", "error")
"""What members are chosen by, the first of those measured: what sees how sure an answer is tells more of few images."""

ERRORS = ("macro_error", "error")
"""What members are chosen by where a standard error has to be told: shares of images."""


def choose(
    front: pd.DataFrame,
    images: Mapping[str, int],
    *,
    budget: float = 1.0,
    cost: str = "active_fraction",
    losses: Sequence[str] = LOSSES,
) -> str:
    """Returns the solution a user should take; ``test`` plays no part.

    Of the members that cost at most ``budget`` (of all, where none does), the one with the least loss on ``search`` and
    ``select`` together, each image counted once; ties go to the lesser cost. Both splits are used because one of some
    dozen images cannot tell members apart: a rule that asked for the smallest member within a standard error of the
    best took members so small that they lost on test.

    Args:
        front: as written to ``front.csv``.
        images: number of images of ``search`` and ``select``: their weights.
        budget: largest cost.
        cost: the objective that counts as cost; without it in the front there is no budget.
        losses: what counts as loss, the first that the front holds.

    Raises:
        UsageError: the front holds none of the losses on both splits.
    """
    ranked = _ranked(front, images, cost, losses)
    within = ranked[ranked["cost"] <= budget]
    candidates = within if len(within) else ranked
    return str(candidates.sort_values(["loss", "cost", "solution"])["solution"].iloc[0])


def choose_cheapest(
    front: pd.DataFrame, images: Mapping[str, int], *, cost: str, losses: Sequence[str] = ERRORS
) -> str:
    """Returns the solution to take by the one-standard-error rule (Breiman et al. 1984, section 3.4.3).

    Of the members that lose no more than one standard error above the least loss, the cheapest; ties go to the lesser
    loss. Losses are taken as in :func:`choose`.

    Args:
        front: as written to ``front.csv``.
        images: number of images of ``search`` and ``select``: their weights, and by their sum the standard error.
        cost: what counts as cost, with a column for ``select``.
        losses: shares of images, the first that the front holds.

    Raises:
        UsageError: the front holds none of the losses on both splits.
    """
    ranked = _ranked(front, images, cost, losses)
    least = float(ranked["loss"].min())
    near = ranked[ranked["loss"] <= least + standard_error(least, images["search"] + images["select"])]
    return str(near.sort_values(["cost", "loss", "solution"])["solution"].iloc[0])


def _ranked(front: pd.DataFrame, images: Mapping[str, int], cost: str, losses: Sequence[str]) -> pd.DataFrame:
    """Returns ``solution``, ``loss`` on both splits that may choose, and ``cost`` of each member."""
    measured = [name for name in losses if {f"{name}_search", f"{name}_select"} <= set(front)]
    if not measured:
        raise UsageError(f"no member can be chosen without one of {', '.join(losses)}; report one: reported=[error]")
    both = ("search", "select")
    loss = np.average([front[f"{measured[0]}_{split}"] for split in both], axis=0, weights=[images[s] for s in both])
    return pd.DataFrame(
        {
            "solution": front["solution"],
            "loss": loss.round(12),  # lest equals be told apart by the last bit of a sum
            "cost": front.get(f"{cost}_select", 0.0),
        }
    )


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
