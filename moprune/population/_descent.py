"""What the strategies of training heads share: when to stop, and how stacked weights move."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from moprune.networks.heads import TrainedHead, activate, activation_gradient
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


class Motion(NamedTuple):
    """What a training moves of several heads or members P in lock-step, and how; lists in the order of the layers.

    Attributes:
        matrices: ``(P, fan in, fan out)``.
        biases: ``(P, 1, fan out)``.
        velocities: the momentum of the matrices.
        bias_velocities: that of the biases.
        on: 1 or 0 for each weight of a matrix; those that are off stay at zero.
        momentum: in [0, 1).
        nesterov: whether the momentum looks ahead.
        weight_decay: decoupled, of the matrices.
    """

    matrices: list[Tensor]
    biases: list[Tensor | None]
    velocities: list[Tensor]
    bias_velocities: list[Tensor | None]
    on: list[Tensor | None]
    momentum: float
    nesterov: bool
    weight_decay: float

    @classmethod
    def of(
        cls,
        matrices: list[Tensor],
        biases: list[Tensor | None],
        training: Training,
        on: list[Tensor | None] | None = None,
    ) -> "Motion":
        """Returns the motion from rest."""
        return cls(
            matrices,
            biases,
            [torch.zeros_like(m) for m in matrices],
            [None if b is None else torch.zeros_like(b) for b in biases],
            [None for _ in matrices] if on is None else on,
            training.momentum,
            training.nesterov and training.momentum > 0,
            training.weight_decay,
        )

    def of_some(self, keep: Tensor) -> "Motion":
        """Returns the motion of some of the heads, by their indices."""
        return self._replace(
            matrices=_some(self.matrices, keep), biases=_some(self.biases, keep),
            velocities=_some(self.velocities, keep), bias_velocities=_some(self.bias_velocities, keep),
            on=_some(self.on, keep),
        )  # fmt: skip


def _some(stacks: Sequence[Tensor | None], keep: Tensor) -> list[Any]:
    return [None if stack is None else stack.index_select(0, keep) for stack in stacks]


class Lockstep(NamedTuple):
    """Several heads or members P in training: 1 or 0 for each of their units, ``(P, 1, width)`` a layer."""

    activation: str
    masks: list[Tensor]
    motion: Motion


def descend(state: Lockstep, x: Tensor, targets: Tensor, rate: float | Tensor) -> Tensor:
    """Takes a step with each head on a batch; returns their summed losses before it, ``(P,)``.

    A function for `WithoutPython`, as is what it calls. Units that are off are kept at zero: their outputs are
    multiplied by the mask, so that their gradients vanish.

    Args:
        state: the heads.
        x: what they read, ``(b, D)`` for all or ``(P, b, d)``.
        targets: ``(b, C)``.
        rate: the learning rate, 0-d where a step is recorded.
    """
    matrices, biases = state.motion.matrices, state.motion.biases
    last = len(matrices) - 1
    outputs = [x * state.masks[0]]
    for layer, matrix in enumerate(matrices):
        bias = biases[layer]
        y = torch.bmm(outputs[layer], matrix) if bias is None else torch.baddbmm(bias, outputs[layer], matrix)
        if layer < last:
            y = activate(state.activation, y).mul_(state.masks[layer + 1])
        outputs.append(y)
    log_probabilities = outputs[-1].log_softmax(2)
    losses = -(log_probabilities * targets).sum([1, 2])
    gradient = log_probabilities.exp_().sub_(targets).div_(float(targets.shape[0]))
    for i in range(last + 1):
        layer = last - i
        following = gradient
        if layer > 0:
            gradient = torch.bmm(following, matrices[layer].mT)
            gradient = activation_gradient(state.activation, gradient, outputs[layer]).mul_(state.masks[layer])
        _move(state.motion, layer, outputs[layer], following, rate)
    return losses


def _move(motion: Motion, layer: int, inputs: Tensor, gradient: Tensor, rate: float | Tensor) -> None:
    """Moves a layer by stochastic gradient descent with momentum, in place.

    The rule is that of one head in ``_loop``: the momentum absorbs the gradient inside the matrix product.

    Args:
        motion: what is moved.
        layer: its place.
        inputs: of the layer, ``(P, images, fan in)``.
        gradient: of the loss by the layer's outputs before activation, ``(P, images, fan out)``.
        rate: the learning rate, 0-d where a step is recorded.
    """
    mu, ahead = motion.momentum, motion.nesterov
    matrix, velocity, on = motion.matrices[layer], motion.velocities[layer], motion.on[layer]
    if motion.weight_decay > 0:
        _shrink(matrix, rate, motion.weight_decay)
    if ahead:
        _add(matrix, velocity, rate, mu)
    torch.baddbmm(velocity, inputs.mT, gradient, beta=mu, out=velocity)
    if on is not None:
        velocity.mul_(on)
    _add(matrix, velocity, rate, -(1.0 + mu) if ahead else -1.0)
    bias, bias_velocity = motion.biases[layer], motion.bias_velocities[layer]
    if bias is not None and bias_velocity is not None:
        if ahead:
            _add(bias, bias_velocity, rate, mu)
        bias_velocity.mul_(mu).add_(gradient.sum(1, keepdim=True))
        _add(bias, bias_velocity, rate, -(1.0 + mu) if ahead else -1.0)


def _shrink(target: Tensor, rate: float | Tensor, share: float) -> None:
    """Multiplies by ``1 - rate * share`` in place."""
    # Each branch is a line of its own for scripts, which know a number from a tensor there alone.
    if isinstance(rate, Tensor):
        target.mul_(1.0 - rate * share)
    else:
        target.mul_(1.0 - rate * share)


def _add(target: Tensor, what: Tensor, rate: float | Tensor, factor: float) -> None:
    """Adds ``rate * factor * what`` in place."""
    if isinstance(rate, Tensor):
        target.addcmul_(what, rate, value=factor)
    else:
        target.add_(what, alpha=rate * factor)
