"""What the strategies of training heads share: when to stop, and how stacked weights move."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from moprune.networks.heads import TrainedHead
from moprune.population.training import Training

T = TypeVar("T")


class Learner(Protocol):
    """One head, or several in lock-step, taught a batch at a time by somebody who reads the batches for many."""

    def step(self, x: Tensor, targets: Tensor) -> Tensor:
        """Takes one step on a batch ``(b, D)`` with targets ``(b, C)``; returns the summed loss before it."""
        ...

    def ends(self, loss: Tensor) -> bool:
        """Returns whether nothing is left to train after an epoch of this mean loss."""
        ...

    def heads(self) -> list[TrainedHead]:
        """Returns the trained heads."""
        ...


class Watch(Generic[T]):
    """Looks at the loss of each epoch: says when training ends early, and remembers the weights to keep.

    Args:
        training: says when to stop, and whether the weights of the least loss are kept.
        weights: returns a copy of the weights as they are.
    """

    def __init__(self, training: Training, weights: Callable[[], T]) -> None:
        self.training, self.epochs = training, 0
        self._weights, self._least, self._waited = weights, float("inf"), 0
        self._best: T | None = None

    def ends(self, loss: Tensor) -> bool:
        """Returns whether an epoch was the last, by its mean training loss, 0-d, looked at only if needed."""
        self.epochs += 1
        if not self.training.watches_loss:
            return False
        mean = float(loss)
        if mean < self._least - self.training.min_delta:
            self._least, self._waited = mean, 0
            self._best = self._weights() if self.training.restore_best else None
            return False
        self._waited += 1
        return self.training.patience is not None and self._waited >= self.training.patience

    def kept(self) -> T:
        """Returns the weights to keep."""
        return self._weights() if self._best is None else self._best


def trained(training: Training, epoch_loss: Callable[[int], Tensor], weights: Callable[[], T]) -> tuple[T, int]:
    """Trains until the epochs or the patience are used up; returns the weights to keep and the epochs trained.

    Args:
        training: see :class:`Watch`.
        epoch_loss: trains for an epoch (1, 2, ...); returns its mean training loss, 0-d.
        weights: see :class:`Watch`.
    """
    watch = Watch(training, weights)
    for epoch in range(1, training.epochs + 1):
        if watch.ends(epoch_loss(epoch)):
            break
    return watch.kept(), watch.epochs


def move(
    matrix: Tensor,
    velocity: Tensor,
    bias: Tensor | None,
    bias_velocity: Tensor | None,
    inputs: Tensor,
    gradient: Tensor,
    training: Training,
    rate: float | Tensor,
    on: Tensor | None = None,
) -> None:
    """Moves a layer of several heads by stochastic gradient descent with momentum, in place.

    The rule is that of one head in ``_loop``: the momentum absorbs the gradient inside the matrix product.

    Args:
        matrix: weights ``(P, fan in, fan out)``.
        velocity: their momentum.
        bias: ``(P, 1, fan out)`` or None.
        bias_velocity: its momentum.
        inputs: of the layer, ``(P, images, fan in)``.
        gradient: of the loss by the layer's outputs before activation, ``(P, images, fan out)``.
        training: momentum and weight decay.
        rate: the learning rate, 0-d where a step is recorded.
        on: 1 or 0 for each weight; those that are off stay at zero.
    """
    mu, ahead = training.momentum, training.nesterov and training.momentum > 0
    if training.weight_decay:
        matrix.mul_(1.0 - rate * training.weight_decay)
    if ahead:
        _add(matrix, velocity, rate, mu)
    torch.baddbmm(velocity, inputs.mT, gradient, beta=mu, out=velocity)
    if on is not None:
        velocity.mul_(on)
    _add(matrix, velocity, rate, -(1 + mu) if ahead else -1)
    if bias is not None and bias_velocity is not None:
        if ahead:
            _add(bias, bias_velocity, rate, mu)
        bias_velocity.mul_(mu).add_(gradient.sum(1, keepdim=True))
        _add(bias, bias_velocity, rate, -(1 + mu) if ahead else -1)


def _add(target: Tensor, what: Tensor, rate: float | Tensor, factor: float) -> None:
    """Adds ``rate * factor * what`` in place."""
    if isinstance(rate, Tensor):
        target.addcmul_(what, rate, value=factor)
    else:
        target.add_(what, alpha=rate * factor)
