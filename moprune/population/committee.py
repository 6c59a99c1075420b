"""Committees: one head made of several small ones, each reading its own share of the features.

The hidden units of a head are dealt out to ``members``; each member reads some of the features, is trained on a loss of
its own from the same initial weights and batches, and the committee predicts the mean of the members' logits. That mean
is an ordinary head again, whose matrices are zero outside the members' blocks: an ensemble (random subspaces, Ho 1998)
in the place of a single head, with no more hidden units, and with fewer weights.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import Event
from typing import NamedTuple

import torch
from torch import Tensor

from moprune.errors import UsageError
from moprune.networks.heads import (
    Connections,
    HeadSpec,
    HeadWeights,
    Masks,
    TrainedHead,
)
from moprune.population._descent import Learner, Lockstep, Motion, Watch, descend, trained
from moprune.population._replay import launched
from moprune.population.training import Training
from moprune.population.without_python import WithoutPython
from moprune.population.workers import give_up_if

Dealt = list[list[Tensor]]
"""Each member's units of every layer of a head (features first), as indices into the full width."""


@dataclass(frozen=True, eq=False)
class Committee:
    """How a head is divided.

    Attributes:
        members: number of small heads, >= 2.
        readers: how many of the members read each feature, 1 to ``members``.
        scores: usefulness of each feature, ``(D,)``; features are dealt out from the best to the worst in turn, so that
            members are equally strong. By default the features' own order.

    Raises:
        UsageError: other numbers of members or readers.
    """

    members: int = 8
    readers: int = 2
    scores: Tensor | None = None

    def __post_init__(self) -> None:
        if self.members < 2 or not 1 <= self.readers <= self.members:
            raise UsageError(
                f"a committee needs >= 2 members and 1 to {self.members} readers a feature, not {self.members} "
                f"members and {self.readers} readers"
            )

    def deal(self, masks: Masks) -> Dealt:
        """Returns each member's units of every layer (features first), as indices into the full width.

        Raises:
            UsageError: the masks are of connections, or the scores of another number of features.
        """
        if isinstance(masks, Connections):
            raise UsageError("committees are made of units; connections are pruned in single heads (members: 1)")
        if self.scores is not None and self.scores.shape != masks[0].shape:
            raise UsageError(f"scores of shape {tuple(self.scores.shape)} do not fit {len(masks[0])} features")
        features = masks[0].nonzero()[:, 0]
        if self.scores is not None:
            features = features[self.scores.to(features.device)[features].argsort(descending=True, stable=True)]
        hands = [features[i :: self.members] for i in range(self.members)]
        dealt = []
        for member in range(self.members):
            read = torch.cat([hands[(member + j) % self.members] for j in range(self.readers)])
            own = [mask.nonzero()[:, 0] for mask in masks[1:]]
            dealt.append([read, *(units[units % self.members == member] for units in own)])
        return dealt


def fit(
    spec: HeadSpec,
    masks: Sequence[Masks],
    features: Tensor,
    labels: Tensor,
    start: HeadWeights,
    training: Training,
    seed: int,
    stop: Event,
    *,
    committee: Committee,
    together: bool,
) -> list[TrainedHead]:
    """Trains the committees of some candidates; see :func:`moprune.population.heads.fit_heads`.

    Args:
        spec: the shape before pruning.
        masks: each candidate's masks.
        features: ``(n, D)``.
        labels: ``(n,)``.
        start: full-width initial weights.
        training: how to train. Each committee stops early by its own loss, the mean over its members.
        seed: seeds the order of the batches.
        stop: set when nobody waits for the result.
        committee: how heads are divided.
        together: whether all committees are trained in lock-step, rather than one after another; those that watch
            their loss never are. Faster on a GPU, but rounded by how many there are.
    """
    targets = torch.nn.functional.one_hot(labels, spec.classes).to(features.dtype)
    dealt = [committee.deal(each) for each in masks]
    groups = [dealt] if together and not training.watches_loss else [[each] for each in dealt]
    trained: list[tuple[HeadWeights, int]] = []
    for group in groups:
        weights, epochs = _descend(
            _Blocks(group, start, spec.activation, training), features, targets, start, training, seed, stop
        )
        trained += [(each, epochs) for each in weights]
    return [_head(spec, *each) for each in zip(masks, dealt, trained, strict=True)]


