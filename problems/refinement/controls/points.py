"""What a control is: networks made by something else than the search, from what the search may look at."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moprune.errors import UsageError
from moprune.networks.selection import State
from moprune.population.finetuning import STEP_COST, Recipe
from moprune.seeding import torch_generator
from problems.refinement.genomes import Genotype
from problems.refinement.members import Members

Candidate = Sequence[State]
"""What predicts: one state of the network, or several whose probabilities are averaged."""


# States held at once while they are scored: enough for all cores, few enough for networks of 25 million weights.
_TOGETHER = 8


class Labelled(NamedTuple):
    """A split on hand: inputs of the network ``(n, ...)`` and labels ``(n,)`` int64."""

    inputs: Tensor
    labels: Tensor

    def some(self, count: int, seed: int) -> "Labelled":
        """Returns ``count`` items drawn at random, or all where there are no more."""
        if count >= len(self.labels):
            return self
        rows = torch.randperm(len(self.labels), generator=torch_generator(seed, "items of a control"))[:count]
        return Labelled(self.inputs[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Setting:
    """What a control may use: the train and the search split, never those that choose and report.

    Attributes:
        network: what the search starts from, which no control changes: the pre-trained network, or a soup of members.
        train: what gradients may learn from.
        search: what the search is scored on.
        losses: of candidates on the search split: what the search minimises, or its first objective.
        budget: forward-image equivalents that a point may cost: a forward pass of an image is 1, training on one is 3.
        members: the fine-tuned networks that the search starts from; None where it has none. Making them is not
            part of the budget, since the search is given them too.
        genotype: what the search varies.
        recipe: how gradients descend; a control sets the epochs and the schedule itself.
        seed: the run seed.
        device: where the work is done.
        pretrained: what makes ``network`` the pre-trained one, where it is not.
    """

    network: nn.Module
    train: Labelled
    search: Labelled
    losses: Callable[[Sequence[Candidate]], Sequence[float]]
    budget: float
    genotype: Genotype
    members: Members | None = None
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    device: torch.device | str = "cpu"
    pretrained: State = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.budget >= STEP_COST:
            raise UsageError(f"controls: a budget of {self.budget} images trains on none; give {STEP_COST} or more")

    @property
    def states(self) -> tuple[State, ...]:
        """The members' states; none where there are no members."""
        return () if self.members is None else self.members.states

    @property
    def evaluations(self) -> int:
        """How many candidates of one state the budget scores on the search split, >= 1."""
        return max(1, int(self.budget // len(self.search.labels)))

    def losses_of(self, states: Iterable[State]) -> NDArray[np.float64]:
        """Returns the loss of each state alone, ``(n,)``; states of an iterator are made a few at a time."""
        rest, losses = iter(states), list[float]()
        while some := list(islice(rest, _TOGETHER)):
            losses += self.losses([(state,) for state in some])
        return np.array(losses, dtype=np.float64)

    def scored(self, candidates: int) -> int:
        """Returns the forward-image equivalents of scoring so many states on the search split."""
        return candidates * len(self.search.labels)

    def affordable(self, data: Labelled, passes: int = 0) -> tuple[Labelled, int]:
        """Returns what to train on, and the whole epochs that the budget pays for, with so many forward passes besides.

        Where it does not pay for one epoch, as many random items as it does, for one; two at least.
        """
        data = data.some(max(2, int(self.budget // (STEP_COST + passes))), self.seed)
        count = len(data.labels)
        return data, max(1, int((self.budget - passes * count) // (STEP_COST * count)))


@dataclass(frozen=True, eq=False)
class Point:
    """One point of a control.

    Attributes:
        name: what tells it from the control's other points.
        states: one, or several whose probabilities are averaged; each holds what differs from the pre-trained network.
        images: forward-image equivalents spent.
    """

    name: str
    states: tuple[State, ...]
    images: float


@dataclass(frozen=True)
class Control:
    """A way to improve a network that the search has to beat.

    Attributes:
        description: one line.
        points: makes its points.
        suits: whether it has any in a setting.
    """

    description: str
    points: Callable[[Setting], list[Point]]
    suits: Callable[[Setting], bool]


def always(_: Setting) -> bool:
    """Suits every setting."""
    return True


def starts_elsewhere(setting: Setting) -> bool:
    """Suits searches that start from something else than the pre-trained network."""
    return bool(setting.pretrained)


def has_members(setting: Setting) -> bool:
    """Suits settings with two members or more."""
    return len(setting.states) >= 2
