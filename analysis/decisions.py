"""Which member of a front to take: its knee, or the one that comes nearest to what a person wishes for.

Both choose on the ``select`` split unless told otherwise, and never on ``test``: a member picked for its test result
has no honest test result any more.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.fronts import matrix
from moprune.errors import UsageError, not_one_of
from moprune.fronts import Matrix, nondominated
from moprune.objectives import Objective

CHOICE_SPLITS = ("search", "select")

_AUGMENTATION = 1e-4
"""Weight of the sum beside the maximum: it settles ties in favour of non-dominated members, no more."""


@dataclass(frozen=True)
class Decision:
    """A member and why it was taken.

    Attributes:
        solution: its id.
        rule: the rule, in words.
        missed: by how much it misses each wish that it misses, natural units, > 0; empty when it satisfies all.
        satisfying: members that satisfy every wish; for the knee all that were looked at.
    """

    solution: str
    rule: str
    missed: Mapping[str, float]
    satisfying: int


def knee(front: pd.DataFrame, objectives: Sequence[Objective], split: str = "select") -> Decision:
    """Returns the knee: the member that bulges most from the plane through the extremes towards the ideal.

    Objectives of the members that are non-dominated on the split are normalised to [0, 1]. The extremes are the members
    that are best in one objective each, the plane goes through them and the distance is signed (Das 1999). Where they
    span no plane that faces the ideal (two extremes are one member, or more than two objectives trade oddly), it is the
    plane through the nadir's intercepts, on which the normalised objectives sum to 1. Objectives in which all are equal
    play no part; ties go to the lesser sum, then to the id.

    Args:
        front: with ``solution`` and ``<objective>_<split>``; of one seed or several.
        objectives: the objectives; of a single one the best member is returned.
        split: ``select`` or ``search``.
    """
    F, members = _candidates(front, objectives, split)
    kept = nondominated(F)
    F, members = F[kept], members.iloc[kept]
    span = np.ptp(F, axis=0)
    G = ((F - F.min(axis=0)) / np.where(span > 0, span, 1.0))[:, span > 0]
    distance = _bulge(G) if G.shape[1] else np.zeros(len(G))
    best = _first(members, -distance.round(12), G.sum(axis=1).round(12))
    return Decision(best, f"knee of {len(G)} members on {split}", {}, len(G))


def prefer(
    front: pd.DataFrame, objectives: Sequence[Objective], wishes: Mapping[str, float], split: str = "select"
) -> Decision:
    """Returns the best compromise among the members that satisfy every wish, or else the nearest.

    The compromise minimises the augmented achievement function (Wierzbicki 1980),
    ``max_i (f_i - z_i) / r_i + 1e-4 sum_i (f_i - z_i) / r_i`` in minimised objectives, where ``r_i`` is the range of
    the front and ``z_i`` the wish or, where none was made, the best of the front. When nobody satisfies all, it is the
    one whose greatest shortfall ``max(0, f_i - z_i) / r_i`` over the wishes is least (ties by the function above).

    Args:
        front: with ``solution`` and ``<objective>_<split>``; of one seed or several.
        objectives: the objectives.
        wishes: by objective, the natural value that is good enough; a value equal to it satisfies.
        split: ``select`` or ``search``.

    Raises:
        UsageError: no wish, an unknown objective, or a wish that is no finite number.
    """
    _check(wishes, objectives)
    F, members = _candidates(front, objectives, split)
    span = np.ptp(F, axis=0)
    span = np.where(span > 0, span, [o.scale for o in objectives])
    aim = np.array(
        [
            o.minimised(np.array([wishes[o.name]]))[0] if o.name in wishes else F[:, i].min()
            for i, o in enumerate(objectives)
        ]
    )
    G = (F - aim) / span
    # Compared in natural units: 1 - 0.9 would miss a wish of 0.9 by rounding.
    missed = np.column_stack(
        [
            _shortfall(members[f"{o.name}_{split}"].to_numpy(float), wishes[o.name], o) / span[i]
            for i, o in enumerate(objectives)
            if o.name in wishes
        ]
    ).max(axis=1)
    achievement = G.max(axis=1) + _AUGMENTATION * G.sum(axis=1)
    satisfying = missed <= 0
    if satisfying.any():
        best = _first(members[satisfying], achievement[satisfying])
        rule = f"best compromise of {satisfying.sum()} members that satisfy every wish on {split}"
    else:
        best = _first(members, missed, achievement)
        rule = f"nearest of {len(members)} members on {split}; none satisfies every wish"
    row = members[members["solution"] == best].iloc[0]
    gaps = {
        o.name: float(_shortfall(row[f"{o.name}_{split}"], wishes[o.name], o)) for o in objectives if o.name in wishes
    }
    return Decision(best, rule, {name: gap for name, gap in gaps.items() if gap > 0}, int(satisfying.sum()))


def parse_wishes(texts: Sequence[str], objectives: Sequence[Objective]) -> dict[str, float]:
    """Returns wishes written as ``error=0.05``, by objective, in natural units.

    Raises:
        UsageError: not of this form, an unknown objective, one named twice, or no finite number.
    """
    wishes: dict[str, float] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f"wish {text!r} is not OBJECTIVE=VALUE, e.g. {objectives[0].name}=0.05")
        if name in wishes:
            raise UsageError(f"objective {name!r} is wished for twice; name each once")
        try:
            wishes[name] = float(value)
        except ValueError:
            raise UsageError(f"wish {text!r}: {value!r} is not a number") from None
    if wishes:
        _check(wishes, objectives)
    return wishes


def _check(wishes: Mapping[str, float], objectives: Sequence[Objective]) -> None:
    if not wishes:
        raise UsageError("no wish given; name at least one objective and a value that is good enough")
    names = [o.name for o in objectives]
    for name, value in wishes.items():
        if name not in names:
            raise not_one_of("objective", name, names)
        if not math.isfinite(value):
            raise UsageError(f"the wish for {name!r} must be a finite number, not {value}")


def _candidates(front: pd.DataFrame, objectives: Sequence[Objective], split: str) -> tuple[Matrix, pd.DataFrame]:
    if split == "test":
        raise UsageError("members are never chosen on test; choose on select, then read their test result")
    if split not in CHOICE_SPLITS:
        raise not_one_of("split", split, CHOICE_SPLITS)
    if front.empty:
        raise UsageError("there is no member to choose from")
    return matrix(front, objectives, split), front


def _shortfall(values: Matrix, wish: float, objective: Objective) -> Matrix:
    """Returns by how much natural values miss a wish, 0 where they satisfy it."""
    gap: Matrix = np.maximum(0.0, values - wish if objective.minimise else wish - values)
    return gap


def _bulge(G: Matrix) -> Matrix:
    """Returns the signed distance of normalised points ``(n, m)`` from the plane of extremes, > 0 towards the ideal."""
    m = G.shape[1]
    # The best in each objective; of several the one with the least sum.
    extremes = G[[np.lexsort((G.sum(axis=1), G[:, i]))[0] for i in range(m)]]
    normal: Matrix = np.ones(m)
    if np.linalg.matrix_rank(extremes, tol=1e-9) == m:
        plane: Matrix = np.linalg.solve(extremes, np.ones(m)).astype(np.float64)  # extremes . plane = 1
        if (plane > 0).all():
            normal = plane
    distance: Matrix = (1.0 - G @ normal) / np.linalg.norm(normal)
    return distance


def _first(members: pd.DataFrame, *keys: Matrix) -> str:
    """Returns the id of the member least in the first key, then in the next, then by id."""
    ids = members["solution"].to_numpy(str)
    return str(ids[np.lexsort((ids, *reversed(keys)))[0]])