def learners(
    spec: HeadSpec,
    masks: Sequence[Masks],
    start: HeadWeights,
    training: Training,
    *,
    committee: Committee,
    together: bool,
) -> list[Learner]:
    """Returns what trains the committees of some candidates as :func:`fit` does, on batches somebody else reads."""
    groups = [masks] if together and not training.watches_loss else [[each] for each in masks]
    return [_Learner(spec, group, [committee.deal(each) for each in group], start, training) for group in groups]


class _Learner:
    """Some committees, in lock-step."""

    def __init__(
        self, spec: HeadSpec, masks: Sequence[Masks], dealt: list[Dealt], start: HeadWeights, training: Training
    ) -> None:
        self._spec, self._masks, self._dealt = spec, masks, dealt
        blocks = _Blocks(dealt, start, spec.activation, training)
        self._watch = Watch(training, lambda: blocks.weights(start))
        self.step, self.ends = blocks.step, self._watch.ends

    def heads(self) -> list[TrainedHead]:
        trained = [(weights, self._watch.epochs) for weights in self._watch.kept()]
        return [_head(self._spec, *each) for each in zip(self._masks, self._dealt, trained, strict=True)]


def _head(spec: HeadSpec, masks: Masks, dealt: Dealt, trained: tuple[HeadWeights, int]) -> TrainedHead:
    weights, epochs = trained
    head = TrainedHead.of(spec, masks, weights.compact(masks), epochs)
    return dataclasses.replace(head, removed=_outside(masks, dealt))


@torch.inference_mode()
def _descend(
    blocks: "_Blocks",
    features: Tensor,
    targets: Tensor,
    start: HeadWeights,
    training: Training,
    seed: int,
    stop: Event,
) -> tuple[list[HeadWeights], int]:
    """Trains the members of all blocks; several committees only where nobody looks at the loss, which is their sum."""

    def epoch_loss(epoch: int) -> Tensor:
        give_up_if(stop)
        loss = torch.zeros((), device=features.device)
        for batch in training.batches(len(features), epoch, seed, features.device):
            loss += blocks.step(features.index_select(0, batch), targets.index_select(0, batch))
        return loss / len(features)

    return trained(training, epoch_loss, lambda: blocks.weights(start))


def _outside(masks: Masks, dealt: Dealt) -> int:
    """Returns how many weights between kept units lie outside the members' blocks."""
    inside = sum(_between([len(each) for each in units]) for units in dealt)
    return _between([int(mask.sum()) for mask in masks]) - inside


def _between(widths: Sequence[int]) -> int:
    return sum(a * b for a, b in pairwise(widths))


class _State(NamedTuple):
    """Members of committees in training, and the features that each reads, ``(P, width)``."""

    members: int  # of a committee
    read: Tensor
    heads: Lockstep


def _descend_together(state: _State, x: Tensor, targets: Tensor, rate: float | Tensor) -> Tensor:
    """Takes a step on a batch ``(b, D)``; returns the sum over images of the members' mean loss before it."""
    count, width = state.read.shape
    read = x.index_select(1, state.read.reshape(-1)).view(x.shape[0], count, width).transpose(0, 1)
    return descend(state.heads, read, targets, rate).sum() / state.members


_step = WithoutPython(_descend_together)


