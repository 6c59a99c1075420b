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
from moprune.networks.products import affine
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

    Everything is turned round: matrices are ``(fan out, fan in)`` and activations ``(units, images)``. With few classes
    and small batches the matrix products are faster then. Connections that are off start at zero; their gradient is
    kept at zero, so they stay there.
    """

    def __init__(self, start: HeadWeights, masks: Masks, activation: str, training: Training) -> None:
        self.activation = activation
        self.training = training
        self.steps = 0
        self.matrices = [m.T.contiguous() for m in start.matrices]
        self.biases = [None if b is None else b[:, None].clone() for b in start.biases]
        self._parameters = [*self.matrices, *(b for b in self.biases if b is not None)]
        self._velocities = [torch.zeros_like(each) for each in self._parameters] if training.momentum else []
        on = [connections(masks, layer) for layer in range(len(self.matrices))]
        # As floats: a product with a boolean tensor is several times slower.
        self._on = [
            None if each is None else each.T.to(m, copy=True) for each, m in zip(on, self.matrices, strict=True)
        ]

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
            y = affine(matrix, outputs[-1].T)
            if bias is not None:
                y += bias
            outputs.append(y if layer + 1 == len(self.matrices) else activate(self.activation, y))
        log_probabilities = outputs[-1].log_softmax(0)
        loss = -torch.vdot(log_probabilities.view(-1), targets.view(-1))
        gradients = [log_probabilities.exp_().sub_(targets).div_(len(x))]
        for layer in reversed(range(1, len(self.matrices))):
            gradient = affine(self.matrices[layer].T, gradients[0].T)
            gradients.insert(0, activation_gradient(self.activation, gradient, outputs[layer]))
        self._update(outputs, gradients)
        self.steps += 1
        return loss

    def _update(self, inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Moves the weights by the gradients of the loss by each layer's outputs before activation, ``(units, b)``."""
        rate, training = self.training.rate(self.steps), self.training
        matrices = [affine(each, inputs[layer]) for layer, each in enumerate(gradients)]
        for matrix, on in zip(matrices, self._on, strict=True):
            if on is not None:
                matrix.mul_(on)
        if training.weight_decay:
            torch._foreach_mul_(self.matrices, 1.0 - rate * training.weight_decay)
        biased = [each for each, bias in zip(gradients, self.biases, strict=True) if bias is not None]
        # One pass over weights, gradient and momentum, as torch.optim.SGD(fused=True) takes it.
        torch._fused_sgd_(
            self._parameters, [*matrices, *(each.sum(1, keepdim=True) for each in biased)], self._velocities,
            weight_decay=0.0, momentum=training.momentum, lr=rate, dampening=0.0,
            nesterov=training.nesterov and training.momentum > 0, maximize=False, is_first_step=False,
        )  # fmt: skip
