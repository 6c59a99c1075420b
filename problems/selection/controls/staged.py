"""Fine-tuning in stages: head first, or one unit after another. In each stage rates fall anew, from full to zero."""

import math
from collections.abc import Sequence
from itertools import groupby

from problems.selection.anchors import body, of_units
from problems.selection.controls.plans import Plan, plan_points
from problems.selection.controls.points import RATES, Point, Setting

_GENTLER = 0.1


def lp_ft(setting: Setting) -> list[Point]:
    """Returns linear probing for half of the epochs, then everything at a tenth of the rate (Kumar et al. 2022)."""
    units, epochs = setting.units, setting.problem.recipe.epochs
    names = [unit.name for unit in units]
    plans = [
        Plan(
            f"{rate:g}",
            (
                (of_units(units, (), rate), epochs // 2),
                (of_units(units, names, _GENTLER * rate), epochs - epochs // 2),
            ),
        )
        for rate in RATES
    ]
    return plan_points(setting, plans[: setting.affordable])


def gradual_last(setting: Setting) -> list[Point]:
    """Returns gradual unfreezing from the head backwards (Howard and Ruder 2018, section 3.3), for equal epochs."""
    names = [unit.name for unit in body(setting.units)]
    return _gradual(setting, [names[len(names) - count :] for count in range(len(names) + 1)])


def gradual_first(setting: Setting) -> list[Point]:
    """Returns gradual unfreezing from the first unit forwards, with the head tuned from the start."""
    names = [unit.name for unit in body(setting.units)]
    return _gradual(setting, [names[:count] for count in range(1, len(names) + 1)])


def _gradual(setting: Setting, growing: Sequence[Sequence[str]]) -> list[Point]:
    spread = spans(len(growing), setting.problem.recipe.epochs)
    plans = [
        Plan(f"{rate:g}", tuple((of_units(setting.units, growing[stage], rate), epochs) for stage, epochs in spread))
        for rate in RATES
    ]
    return plan_points(setting, plans[: setting.affordable])


def spans(stages: int, epochs: int) -> list[tuple[int, int]]:
    """Returns (stage, its epochs) for stages spread evenly over epochs; with too few epochs, some stages are left out.

    The last stage never is.
    """
    reached = [math.ceil((epoch + 1) * stages / epochs) - 1 for epoch in range(epochs)]
    return [(stage, len(list(some))) for stage, some in groupby(reached)]
