"""Recipes: the hyper-parameters of fine-tuning, and how those of a population are drawn."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any

from moprune.errors import UsageError, not_one_of
from moprune.seeding import numpy_generator

STEP_COST = 3
"""Forward-image equivalents of one training image: a forward pass, and a backward pass of about twice the work."""

AUGMENTS = ("none", "flip_crop")
KINDS = ("grid", "random")
_LOW = 0.01  # of the triangular rate: its least value, as a share of the greatest

SCHEDULES: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "constant": lambda _: 1.0,
        # Loshchilov & Hutter 2017, equation 5, without restarts.
        "cosine": lambda done: (1.0 + math.cos(math.pi * done)) / 2.0,
        # One cycle of Garipov et al. 2018, section 4, begun at its lowest point: up, and down again.
        "triangle": lambda done: _LOW + (1.0 - _LOW) * (1.0 - abs(1.0 - 2.0 * done)),
    }
)
"""The factor of the learning rate at each share of the steps done, 0 to 1."""

_RATES = (0.5, 1.0, 2.0)
_GRID: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "weight_decay": (2e-5, 5e-5, 1e-4, 3e-4),
        "label_smoothing": (0.0, 0.1),
        "mixup": (0.0, 0.1, 0.2, 0.25),
    }
)


@dataclass(frozen=True)
class Recipe:
    """How a network is fine-tuned.

    Attributes:
        learning_rate: greatest step size, > 0.
        weight_decay: of all trained parameters, added to the gradient, >= 0.
        momentum: in [0, 1).
        label_smoothing: share of each label spread over all classes, in [0, 1) (Szegedy et al. 2016).
        mixup: alpha of the Beta distribution two images are mixed by (Zhang et al. 2018); 0 for none.
        augment: ``none``, or for images ``flip_crop`` (:func:`moprune.population.finetuning.flip_crop`).
        epochs: passes over the training set, >= 1.
        batch_size: images a step at most, >= 1.
        schedule: of the learning rate: ``cosine`` to zero, ``constant``, or ``triangle``, up from a hundredth and down.

    Raises:
        UsageError: a value out of its range.
    """

    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    momentum: float = 0.9
    label_smoothing: float = 0.0
    mixup: float = 0.0
    augment: str = "none"
    epochs: int = 3
    batch_size: int = 128
    schedule: str = "cosine"

    def __post_init__(self) -> None:
        rules = {
            "learning_rate must be > 0": 0 < self.learning_rate < math.inf,
            "weight_decay must be >= 0": 0 <= self.weight_decay < math.inf,
            "momentum must be in [0, 1)": 0 <= self.momentum < 1,
            "label_smoothing must be in [0, 1)": 0 <= self.label_smoothing < 1,
            "mixup must be >= 0": 0 <= self.mixup < math.inf,
            "epochs must be >= 1": self.epochs >= 1,
            "batch_size must be >= 1": self.batch_size >= 1,
        }
        for rule, holds in rules.items():
            if not holds:
                raise UsageError(f"fine-tuning: {rule}")
        if self.augment not in AUGMENTS:
            raise not_one_of("augmentation", self.augment, AUGMENTS)
        if self.schedule not in SCHEDULES:
            raise not_one_of("schedule of the learning rate", self.schedule, SCHEDULES)

    def rate(self, done: float) -> float:
        """Returns the learning rate after a share of all steps, 0 to 1."""
        return self.learning_rate * SCHEDULES[self.schedule](done)

    def images(self, training_set: int) -> int:
        """Returns the forward-image equivalents that training on a set of so many images costs."""
        return STEP_COST * training_set * self.epochs


def draw_recipes(
    count: int,
    seed: int,
    *,
    base_rate: float = 0.01,
    epochs: int = 3,
    kind: str = "grid",
    augment: str = "none",
    mixup: bool = True,
    batch_size: int = 128,
) -> list[Recipe]:
    """Returns different recipes for the members of a population.

    Rates are within a factor of two of ``base_rate``, since members fine-tuned at large rates leave the basin of the
    weights they started from. Asking for more recipes leaves the first as they are.

    Args:
        count: how many, >= 1.
        seed: of the draw.
        base_rate: the middle of the learning rates, > 0.
        epochs: the greatest number of epochs; the least is half of it, rounded up.
        kind: ``grid``, cells drawn without replacement from a grid over rate, weight decay, label smoothing, mixup,
            augmentation and epochs (that of the runs behind SA-SHADE-tri-ensin, but rates and epochs are relative); or
            ``random``, after the random search of Wortsman et al. 2022, with weight decays of 1e-5 to 1e-3, which suit
            stochastic gradient descent.
        augment: an augmentation that about half of the members have.
        mixup: whether inputs may be mixed (images can, tokens cannot).
        batch_size: of all.

    Raises:
        UsageError: another kind, or more recipes than the grid has cells.
    """
    if kind not in KINDS:
        raise not_one_of("kind of recipes", kind, KINDS)
    if count < 1:
        raise UsageError(f"recipes: count is {count}; give at least 1")
    last = Recipe(base_rate, augment=augment, epochs=epochs, batch_size=batch_size)
    return _cells(last, count, seed, mixup) if kind == "grid" else [_drawn(last, i, seed, mixup) for i in range(count)]


def _cells(base: Recipe, count: int, seed: int, mixup: bool) -> list[Recipe]:
    axes: dict[str, Any] = {
        "learning_rate": [base.learning_rate * factor for factor in _RATES],
        **_GRID,
        "augment": sorted({"none", base.augment}),
        "epochs": sorted({math.ceil(base.epochs * share) for share in (0.5, 0.75, 1.0)}),
        "batch_size": [base.batch_size],
    }
    if not mixup:
        axes["mixup"] = [0.0]
    cells = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    if count > len(cells):
        raise UsageError(f"recipes: the grid has {len(cells)} cells, not {count}; ask for fewer or use kind random")
    order = numpy_generator(seed, "recipes", "grid").permutation(len(cells))
    return [Recipe(**cells[index]) for index in order[:count]]


def _drawn(base: Recipe, index: int, seed: int, mixup: bool) -> Recipe:
    generator = numpy_generator(seed, "recipes", "random", index)
    rate, decay, smoothing, mix = (float(value) for value in generator.random(4))
    smooth, mixed, augmented = (bool(value) for value in generator.random(3) < 0.5)
    return Recipe(
        learning_rate=base.learning_rate * 4.0 ** (rate - 0.5),
        weight_decay=10.0 ** (-5 + 2 * decay),
        label_smoothing=0.25 * smoothing if smooth else 0.0,
        mixup=0.9 * mix if mixed and mixup else 0.0,
        augment=base.augment if augmented else "none",
        epochs=int(generator.integers(math.ceil(base.epochs / 2), base.epochs, endpoint=True)),
        batch_size=base.batch_size,
    )