class _Blocks:
    """Stochastic gradient descent on the members of some committees in lock-step, as batched matrix products.

    Members have nearly, not exactly, as many units; blocks are padded to the widest. Units of the padding are held at
    zero: as inputs they are multiplied by zero, and as outputs their weights are zero.
    """

    def __init__(self, dealt: Sequence[Dealt], start: HeadWeights, activation: str, training: Training) -> None:
        self.training, self.steps = training, 0
        self.committees, self.members = len(dealt), len(dealt[0])
        everyone = [units for committee in dealt for units in committee]
        layers = range(len(everyone[0]))
        device = start.matrices[0].device
        widest = [max(1, *(len(units[layer]) for units in everyone)) for layer in layers]
        self._units = [_padded([units[layer] for units in everyone], widest[layer]) for layer in layers]
        self._on = [_within([len(units[layer]) for units in everyone], widest[layer], device) for layer in layers]
        self._matrices, self._biases = self._placed(start)
        motion = Motion.of(self._matrices, self._biases, training)
        heads = Lockstep(activation, [on[:, None, :] for on in self._on], motion)
        self._launched = launched(_step, _State(self.members, self._units[0], heads), device)

    def _placed(self, start: HeadWeights) -> tuple[list[Tensor], list[Tensor | None]]:
        """Returns each member's share of the start weights."""
        matrices: list[Tensor] = []
        biases: list[Tensor | None] = []
        for layer, (matrix, bias) in enumerate(zip(start.matrices, start.biases, strict=True)):
            rows, on = self._units[layer], self._on[layer]
            if layer + 1 < len(self._units):
                columns, there = self._units[layer + 1], self._on[layer + 1]
                matrices.append(matrix[rows[:, :, None], columns[:, None, :]] * on[:, :, None] * there[:, None, :])
                biases.append(None if bias is None else (bias[columns] * there)[:, None, :])
            else:
                matrices.append(matrix[rows] * on[:, :, None])
                biases.append(None if bias is None else bias.expand(len(rows), 1, -1).clone())
        return matrices, biases

    def step(self, x: Tensor, targets: Tensor) -> Tensor:
        """Takes one step on a batch ``(b, D)``; returns the sum over images of the members' mean loss before it."""
        self.steps += 1
        return self._launched(x, targets, self.training.rate(self.steps - 1))

    def weights(self, start: HeadWeights) -> list[HeadWeights]:
        """Returns the one head that the members of each committee make, at full width, zero outside their blocks."""
        return [self._together(c * self.members, start) for c in range(self.committees)]

    def _together(self, first: int, start: HeadWeights) -> HeadWeights:
        matrices, biases = [], []
        for layer, (like, bias) in enumerate(zip(start.matrices, start.biases, strict=True)):
            whole, vector = torch.zeros_like(like), None if bias is None else torch.zeros_like(bias)
            for member in range(first, first + self.members):
                rows = self._own(layer, member)
                block, own = self._matrices[layer][member][: len(rows)], self._biases[layer]
                if layer + 1 < len(self._units):
                    columns = self._own(layer + 1, member)
                    whole[rows[:, None], columns] = block[:, : len(columns)]
                    if vector is not None and own is not None:
                        vector[columns] = own[member, 0, : len(columns)]
                else:
                    whole[rows] += block / self.members  # the mean of the logits
                    if vector is not None and own is not None:
                        vector += own[member, 0] / self.members
            matrices.append(whole)
            biases.append(vector)
        return HeadWeights(tuple(matrices), tuple(biases))

    def _own(self, layer: int, member: int) -> Tensor:
        return self._units[layer][member][: int(self._on[layer][member].sum())]


def _padded(units: Sequence[Tensor], width: int) -> Tensor:
    """Returns the members' units as one tensor ``(members, width)``; the padding points at unit 0."""
    return torch.stack([torch.nn.functional.pad(each, (0, width - len(each))) for each in units])


def _within(lengths: Sequence[int], width: int, device: torch.device) -> Tensor:
    """Returns 1 for a member's own units and 0 for its padding, ``(members, width)`` float32."""
    places = torch.arange(width, device=device)
    return (places[None, :] < torch.tensor(lengths, device=device)[:, None]).to(torch.float32)
