"""Fine-tuning held near the pre-trained weights: L2-SP and L1-SP (Li, Grandvalet and Davoine 2018, ICML)."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from problems.selection.controls.courses import course_points
from problems.selection.controls.descent import Course, Tensors
from problems.selection.controls.points import Point, Setting

ALPHAS = (0.1, 0.01, 1.0, 0.001)
"""Strengths of the pull to the pre-trained weights, in the order they are tried; 0.1 is the published example's."""
BETA = 0.01
"""Strength of the pull of a new head to zero."""
_SMOOTH = 1e-16


def l2_sp(setting: Setting) -> list[Point]:
    """Returns everything tuned with alpha / 2 ||w - w0||^2 + beta / 2 ||v||^2 in the loss.

    w are the parameters that the pre-trained network has values w0 for, v those of a new head. The recipe's weight
    decay is off. One point for each strength and rate that the budget pays for.
    """
    return course_points(setting, variants(setting, squares), decay=False)


def l1_sp(setting: Setting) -> list[Point]:
    """Returns the same with alpha ||w - w0||_1 for the first term, smoothed near zero as in the authors' code."""
    return course_points(setting, variants(setting, absolutes), decay=False)


def variants(setting: Setting, distance: Callable[[Tensor], Tensor]) -> dict[str, Course]:
    """Returns descents of everything by name, one for each strength of the pull."""
    new = setting.starts[0].keys()
    parameters = {name: each.detach() for name, each in setting.problem.base.named_parameters()}
    origin = {name: each for name, each in parameters.items() if name not in new}
    return {
        f"alpha {alpha:g}": Course(
            tuple(parameters), penalty=partial(penalty, origin=origin, distance=distance, alpha=alpha)
        )
        for alpha in ALPHAS
    }


def penalty(
    parameters: Tensors, *, origin: Mapping[str, Tensor], distance: Callable[[Tensor], Tensor], alpha: float
) -> Tensor:
    """Returns the penalty on some parameters: by distance from those in the origin, by square from zero otherwise."""
    terms = [
        alpha * distance(value - origin[name]) if name in origin else BETA * squares(value)
        for name, value in parameters.items()
    ]
    return torch.stack(terms).sum()


def squares(change: Tensor) -> Tensor:
    """Returns half the square of a change's Euclidean norm."""
    return change.square().sum() / 2


def absolutes(change: Tensor) -> Tensor:
    """Returns the sum of a change's absolute values, smoothed."""
    return (change.square() + _SMOOTH).sqrt().sum()
