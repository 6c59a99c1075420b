"""One compact head after another: forward, backward and update written out over preallocated weights."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moprune.networks.heads import (
    HeadSpec,
    HeadWeights,
    Masks,
    TrainedHead,
    activate,
    activation_gradient,
)
from moprune.population.training import Training


def fit(
    spec: HeadSpec,
    masks: Sequence[Masks],
    features: Tensor,
    labels: Tensor,
    start: HeadWeights,
    training: Training,
    seed: int,
) -> list[TrainedHead]:
    """Trains the heads of some candidates; see :func:`moprune.population.heads.fit_heads`."""
    targets = torch.nn.functional.one_hot(labels, spec.classes).to(features.dtype)
    return [_fit_one(spec, candidate, features, targets, start, training, seed) for candidate in masks]


@torch.inference_mode()
def _fit_one(
    spec: HeadSpec,
    masks: Masks,
    features: Tensor,
    targets: Tensor,
    start: HeadWeights,
    training: Training,
    seed: int,
) -> TrainedHead:
    kept = masks[0].nonzero()[:, 0]
    x = features.index_select(1, kept)
    head = _Descent(start.compact(masks), spec.activation, training)
    least, best, waited, epoch = float("inf"), None, 0, 0
    for epoch in range(1, training.epochs + 1):
        loss = torch.zeros((), device=x.device)
        for batch in training.batches(len(x), epoch, seed, x.device):
            loss += head.step(x.index_select(0, batch), targets.index_select(0, batch))
        if not training.watches_loss:
            continue
        mean = float(loss) / len(x)
        if mean < least - training.min_delta:
            least, waited = mean, 0
            best = head.weights() if training.restore_best else None
        else:
            waited += 1
            if training.patience is not None and waited >= training.patience:
                break
    weights = best or head.weights()
    failed = not all(bool(m.isfinite().all()) for m in weights.matrices)
    return TrainedHead(spec, kept, weights, epoch, failed)


class _Descent:
    """Stochastic gradient descent on one head."""

    def __init__(self, start: HeadWeights, activation: str, training: Training) -> None:
        self.matrices = list(start.matrices)
        self.biases = list(start.biases)
        self.activation = activation
        self.training = training
        self.steps = 0
        self._velocities = [torch.zeros_like(m) for m in self.matrices]
        self._bias_velocities = [None if b is None else torch.zeros_like(b) for b in self.biases]

    def weights(self) -> HeadWeights:
        """Returns a copy of the weights."""
        return HeadWeights(
            tuple(m.clone() for m in self.matrices), tuple(None if b is None else b.clone() for b in self.biases)
        )

    def step(self, x: Tensor, targets: Tensor) -> Tensor:
        """Takes one step on a batch; returns the summed loss before it, 0-d."""
        outputs = [x]
        for layer, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            y = torch.mm(x, matrix) if bias is None else torch.addmm(bias, x, matrix)
            x = y if layer + 1 == len(self.matrices) else activate(self.activation, y)
            outputs.append(x)
        log_probabilities = outputs[-1].log_softmax(1)
        loss = -torch.vdot(log_probabilities.view(-1), targets.view(-1))
        gradient = log_probabilities.exp_().sub_(targets).div_(len(targets))
        rate = self.training.rate(self.steps)
        for layer in reversed(range(len(self.matrices))):
            following = gradient
            if layer > 0:
                gradient = torch.mm(following, self.matrices[layer].T)
                gradient = activation_gradient(self.activation, gradient, outputs[layer])
            self._update(layer, outputs[layer], following, rate)
        self.steps += 1
        return loss

    def _update(self, layer: int, inputs: Tensor, gradient: Tensor, rate: float) -> None:
        """Moves a layer's weights; the momentum absorbs the gradient inside the matrix product.

        Nesterov's step ``w -= rate * (g + mu * v')`` with ``v' = mu * v + g`` needs no gradient of its own:
        ``g = v' - mu * v``, hence ``w -= rate * ((1 + mu) * v' - mu * v)``.
        """
        mu, ahead = self.training.momentum, self.training.nesterov and self.training.momentum > 0
        matrix, velocity = self.matrices[layer], self._velocities[layer]
        if self.training.weight_decay:
            matrix.mul_(1.0 - rate * self.training.weight_decay)
        if ahead:
            matrix.add_(velocity, alpha=rate * mu)
        torch.addmm(velocity, inputs.T, gradient, beta=mu, out=velocity)
        matrix.sub_(velocity, alpha=rate * (1 + mu) if ahead else rate)
        bias, bias_velocity = self.biases[layer], self._bias_velocities[layer]
        if bias is not None and bias_velocity is not None:
            if ahead:
                bias.add_(bias_velocity, alpha=rate * mu)
            bias_velocity.mul_(mu).add_(gradient.sum(0))
            bias.sub_(bias_velocity, alpha=rate * (1 + mu) if ahead else rate)
