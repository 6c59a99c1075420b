"""Whether a map means anything: does the class go when the pixels it marks go, and come when they come?

Deletion and insertion (Petsiuk, Das and Saenko 2018). Pixels are taken away from the image (deletion) or added to its
blurred version (insertion) in the order of the map, and the probability of the class is followed. A map that means
something loses it sooner and finds it sooner than a control does on the same images. There are two controls:

* *shuffled*: the cells of the same map in random places, enlarged in the same way. Single random pixels would be an
  unfair control, since noise spread over an image harms a network far more than a hole of the same area.
* *other*: the map of another image. A map that only says that objects stand in the middle fails against it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from analysis.attribution.images import Maps, enlarged
from analysis.statistics import holm
from moprune.errors import UsageError
from moprune.seeding import torch_generator

Logits = Callable[[Tensor], Tensor]
"""Preprocessed images ``(n, C, H, W)`` to logits ``(n, classes)``."""

MODES = ("deletion", "insertion")
CONTROLS = ("shuffled", "other")


@dataclass(frozen=True)
class Faithfulness:
    """What :func:`faithfulness` returns.

    Attributes:
        table: a row a mode and control: ``mode, control, images, area, control_area, gain, low, high, wins, p,
            p_holm``. Areas are under the curve of the class's probability, in [0, 1]. ``gain`` is the mean difference
            over images in favour of the map (less area in deletion, more in insertion) with its 95% interval; ``wins``
            the share of images on which the map is better; ``p`` of a two-sided Wilcoxon signed-rank test over images,
            ``p_holm`` after Holm (1979) over the rows.
        curves: by (mode, ``map`` or control) the class's probability of each image after each step, ``(n, steps + 1)``.
        fractions: the share of pixels changed at each step, ``(steps + 1,)``.
    """

    table: pd.DataFrame
    curves: dict[tuple[str, str], NDArray[np.float64]]
    fractions: NDArray[np.float64]

    def better(self, level: float = 0.05) -> pd.Series:
        """Returns which rows of the table show the map better than the control, at a Holm-corrected level."""
        return (self.table["p_holm"] < level) & (self.table["gain"] > 0)


def faithfulness(
    logits: Logits,
    images: Tensor,
    maps: Maps,
    *,
    steps: int = 16,
    draws: int = 3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Faithfulness:
    """Tests maps by deletion and insertion against both controls.

    Args:
        logits: the network.
        images: preprocessed, ``(n, C, H, W)``, n >= 2.
        maps: their maps, with the class each is of.
        steps: pixels are changed in so many equal parts, >= 1.
        draws: shuffled maps an image, whose curves are averaged, >= 1.
        seed: of the shuffling and of the order of pixels that a map does not tell apart.
        progress: called with (passes done, passes in all).

    Raises:
        UsageError: fewer than two images.
    """
    count = len(images)
    if count < 2:
        raise UsageError(f"deletion and insertion compare maps over images; {count} is too few, give at least 2")
    random = torch_generator(seed, "faithfulness")
    shuffled = [enlarged(_shuffled(maps.cells, random), images.shape[-2:]) for _ in range(draws)]
    # Each image gets the map of another: the next one in a random ring, so that every map is used once.
    ring = torch.randperm(count, generator=random)
    other = torch.empty_like(maps.values)
    other[ring] = maps.values[ring.roll(1)]
    orders = {
        "map": [_order(maps.values, random)],
        "shuffled": [_order(values, random) for values in shuffled],
        "other": [_order(other, random)],
    }
    curves, done, passes = {}, 0, len(MODES) * (draws + 2)
    for mode in MODES:
        for name, drawn in orders.items():
            total = np.zeros((count, steps + 1))
            for ranks in drawn:
                total += _curve(logits, images, ranks, maps.targets, mode, steps)
                done += 1
                if progress is not None:
                    progress(done, passes)
            curves[mode, name] = total / len(drawn)
    return Faithfulness(_table(curves), curves, np.linspace(0, 1, steps + 1))


def blurred(images: Tensor) -> Tensor:
    """Returns images ``(n, C, H, W)`` blurred until no detail is left: what stands where pixels are missing.

    A Gaussian with a standard deviation of a quarter of the longer side; borders are continued by their last pixel.
    """
    sigma = max(images.shape[-2:]) / 4
    radius = max(1, round(2 * sigma))
    weights = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).to(images)
    channels = images.shape[1]
    padded = functional.pad(images, (radius,) * 4, mode="replicate")
    along = functional.conv2d(padded, weights.expand(channels, 1, 1, -1), groups=channels)
    return functional.conv2d(along, weights[:, None].expand(channels, 1, -1, 1), groups=channels)


def _shuffled(cells: Tensor, random: torch.Generator) -> Tensor:
    places = torch.rand(cells.flatten(1).shape, generator=random).argsort(1)
    return cells.flatten(1).gather(1, places).view_as(cells)


def _order(values: Tensor, random: torch.Generator) -> Tensor:
    """Returns the rank of each pixel, the highest value first, ties at random; ``(n, H * W)`` int64."""
    flat = values.flatten(1)
    tied = torch.rand(flat.shape, generator=random).argsort(1)
    order = tied.gather(1, flat.gather(1, tied).argsort(dim=1, descending=True, stable=True))
    return order.argsort(1)


@torch.no_grad()
def _curve(
    logits: Logits, images: Tensor, ranks: Tensor, targets: Tensor, mode: str, steps: int
) -> NDArray[np.float64]:
    base = blurred(images)
    before, after = (images, base) if mode == "deletion" else (base, images)
    pixels = ranks.shape[1]
    curve = np.empty((len(images), steps + 1))
    for step in range(steps + 1):
        changed = (ranks < round(pixels * step / steps)).view(-1, 1, *images.shape[-2:])
        shares = logits(torch.where(changed, after, before)).softmax(1)
        curve[:, step] = shares.gather(1, targets[:, None])[:, 0].numpy()
    return curve


def _table(curves: dict[tuple[str, str], NDArray[np.float64]]) -> pd.DataFrame:
    from scipy.stats import t, wilcoxon

    rows = []
    for mode in MODES:
        area = np.trapezoid(curves[mode, "map"], dx=1 / (curves[mode, "map"].shape[1] - 1), axis=1)
        for control in CONTROLS:
            against = np.trapezoid(curves[mode, control], dx=1 / (curves[mode, control].shape[1] - 1), axis=1)
            gain = (against - area) if mode == "deletion" else (area - against)
            gain = np.where(np.abs(gain) < 1e-9, 0.0, gain)
            half = t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
            p = float(wilcoxon(gain).pvalue) if gain.any() else 1.0
            rows.append(
                {
                    "mode": mode, "control": control, "images": len(gain), "area": area.mean(),
                    "control_area": against.mean(), "gain": gain.mean(), "low": gain.mean() - half,
                    "high": gain.mean() + half, "wins": (gain > 0).mean(), "p": p,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].to_numpy())
    return table
