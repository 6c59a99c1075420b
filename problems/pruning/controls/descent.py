"""Gradient descent on one head under a constraint or penalty on its weights, and what zero weights leave of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from moprune.networks.heads import HeadSpec, HeadWeights, Masks, TrainedHead
from moprune.population import Training, TrainingSet

Projection = Callable[[int, Sequence[Tensor]], None]
"""Changes a head's matrices in place, given the number of steps taken: after each step, and at 0 before the first."""


def descend(
    spec: HeadSpec,
    start: HeadWeights,
    data: TrainingSet,
    training: Training,
    *,
    epochs: int,
    seed: int,
    project: Projection,
) -> HeadWeights:
    """Trains a whole head as :func:`moprune.population.fit_heads` does, its matrices projected after each step.

    It runs all its ``epochs``: ``training`` gives the steps, not when to stop.
    """
    # Recipes may be called where gradients are off; tensors made there cannot be differentiated, their clones can.
    with torch.inference_mode(False), torch.enable_grad():
        weights = _trainable(start.to(data.device))
        head = TrainedHead(spec, torch.arange(spec.features, device=data.device), weights, epochs)
        parameters = [*weights.matrices, *(bias for bias in weights.biases if bias is not None)]
        optimizer = torch.optim.SGD(
            parameters, training.learning_rate, training.momentum, nesterov=training.nesterov and training.momentum > 0
        )
        step = 0
        with torch.no_grad():
            project(step, weights.matrices)
        for epoch in range(1, epochs + 1):
            for batch in training.batches(len(data.labels), epoch, seed, data.device):
                logits = head.logits(data.matrix.index_select(0, batch))
                loss = torch.nn.functional.cross_entropy(logits, data.labels.index_select(0, batch))
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                rate = optimizer.param_groups[0]["lr"] = training.rate(step)
                step += 1
                with torch.no_grad():
                    for matrix in weights.matrices:
                        matrix.mul_(1.0 - rate * training.weight_decay)
                    optimizer.step()
                    project(step, weights.matrices)
    return HeadWeights(
        tuple(matrix.detach() for matrix in weights.matrices),
        tuple(None if bias is None else bias.detach() for bias in weights.biases),
    )


def _trainable(weights: HeadWeights) -> HeadWeights:
    return HeadWeights(
        tuple(matrix.clone().requires_grad_() for matrix in weights.matrices),
        tuple(None if bias is None else bias.clone().requires_grad_() for bias in weights.biases),
    )


def live_units(spec: HeadSpec, weights: HeadWeights) -> Masks:
    """Returns masks of the units that matter to the logits: connected to them and, neurons, to some feature.

    A neuron without incoming weights counts nonetheless where it is constant and not zero: with a bias, or with an
    activation that is not zero at zero.
    """
    live = [matrix.new_ones(len(matrix), dtype=torch.bool) for matrix in weights.matrices]
    used: Tensor | None = None
    for layer in reversed(range(len(live))):  # backwards: which units are read by one that is
        connected = weights.matrices[layer] != 0
        live[layer] = used = (connected if used is None else connected[:, used]).any(1)
    if not spec.hidden_bias and spec.activation != "sigmoid":
        for layer in range(1, len(live)):  # forwards: which neurons read one that is
            live[layer] &= (weights.matrices[layer - 1][live[layer - 1]] != 0).any(0)
    return tuple(live)


def without_dead_units(spec: HeadSpec, weights: HeadWeights, epochs: int) -> TrainedHead:
    """Returns a full-width head as a compact one: units that do not matter to the logits are cut out.

    Weights that are zero in what is left count as removed.
    """
    live = live_units(spec, weights)
    compact = weights.compact(live)
    removed = sum(int((matrix == 0).sum()) for matrix in compact.matrices)
    return replace(TrainedHead.of(spec, live, compact, epochs), removed=removed)
