"""What the strategies of training heads share: when to stop, and how stacked weights move."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from moprune.population.training import Training

T = TypeVar("T")


def trained(training: Training, epoch_loss: Callable[[int], Tensor], weights: Callable[[], T]) -> tuple[T, int]:
    """Trains until the epochs or the patience are used up; returns the weights to keep and the epochs trained.

    Args:
        training: says when to stop, and whether the weights of the least loss are kept.
        epoch_loss: trains for an epoch (1, 2, ...); returns its mean training loss, 0-d, looked at only if needed.
        weights: returns a copy of the weights as they are.
    """
    least, waited, epoch = float("inf"), 0, 0
    best: T | None = None
    for epoch in range(1, training.epochs + 1):
        loss = epoch_loss(epoch)
        if not training.watches_loss:
            continue
        mean = float(loss)
        if mean < least - training.min_delta:
            least, waited = mean, 0
            best = weights() if training.restore_best else None
        else:
            waited += 1
            if training.patience is not None and waited >= training.patience:
                break
    return (weights() if best is None else best), epoch


def move(
    matrix: Tensor,
    velocity: Tensor,
    bias: Tensor | None,
    bias_velocity: Tensor | None,
    inputs: Tensor,
    gradient: Tensor,
    training: Training,
    rate: float,
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
        rate: the learning rate.
        on: 1 or 0 for each weight; those that are off stay at zero.
    """
    mu, ahead = training.momentum, training.nesterov and training.momentum > 0
    if training.weight_decay:
        matrix.mul_(1.0 - rate * training.weight_decay)
    if ahead:
        matrix.add_(velocity, alpha=rate * mu)
    torch.baddbmm(velocity, inputs.mT, gradient, beta=mu, out=velocity)
    if on is not None:
        velocity.mul_(on)
    matrix.sub_(velocity, alpha=rate * (1 + mu) if ahead else rate)
    if bias is not None and bias_velocity is not None:
        if ahead:
            bias.add_(bias_velocity, alpha=rate * mu)
        bias_velocity.mul_(mu).add_(gradient.sum(1, keepdim=True))
        bias.sub_(bias_velocity, alpha=rate * (1 + mu) if ahead else rate)
