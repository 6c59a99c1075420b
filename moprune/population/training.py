"""How a head is trained: stochastic gradient descent with momentum, in lock-step over the population."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from moprune.errors import UsageError
from moprune.seeding import torch_generator


@dataclass(frozen=True)
class Training:
    """Settings of head training.

    Attributes:
        epochs: largest number of passes over the training set, >= 0.
        batch_size: images a step, >= 1; a larger one than the training set means full-batch steps.
        learning_rate: step size, > 0, divided by ``1 + decay * steps taken``.
        momentum: in [0, 1).
        nesterov: whether the momentum looks ahead.
        decay: decay of the learning rate per step, >= 0.
        weight_decay: decoupled weight decay (Loshchilov & Hutter 2019): each step shrinks the matrices, not the
            biases, by ``1 - learning rate * weight_decay``; >= 0.
        patience: stop when the training loss has not improved by ``min_delta`` for so many epochs; None: never.
        min_delta: smallest improvement of the training loss that counts.
        restore_best: whether the weights of the epoch with the least training loss are kept.
    """

    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 0.02
    momentum: float = 0.9
    nesterov: bool = True
    decay: float = 0.0
    weight_decay: float = 1e-3
    patience: int | None = None
    min_delta: float = 1e-5
    restore_best: bool = False

    def __post_init__(self) -> None:
        rules = {
            "epochs must be >= 0": self.epochs >= 0,
            "batch_size must be >= 1": self.batch_size >= 1,
            "learning_rate must be > 0": self.learning_rate > 0,
            "momentum must be in [0, 1)": 0 <= self.momentum < 1,
            "decay and weight_decay must be >= 0": min(self.decay, self.weight_decay) >= 0,
            "patience must be >= 1": self.patience is None or self.patience >= 1,
        }
        for rule, holds in rules.items():
            if not holds:
                raise UsageError(f"training: {rule}")

    @classmethod
    def published(cls) -> "Training":
        """Returns the training of EvoPruneDeepTL (section "Experimental framework"): up to 600 epochs of SGD.

        Learning rate 1e-3 with decay 1e-6, Nesterov momentum 0.9, batches of 32; stops when the training loss
        has not improved by 1e-5 for 10 epochs and restores the weights of the least training loss.
        """
        return cls(
            epochs=600, learning_rate=1e-3, decay=1e-6, weight_decay=0.0, patience=10, restore_best=True
        )  # fmt: skip

    @property
    def watches_loss(self) -> bool:
        """Whether the training loss has to be known after each epoch."""
        return self.patience is not None or self.restore_best

    def rate(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0."""
        return self.learning_rate / (1.0 + self.decay * step)

    def batches(self, images: int, epoch: int, seed: int, device: torch.device) -> Iterator[Tensor]:
        """Yields the image indices of each batch of an epoch, ``(<= batch_size,)`` int64."""
        if images <= self.batch_size:
            yield torch.arange(images, device=device)
            return
        order = torch.randperm(images, generator=torch_generator(seed, "batch order", epoch)).to(device)
        yield from order.split(self.batch_size)
