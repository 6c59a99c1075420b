"""Whether members agree: on which units they keep, on how much those matter, and on where they look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

_COLUMNS = (
    "first", "second", "relatives", "shared", "expected", "overlap_p", "spearman", "kendall", "maps", "images",
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """What is compared of a member.

    Attributes:
        solution: its id.
        seed: the run seed; members of one seed are relatives.
        mask: which units it keeps, ``(n,)`` bool; of units that are the same thing for all members compared.
        importance: their importance by index, ``(n,)``; NaN where a unit is off.
        maps: its maps of some images, the same for all, ``(m, H, W)``; None where there are none.
    """

    solution: str
    seed: int
    mask: NDArray[np.bool_]
    importance: NDArray[np.float64]
    maps: Tensor | None = None


def overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, float]:
    """Returns how many units two masks share, against masks of the same sizes at random positions.

    Under chance the number is hypergeometric. Returns ``shared``, ``expected``, and ``overlap_p``: the probability of
    so many or more.
    """
    from scipy.stats import hypergeom

    shared, a, b, n = int((first & second).sum()), int(first.sum()), int(second.sum()), len(first)
    return {"shared": shared, "expected": a * b / n, "overlap_p": float(hypergeom.sf(shared - 1, n, a, b))}


def agreement(members: Sequence[Member]) -> pd.DataFrame:
    """Compares every two members.

    Returns:
        A row a pair: ``first, second, relatives, shared, expected, overlap_p, spearman, kendall, maps, images``.
        ``relatives`` says whether they are of one seed; ``spearman`` and ``kendall`` are rank correlations of the
        importance of units both keep (NaN for fewer than three, or where one is constant); ``maps`` the mean over
        images of the Spearman correlation of their maps over pixels, ``images`` those on which both maps vary.
    """
    rows = []
    for a, b in combinations(members, 2):
        both = a.mask & b.mask
        spearman, kendall = _correlations(a.importance[both], b.importance[both])
        row: Mapping[str, object] = {
            "first": a.solution, "second": b.solution, "relatives": a.seed == b.seed,
            **overlap(a.mask, b.mask), "spearman": spearman, "kendall": kendall,
            **_maps(a.maps, b.maps),
        }  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _correlations(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    from scipy.stats import kendalltau, spearmanr

    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), float("nan")
    return float(spearmanr(x, y).statistic), float(kendalltau(x, y).statistic)


def _maps(first: Tensor | None, second: Tensor | None) -> dict[str, float]:
    if first is None or second is None:
        return {"maps": float("nan"), "images": 0}
    pairs = zip(first.flatten(1).double().numpy(), second.flatten(1).double().numpy(), strict=True)
    found = [r for r in (_correlations(x, y)[0] for x, y in pairs) if np.isfinite(r)]
    return {"maps": float(np.mean(found)) if found else float("nan"), "images": len(found)}
