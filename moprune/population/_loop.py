"""One compact head after another: forward, backward and update written out over preallocated weights."""

from collections.abc import Sequence
from threading import Event
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from moprune.networks.heads import (
    HeadSpec,
    HeadWeights,
    Masks,
    TrainedHead,
    activated,
    activation_gradient,
    connections,
)
from moprune.networks.products import product
from moprune.population._descent import Learner, Watch, trained
from moprune.population.training import Training
from moprune.population.without_python import WithoutPython
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
    return [_fit_one(spec, candidate, features, labels, start, training, seed, stop) for candidate in masks]


@torch.inference_mode()
def _fit_one(
    spec: HeadSpec,
    masks: Masks,
    features: Tensor,
    labels: Tensor,
    start: HeadWeights,
    training: Training,
    seed: int,
    stop: Event,
) -> TrainedHead:
    x = features.index_select(1, masks[0].nonzero()[:, 0])
    targets = one_hot(labels, spec.classes).to(x.dtype)
    head = _Descent(start.compact(masks), masks, spec.activation, training)

    def epoch_loss(epoch: int) -> Tensor:
        give_up_if(stop)
        batches = list(training.batches(len(x), epoch, seed, x.device))
        return head.epoch(x, targets, batches) / len(x)

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
        return self._descent.epoch(x.index_select(1, self._kept), targets, [torch.arange(len(x), device=x.device)])

    def heads(self) -> list[TrainedHead]:
        return [TrainedHead.of(self._spec, self._masks, self._watch.kept(), self._watch.epochs)]


class _Head(NamedTuple):
    """What training moves, and what moves it; lists in the order of the layers.

    Matrices are ``(fan out, fan in)``, biases ``(fan out, 1)``.
    """

    activation: str
    matrices: list[Tensor]
    biases: list[Tensor | None]
    parameters: list[Tensor]  # of the last layer first, as their gradients are found
    velocities: list[Tensor]  # of these; none without momentum
    on: list[Tensor | None]  # 1 or 0 for each weight, where single ones are off
    momentum: float
    nesterov: bool
    weight_decay: float
    watched: bool  # whether anybody looks at the loss


class _Descent:
    """Stochastic gradient descent on one head.

    Connections that are off start at zero; their gradient is kept at zero, so they stay there.
    """

    def __init__(self, start: HeadWeights, masks: Masks, activation: str, training: Training) -> None:
        matrices = [m.T.contiguous() for m in start.matrices]
        biases = [None if b is None else b[:, None].clone() for b in start.biases]
        pairs = zip(reversed(matrices), reversed(biases), strict=True)
        parameters = [each for pair in pairs for each in pair if each is not None]
        on = [connections(masks, layer) for layer in range(len(matrices))]
        self._training, self._steps = training, 0
        self._head = _Head(
            activation,
            matrices,
            biases,
            parameters,
            [torch.zeros_like(each) for each in parameters] if training.momentum else [],
            # As floats: a product with a boolean tensor is several times slower.
            [None if each is None else each.T.to(m, copy=True) for each, m in zip(on, matrices, strict=True)],
            training.momentum,
            training.nesterov and training.momentum > 0,
            training.weight_decay,
            training.watches_loss,
        )

    def weights(self) -> HeadWeights:
        """Returns a copy of the weights."""
        return HeadWeights(
            tuple(m.T.clone(memory_format=torch.contiguous_format) for m in self._head.matrices),
            tuple(None if b is None else b[:, 0].clone() for b in self._head.biases),
        )

    def epoch(self, x: Tensor, targets: Tensor, batches: list[Tensor]) -> Tensor:
        """Takes a step on each batch of rows of ``x`` ``(n, d)``, ``targets`` ``(n, C)``.

        Returns:
            Their summed loss, 0-d; zero if the training does not look at it.
        """
        rates = [self._training.rate(self._steps + step) for step in range(len(batches))]
        self._steps += len(batches)
        # On a GPU nobody waits for Python, and a script would not say by its error that memory ran out.
        steps = _steps if x.device.type == "cpu" else _stepwise
        return steps(self._head, x, targets, batches, rates)


def _stepwise(head: _Head, x: Tensor, targets: Tensor, batches: list[Tensor], rates: list[float]) -> Tensor:
    """Takes a step for each batch at its rate; returns the sum of the losses before them if they are watched."""
    loss, size, last = torch.zeros(1, device=x.device), batches[0].shape[0], batches[-1].shape[0]
    slopes = targets.index_select(0, torch.cat(batches)).t().contiguous()  # in the order of the epoch
    slopes[:, :-last].div_(-float(size))
    slopes[:, -last:].div_(-float(last))
    slope = slopes.split(size, 1)
    for i, rows in enumerate(batches):
        before = _step(head, x.index_select(0, rows), slope[i], rates[i])
        if before is not None:
            loss.add_(before, alpha=rows.shape[0])
    return loss[0]


def _step(head: _Head, x: Tensor, slopes: Tensor, rate: float) -> Tensor | None:
    """Takes a step on a batch ``(b, d)``; returns the mean loss before it.

    Everything is turned round, activations are ``(units, images)``: with few classes and small batches the matrix
    products are faster then.

    Args:
        head: what is trained.
        x: what it reads.
        slopes: of the mean loss by the log-probabilities, ``(C, b)``: -1 / b at each image's class.
        rate: the learning rate.
    """
    last = len(head.matrices) - 1
    outputs = [x.t()]
    for layer in range(last):
        outputs.append(activated(head.activation, head.matrices[layer], outputs[layer], head.biases[layer]))
    log_probabilities = product(head.matrices[last], outputs[last], head.biases[last]).log_softmax(0)
    loss = (log_probabilities * slopes).sum() if head.watched else None
    gradient: Tensor = torch.ops.aten._log_softmax_backward_data(slopes, log_probabilities, 0, x.dtype)
    moves: list[Tensor] = []
    for i in range(last + 1):
        layer = last - i
        move, on = product(gradient, outputs[layer].t()), head.on[layer]
        moves.append(move if on is None else move.mul_(on))
        if head.biases[layer] is not None:
            moves.append(gradient.sum(1, keepdim=True))
        if layer > 0:
            gradient = product(head.matrices[layer].t(), gradient)
            gradient = activation_gradient(head.activation, gradient, outputs[layer])
    if head.weight_decay > 0:
        torch._foreach_mul_(head.matrices, 1.0 - rate * head.weight_decay)
    # One pass over weights, gradient and momentum, as torch.optim.SGD(fused=True) takes it.
    torch._fused_sgd_(
        head.parameters, moves, head.velocities, weight_decay=0.0, momentum=head.momentum, lr=rate,
        dampening=0.0, nesterov=head.nesterov, maximize=False, is_first_step=False,
    )  # fmt: skip
    return loss


_steps = WithoutPython(_stepwise)
