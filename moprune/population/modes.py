"""Start weights that make the scoring of candidates cheap: trained once, then cut to each candidate's masks.

From the weights of the trained unpruned head a candidate needs few epochs (``fit_heads`` with :func:`abridged`
training), or none: with ``epochs=0`` a head is cut out and predicts at once. Weights for the latter can be shared on
purpose, trained once with random masks, as in one-shot architecture search (Bender et al. 2018; Guo et al. 2020).
``problems.pruning.fidelity`` measures how far the cheap scores rank candidates as full training does.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from moprune.errors import MopruneError
from moprune.networks.heads import ACTIVATIONS, HeadSpec, HeadWeights, Masks, connections, placed_on
from moprune.population.heads import TrainingSet, fit_heads
from moprune.population.training import Training
from moprune.seeding import torch_generator

MODES: Mapping[str, str] = MappingProxyType(
    {
        "full": "from the common initial weights, all epochs",
        "short": "from the common initial weights, a fifth of the epochs",
        "warm": "from the trained unpruned head, a fifth of the epochs",
        "one_shot": "cut out of a head trained once with random masks, no epochs",
    }
)
"""How candidates may be trained while they are searched; what is chosen or reported is always trained in full."""


def abridged(training: Training) -> Training:
    """Returns the training with a fifth of its epochs, rounded up."""
    return dataclasses.replace(training, epochs=math.ceil(training.epochs / 5))


def dense_weights(
    spec: HeadSpec, data: TrainingSet, start: HeadWeights, training: Training, *, seed: int, strategy: str = "auto"
) -> HeadWeights:
    """Returns the full-width weights of the unpruned head after training.

    Args:
        spec: the head.
        data: the training set.
        start: full-width initial weights.
        training: how to train.
        seed: seeds the order of the batches, as in :func:`moprune.population.fit_heads`.
        strategy: as for ``fit_heads``.

    Raises:
        MopruneError: training diverged.
    """
    (head,) = fit_heads(
        spec, [spec.all_on()], data, start, training, then=lambda head: head, seed=seed, strategy=strategy
    )
    return _finite(head.weights)


def shared_weights(
    spec: HeadSpec,
    draw: Callable[[torch.Generator], Masks],
    data: TrainingSet,
    start: HeadWeights,
    training: Training,
    *,
    seed: int,
) -> HeadWeights:
    """Returns full-width weights trained once for all masks: each step lessens the mean loss of two heads.

    The two are the unpruned one and one with masks drawn for this step (the sandwich rule of Yu & Huang 2019 without
    its smallest network). Random masks alone rank candidates worse. Outputs are not divided by the density of the
    masks, as dropout does: candidates cut out of the weights are not, and training that is ranks them worse still.
    More epochs do not help either on a few hundred images; :func:`abridged` training is enough. Measured there, these
    weights ranked masks no better than :func:`dense_weights` did: ask ``rank_correlation`` before relying on either.

    Args:
        spec: the head.
        draw: makes random masks of the kind that candidates will have, of every density.
        data: the training set; its device is where the work is done.
        start: full-width initial weights.
        training: how to train; its early stopping does not apply, as the loss depends on the masks of the moment.
        seed: seeds the masks and the order of the batches.

    Raises:
        MopruneError: training diverged.
    """
    device = data.device
    placed = start.to(device)
    weights = HeadWeights(  # clones, since weights from training are inference tensors, which autograd refuses
        tuple(m.clone().requires_grad_() for m in placed.matrices),
        tuple(None if b is None else b.clone().requires_grad_() for b in placed.biases),
    )
    descent, generator = _Descent(weights, training), torch_generator(seed, "masks of shared weights")
    for epoch in range(1, training.epochs + 1):
        for batch in training.batches(len(data.labels), epoch, seed, device):
            x, labels = data.matrix.index_select(0, batch), data.labels.index_select(0, batch)
            both = (spec.all_on(), draw(generator))
            logits = torch.cat([masked_logits(spec, weights, placed_on(masks, device), x) for masks in both])
            descent.step(torch.nn.functional.cross_entropy(logits, labels.repeat(2)))
    return _finite(
        HeadWeights(
            tuple(m.detach() for m in weights.matrices),
            tuple(None if b is None else b.detach() for b in weights.biases),
        )
    )


def masked_logits(spec: HeadSpec, weights: HeadWeights, masks: Masks, x: Tensor) -> Tensor:
    """Returns the logits ``(n, C)`` of features ``(n, D)`` by full-width weights under masks; differentiable."""
    activation = ACTIVATIONS[spec.activation]()
    for layer, (mask, matrix, bias) in enumerate(zip(masks, weights.matrices, weights.biases, strict=True)):
        on = connections(masks, layer)
        x = (x if layer == 0 else activation(x)) * mask
        x = x @ (matrix if on is None else matrix * on)
        x = x if bias is None else x + bias
    return x


class _Descent:
    """Stochastic gradient descent by the rule of :class:`moprune.population.training.Training`, with autograd."""

    def __init__(self, weights: HeadWeights, training: Training) -> None:
        self.training, self.steps = training, 0
        self._matrices = weights.matrices
        self._parameters = [*weights.matrices, *(b for b in weights.biases if b is not None)]
        nesterov = training.nesterov and training.momentum > 0  # torch refuses the one without the other
        self._optimizer = torch.optim.SGD(
            self._parameters, lr=training.learning_rate, momentum=training.momentum, nesterov=nesterov
        )

    def step(self, loss: Tensor) -> None:
        """Moves the weights against the gradient of a loss, 0-d."""
        rate = self.training.rate(self.steps)
        gradients = torch.autograd.grad(loss, self._parameters)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        with torch.no_grad():
            for matrix in self._matrices:
                matrix.mul_(1.0 - rate * self.training.weight_decay)
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.step()
        self.steps += 1


def _finite(weights: HeadWeights) -> HeadWeights:
    """Returns the weights if training has not diverged."""
    if not all(bool(matrix.isfinite().all()) for matrix in weights.matrices):
        raise MopruneError("training of the start weights diverged: they are not finite; lower the learning rate")
    return weights
