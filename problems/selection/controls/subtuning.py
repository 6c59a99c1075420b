"""SubTuning: greedy choice of the units to tune (Kaplun et al. 2023, arXiv 2302.06354)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from problems.selection.anchors import body, of_units
from problems.selection.controls.plans import Plan, plan_points
from problems.selection.controls.points import RATES, Point, Setting

EPSILON = 0.01
"""How much worse than the best seen a round may be without being the last."""

Units = tuple[str, ...]


def subtuning(setting: Setting) -> list[Point]:
    """Returns the best of each round of a greedy search, from the head alone on; a search for each rate, within budget.

    Each addition is trained from all seeds and scored on search, by the first objective. A round that the budget does
    not pay for in full is not begun.
    """
    names = [unit.name for unit in body(setting.units)]
    found: list[Point] = []
    left = setting.affordable
    for rate in RATES:
        for point, tried in _rounds(setting, names, rate, left):
            found.append(point)
            left -= tried
    return found


def greedy(
    names: Sequence[str], losses: Callable[[Sequence[Units]], Sequence[float]], tries: int
) -> Iterator[tuple[Units, int]]:
    """Yields the best set of each round of forward selection, and how many sets the round tried.

    The first round tries the empty set, each other all additions to the best of the one before. The last is the one
    whose best is more than `EPSILON` worse than the best seen, or that adds the last name.

    Args:
        names: of what may be chosen.
        losses: of sets, each in the order its members were added.
        tries: how many sets may be tried; a round for which too few are left is not begun.
    """
    best, least = float("inf"), float("-inf")
    sets: list[Units] = [()]
    while sets and len(sets) <= tries and least <= best + EPSILON:
        scores = losses(sets)
        least, chosen = min(zip(scores, sets, strict=True), key=lambda each: each[0])
        yield chosen, len(sets)
        tries -= len(sets)
        sets = [(*chosen, name) for name in names if name not in chosen]
        best = min(best, least)


def _rounds(setting: Setting, names: Sequence[str], rate: float, tries: int) -> Iterator[tuple[Point, int]]:
    units, epochs = setting.units, setting.problem.recipe.epochs
    tried: dict[Units, Point] = {}

    def losses(sets: Sequence[Units]) -> Sequence[float]:
        plans = [
            Plan(f"{' + '.join(each) or 'head'} at {rate:g}", ((of_units(units, each, rate), epochs),)) for each in sets
        ]
        points = plan_points(setting, plans)
        tried.clear()
        tried.update(zip(sets, points, strict=True))
        return setting.problem.losses([point.fitted for point in points])

    for chosen, count in greedy(names, losses, tries):
        yield replace(tried[chosen], images=sum(point.images for point in tried.values())), count
