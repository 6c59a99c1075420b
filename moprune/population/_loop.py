"""One compact head after another: forward, backward and update written out over preallocated weights."""

from collections.abc import Sequence
from threading import Event

import torch
from torch import Tensor

from moprune.networks.heads import (
    HeadSpec,
    HeadWeights,
    Masks,
    TrainedHead,
    activate,
    activation_gradient,
    connections,
)
from moprune.population._descent import Learner, Watch, trained
from moprune.population.training import Training
from moprune.population.workers import give_up_if


def fit(
    spec: HeadSpec,
    masks: Sequence[Masks],
    features: Tensor,
    labels: Tensor,
    start: HeadWeights,
    training: Training,
    seed: int,
    stop: Event,
) -> list[TrainedHead]:
    """Trains the heads of some candidates; see :func:`moprune.population.heads.fit_heads`."""
    targets = torch.nn.functional.one_hot(labels, spec.classes).to(features.dtype).T.contiguous()
    return [_fit_one(spec, candidate, features, targets, start, training, seed, stop) for candidate in masks]


@torch.inference_mode()
def _fit_one(
    spec: HeadSpec,
    masks: Masks,
    features: Tensor,
    targets: Tensor,
    start: HeadWeights,
    training: Training,
    seed: int,
    stop: Event,
) -> TrainedHead:
    x = features.index_select(1, masks[0].nonzero()[:, 0])
    head = _Descent(start.compact(masks), masks, spec.activation, training)

    def epoch_loss(epoch: int) -> Tensor:
        give_up_if(stop)
        loss = torch.zeros((), device=x.device)
        for batch in training.batches(len(x), epoch, seed, x.device):
            loss += head.step(x.index_select(0, batch), targets.index_select(1, batch))
        return loss / len(x)

    weights, epochs = trained(training, epoch_loss, head.weights)
    return TrainedHead.of(spec, masks, weights, epochs)


def learners(spec: HeadSpec, masks: Sequence[Masks], start: HeadWeights, training: Training) -> list[Learner]:
    """Returns what trains the heads of some candidates as :func:`fit` does, on batches that somebody else reads."""
    return [_Learner(spec, candidate, start, training) for candidate in masks]


class _Learner:
    """One compact head that is given batches at full width."""

    def __init__(self, spec: HeadSpec, masks: Masks, start: HeadWeights, training: Training) -> None:
        self._spec, self._masks, self._kept = spec, masks, masks[0].nonzero()[:, 0]
        self._descent = _Descent(start.compact(masks), masks, spec.activation, training)
        self._watch = Watch(training, self._descent.weights)
        self.ends = self._watch.ends

    def step(self, x: Tensor, targets: Tensor) -> Tensor:
        return self._descent.step(x.index_select(1, self._kept), targets.T.contiguous())

    def heads(self) -> list[TrainedHead]:
        return [TrainedHead.of(self._spec, self._masks, self._watch.kept(), self._watch.epochs)]


class _Descent:
    """Stochastic gradient descent on one head.

    Everything is turned round: matrices are ``(fan out, fan in)`` and activations ``(units, images)``. With few
    classes and small batches the matrix products then run up to six times faster on a CPU than in the other
    layout. All parameters are views of one tensor, the matrices first, so that a step moves them in one pass.
    Connections that are off start at zero; their momentum is kept at zero, so they stay there.
    """

    def __init__(self, start: HeadWeights, masks: Masks, activation: str, training: Training) -> None:
        self.activation = activation
        self.training = training
        self.steps = 0
        matrices = [m.T for m in start.matrices]
        biases = [None if b is None else b[:, None] for b in start.biases]
        parts = [*matrices, *(b for b in biases if b is not None)]
        self._parameters = torch.cat([part.reshape(-1) for part in parts])
        self._velocity = torch.zeros_like(self._parameters)
        self._decayed = self._parameters[: sum(m.numel() for m in matrices)]
        self.matrices, self.biases = _views(self._parameters, matrices, biases)
        self._velocities, self._bias_velocities = _views(self._velocity, matrices, biases)
        on = [connections(masks, layer) for layer in range(len(matrices))]
        # As floats: a product with a boolean tensor is several times slower.
        self._on = [None if each is None else each.T.to(m, copy=True) for each, m in zip(on, matrices, strict=True)]

    def weights(self) -> HeadWeights:
        """Returns a copy of the weights."""
        return HeadWeights(
            tuple(m.T.clone(memory_format=torch.contiguous_format) for m in self.matrices),
            tuple(None if b is None else b[:, 0].clone() for b in self.biases),
        )

    def step(self, x: Tensor, targets: Tensor) -> Tensor:
        """Takes one step on a batch ``(b, d)`` with targets ``(C, b)``; returns the summed loss before it, 0-d."""
        outputs = [x.T]
        for layer, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            y = torch.mm(matrix, outputs[-1]) if bias is None else torch.addmm(bias, matrix, outputs[-1])
            outputs.append(y if layer + 1 == len(self.matrices) else activate(self.activation, y))
        log_probabilities = outputs[-1].log_softmax(0)
        loss = -torch.vdot(log_probabilities.view(-1), targets.view(-1))
        gradients = [log_probabilities.exp_().sub_(targets).div_(len(x))]
        for layer in reversed(range(1, len(self.matrices))):
            gradient = torch.mm(self.matrices[layer].T, gradients[0])
            gradients.insert(0, activation_gradient(self.activation, gradient, outputs[layer]))
        self._update(outputs, gradients)
        self.steps += 1
        return loss

    def _update(self, inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Moves the weights; the momentum absorbs the gradient inside the matrix product.

        Nesterov's step ``w -= rate * (g + mu * v')`` with ``v' = mu * v + g`` needs no gradient of its own:
        ``g = v' - mu * v``, hence ``w -= rate * ((1 + mu) * v' - mu * v)``.
        """
        rate, mu = self.training.rate(self.steps), self.training.momentum
        ahead = self.training.nesterov and mu > 0
        if self.training.weight_decay:
            self._decayed.mul_(1.0 - rate * self.training.weight_decay)
        if ahead:
            self._parameters.add_(self._velocity, alpha=rate * mu)
        for layer, gradient in enumerate(gradients):
            velocity, bias_velocity = self._velocities[layer], self._bias_velocities[layer]
            torch.addmm(velocity, gradient, inputs[layer].T, beta=mu, out=velocity)
            on = self._on[layer]
            if on is not None:
                velocity.mul_(on)
            if bias_velocity is not None:
                bias_velocity.mul_(mu).add_(gradient.sum(1, keepdim=True))
        self._parameters.sub_(self._velocity, alpha=rate * (1 + mu) if ahead else rate)


def _views(
    flat: Tensor, matrices: Sequence[Tensor], biases: Sequence[Tensor | None]
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Cuts one tensor into views of the shapes of the matrices, then of the biases that exist."""
    rest = flat

    def cut(like: Tensor) -> Tensor:
        nonlocal rest
        part, rest = rest[: like.numel()], rest[like.numel() :]
        return part.view(like.shape)

    return [cut(m) for m in matrices], [None if b is None else cut(b) for b in biases]
