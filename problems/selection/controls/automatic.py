"""Learning rates of tensors from their gradients, anew each epoch: Auto-RGN and Auto-SNR (Lee et al. 2023, ICLR)."""

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from moprune.networks.selection import KINDS
from problems.selection.controls.courses import course_points
from problems.selection.controls.descent import Course, Tensors
from problems.selection.controls.points import Point, Setting

THRESHOLD = 0.95
"""The signal-to-noise ratio from which on a tensor is tuned."""
_TINY = 1e-8


def auto_rgn(setting: Setting) -> list[Point]:
    """Returns each tensor tuned at the base rate times its relative gradient norm, one point a rate.

    Parameters of normalisation layers stay as they are, as in the authors' code.
    """
    return _points(setting, relative_gradient_norms)


def auto_snr(setting: Setting) -> list[Point]:
    """Returns the tensors tuned in each epoch whose gradient's signal-to-noise ratio is high, one point a rate."""
    return _points(setting, signal_to_noise)


def relative_gradient_norms(parameters: Tensors, gradients: Iterable[Tensors]) -> dict[str, float]:
    """Returns the mean over batches of ||gradient|| / ||parameter||, as a share of the greatest of all tensors.

    The ratio of a tensor of zeros is infinite: its share is 1, and the others are shares of the greatest finite one.

    Args:
        parameters: by name.
        gradients: of a batch each.
    """
    ratios = _mean(gradients, lambda name, slope: _share(float(slope.norm()), float(parameters[name].detach().norm())))
    greatest = max((ratio for ratio in ratios.values() if math.isfinite(ratio)), default=0.0)
    return {name: min(ratio / greatest, 1.0) if greatest > 0 else float(ratio > 0) for name, ratio in ratios.items()}


def signal_to_noise(_: Tensors, gradients: Iterable[Tensors]) -> dict[str, float]:
    """Returns 1 for each tensor whose signal-to-noise ratio is at least `THRESHOLD`, 0 for the others.

    The ratio is the mean over the tensor of gradient^2 / (variance of the gradient along the first dimension + 1e-8),
    and over batches, as in the authors' code. Where the first dimension is 1 the variance is 0.
    """
    ratios = _mean(gradients, _ratio)
    return {name: float(ratio >= THRESHOLD) for name, ratio in ratios.items()}


def _share(slope: float, size: float) -> float:
    return slope / size if size > 0 else math.inf if slope > 0 else 0.0


def _ratio(_: str, slope: Tensor) -> float:
    variance = slope.var(0) if slope.ndim and len(slope) > 1 else torch.zeros(())
    return float((slope.square() / (variance + _TINY)).mean())


def _mean(gradients: Iterable[Tensors], of: Callable[[str, Tensor], float]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for batch in gradients:
        for name, slope in batch.items():
            found.setdefault(name, []).append(of(name, slope))
    return {name: math.fsum(values) / len(values) for name, values in found.items()}


def _points(setting: Setting, weigh: Callable[[Tensors, Iterable[Tensors]], Mapping[str, float]]) -> list[Point]:
    norms = KINDS["norms"](setting.problem.base)
    names = tuple(name for name, _ in setting.problem.base.named_parameters() if name not in norms)
    return course_points(setting, {"tensors": Course(names, weigh=weigh)})
