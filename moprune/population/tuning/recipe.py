"""How a part of a network is fine-tuned: optimiser, learning rate, schedule, and when to stop."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from moprune.errors import UsageError, not_one_of
from moprune.population.recipes import STEP_COST

OPTIMISERS = ("adam", "adamw", "sgd")
STATISTICS = ("frozen", "tuned", "all")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TuningRecipe:
    """How candidates are fine-tuned.

    Attributes:
        optimiser: ``adam``, ``adamw`` or ``sgd``, as torch defines them, with their default coefficients.
        learning_rate: the base rate, > 0; each tensor's is a factor of it.
        weight_decay: of all that is trained, >= 0; added to the gradient, with ``adamw`` apart from it.
        momentum: of ``sgd``, in [0, 1).
        epochs: passes over the training images, >= 1.
        batch_size: images a step at most, >= 2, but never one alone; an epoch's batches are of nearly the same size.
        horizon: None for a cosine to zero over all steps (Loshchilov & Hutter 2017, equation 5, without restarts); or
            the number of epochs, >= 1, after which a cosine that falls once an epoch would be zero. BioTune's is 100.
        patience: None to train all epochs and keep the last; or after how many epochs, >= 1, without a better macro
            accuracy on the validation images training stops. The first epoch of the best accuracy is kept then.
        statistics: which batch normalisation layers normalise by the statistics of a batch and update the running
            ones: ``frozen``, none; ``tuned``, those whose own parameters are trained; ``all``, every one.
        precision: of the operations that torch's autocast lowers, convolutions and matrix products above all, in the
            forward and backward passes of training; weights, optimiser and loss are in float32. With ``bfloat16``
            losses differ, by less than another order of the images makes, and processors that calculate in it are
            faster.

    Raises:
        UsageError: a value out of its range.
    """

    optimiser: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    epochs: int = 5
    batch_size: int = 64
    horizon: int | None = None
    patience: int | None = None
    statistics: str = "tuned"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise not_one_of("optimiser", self.optimiser, OPTIMISERS)
        if self.statistics not in STATISTICS:
            raise not_one_of("statistics", self.statistics, STATISTICS)
        if self.precision not in PRECISIONS:
            raise not_one_of("precision", self.precision, PRECISIONS)
        rules = {
            "learning_rate must be > 0": 0 < self.learning_rate < math.inf,
            "weight_decay must be >= 0": 0 <= self.weight_decay < math.inf,
            "momentum must be in [0, 1)": 0 <= self.momentum < 1,
            "epochs must be >= 1": self.epochs >= 1,
            "batch_size must be >= 2": self.batch_size >= 2,
            "horizon must be >= 1, or none": self.horizon is None or self.horizon >= 1,
            "patience must be >= 1, or none": self.patience is None or self.patience >= 1,
        }
        for rule, holds in rules.items():
            if not holds:
                raise UsageError(f"tuning: {rule}")

    def rate(self, epoch: int, step: int, steps: int, epochs: int) -> float:
        """Returns the base rate of a step.

        Args:
            epoch: which, from 0.
            step: which of its epoch, from 0.
            steps: of an epoch.
            epochs: of the whole training.
        """
        done = (epoch + step / steps) / epochs if self.horizon is None else epoch / self.horizon
        return self.learning_rate * (1.0 + math.cos(math.pi * done)) / 2.0

    def lowered(self, device: torch.device) -> AbstractContextManager[object]:
        """Returns a context for the forward pass of a step, anew for each."""
        if self.precision == "float32":
            return nullcontext()
        # The weights change between steps: no lowered copy of them may be kept.
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)

    def steps(self, training_set: int) -> int:
        """Returns the steps of an epoch on so many images, >= 2; none of them is on a single image."""
        return min(math.ceil(training_set / self.batch_size), training_set // 2)

    def images(self, training_set: int, epochs: int | None = None) -> int:
        """Returns the forward-image equivalents that training costs.

        Args:
            training_set: its images.
            epochs: None for the recipe's.
        """
        return STEP_COST * training_set * (self.epochs if epochs is None else epochs)
