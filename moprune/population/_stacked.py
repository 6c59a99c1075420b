"""All heads at full width in lock-step, as batched matrix products.

Units that are off are kept at zero rather than cut out: their outputs are multiplied by the mask, so their
gradients vanish and nothing of them reaches the compact head cut out at the end. Full width makes a head's
result independent of which other heads share its stack. Connections that are off start at zero; their momentum is
kept at zero, so they stay there.
"""

from collections.abc import Sequence
from threading import Event

import torch
from torch import Tensor

from moprune.networks.heads import (
    HeadSpec,
    HeadWeights,
    Masks,
    TrainedHead,
    connections,
)
from moprune.population._descent import Learner, Lockstep, Motion, descend
from moprune.population._replay import launched
from moprune.population.training import Training
from moprune.population.without_python import WithoutPython
from moprune.population.workers import give_up_if


@torch.inference_mode()
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
    targets = torch.nn.functional.one_hot(labels, spec.classes).to(features.dtype)
    learner = _Learner(spec, masks, start, training)
    for epoch in range(1, training.epochs + 1):
        give_up_if(stop)
        losses = torch.zeros((), device=features.device)
        for batch in training.batches(len(features), epoch, seed, features.device):
            losses = losses + learner.step(features.index_select(0, batch), targets.index_select(0, batch))
        if learner.ends(losses / len(features)):
            break
    return learner.heads()


def learners(spec: HeadSpec, masks: Sequence[Masks], start: HeadWeights, training: Training) -> list[Learner]:
    """Returns what trains the heads of some candidates as :func:`fit` does, on batches that somebody else reads."""
    return [_Learner(spec, masks, start, training)]


class _Learner:
    """Some candidates, one stack."""

    def __init__(self, spec: HeadSpec, masks: Sequence[Masks], start: HeadWeights, training: Training) -> None:
        self._spec, self._masks, self._training, self._epochs = spec, masks, training, 0
        self._stack = _Stack(masks, start, spec.activation, training)
        self.step = self._stack.step

    def ends(self, loss: Tensor) -> bool:
        self._epochs += 1
        return self._training.watches_loss and not self._stack.continues(loss, self._epochs)

    def heads(self) -> list[TrainedHead]:
        stack = self._stack
        stack.retire(torch.ones(len(stack.alive), dtype=torch.bool, device=stack.device), self._epochs)
        results = zip(self._masks, stack.finished(), strict=True)
        return [TrainedHead.of(self._spec, each, weights.compact(each), epochs) for each, (weights, epochs) in results]


_step = WithoutPython(descend)


class _Stack:
    """Stochastic gradient descent on many heads at once; a head that stops early leaves the stack."""

    def __init__(self, masks: Sequence[Masks], start: HeadWeights, activation: str, training: Training) -> None:
        count = len(masks)
        self.training, self.steps = training, 0
        self.alive = list(range(count))
        matrices = [m.expand(count, -1, -1).clone() for m in start.matrices]
        connected = [_stacked_connections(masks, layer, m) for layer, m in enumerate(start.matrices)]
        for matrix, on in zip(matrices, connected, strict=True):
            if on is not None:
                matrix.mul_(on)
        biases = [None if b is None else b.expand(count, 1, -1).clone() for b in start.biases]
        self._state = Lockstep(
            activation,
            [torch.stack(layer)[:, None, :].to(start.matrices[0]) for layer in zip(*masks, strict=True)],
            Motion.of(matrices, biases, training, connected),
        )
        self.device = start.matrices[0].device
        self._least = torch.full((count,), float("inf"), device=self.device)
        self._waited = torch.zeros(count, dtype=torch.int64, device=self.device)
        self._best: list[HeadWeights | None] = [None] * count
        self._results: list[tuple[HeadWeights, int] | None] = [None] * count
        self._launched = launched(_step, self._state, self.device)

    def step(self, x: Tensor, targets: Tensor) -> Tensor:
        """Takes one step on a batch shared by all heads; returns their summed losses before it, ``(P,)``."""
        self.steps += 1
        return self._launched(x, targets, self.training.rate(self.steps - 1))

    def continues(self, losses: Tensor, epoch: int) -> bool:
        """Notes the epoch's training losses ``(P,)``, retires heads out of patience; whether any is left."""
        training = self.training
        improved = losses < self._least - training.min_delta
        self._least = torch.where(improved, losses, self._least)
        self._waited = torch.where(improved, 0, self._waited + 1)
        if training.restore_best:
            for place in improved.nonzero()[:, 0].tolist():
                self._best[self.alive[place]] = self._weights(place)
        if training.patience is not None:
            self.retire(self._waited >= training.patience, epoch)
        return bool(self.alive)

    def retire(self, done: Tensor, epoch: int) -> None:
        """Takes the heads marked in ``done`` ``(P,)`` out of the stack, their results kept."""
        places = done.nonzero()[:, 0].tolist()
        if not places:
            return
        for place in places:
            index = self.alive[place]
            self._results[index] = (self._best[index] or self._weights(place), epoch)
        keep = (~done).nonzero()[:, 0]
        self.alive = [self.alive[place] for place in keep.tolist()]
        self._state = self._state._replace(
            masks=[mask.index_select(0, keep) for mask in self._state.masks], motion=self._state.motion.of_some(keep)
        )
        self._least, self._waited = self._least.index_select(0, keep), self._waited.index_select(0, keep)
        self._launched = launched(_step, self._state, self.device)  # the tensors are others

    def finished(self) -> list[tuple[HeadWeights, int]]:
        """Returns each candidate's full-width weights and the epochs it trained."""
        return [result for result in self._results if result is not None]

    def _weights(self, place: int) -> HeadWeights:
        return HeadWeights(
            tuple(m[place].clone() for m in self._state.motion.matrices),
            tuple(None if b is None else b[place, 0].clone() for b in self._state.motion.biases),
        )


def _stacked_connections(masks: Sequence[Masks], layer: int, matrix: Tensor) -> Tensor | None:
    """Returns 1 or 0 for each weight of a matrix, ``(P, fan in, fan out)``; None if no candidate masks them."""
    each = [connections(candidate, layer) for candidate in masks]
    if all(on is None for on in each):
        return None
    return torch.stack([torch.ones_like(matrix) if on is None else on.to(matrix) for on in each])
