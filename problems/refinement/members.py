"""Members: networks fine-tuned from one pre-trained network, whose weights a search recombines."""

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from moprune.data.splits import Split
from moprune.data.task import Task
from moprune.errors import UsageError
from moprune.files import cache_folder
from moprune.networks.features import FeatureExtractor
from moprune.networks.preprocess import Preprocess
from moprune.networks.selection import State
from moprune.networks.store import keep, kept
from moprune.population.finetuning import Recipe, finetune
from moprune.seeding import derive
from problems.refinement.genomes import Mixing

# Part of the name of every kept file; a change in how members are trained or written needs another number.
_FORMAT = 1

OnEpoch = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Members:
    """Fine-tuned versions of one network.

    Attributes:
        states: what differs from the network they started from, K of them.
        recipes: how each was trained; checkpoints of one run share theirs.
        names: of each, for people.
        images: forward-image equivalents spent in making them.
    """

    states: tuple[State, ...]
    recipes: tuple[Recipe, ...]
    names: tuple[str, ...]
    images: int

    def __len__(self) -> int:
        return len(self.states)


def stacked(split: Split, preprocess: Callable[..., Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Returns a split as inputs of a network (n, ...) and labels (n,).

    Args:
        split: images, or other items.
        preprocess: an item to the tensor a network reads; None for images that need no more than scaling.

    Raises:
        UsageError: items of different sizes.
    """
    prepare = Preprocess() if preprocess is None else preprocess
    items = [prepare(split.inputs[index]) for index in range(len(split))]
    shapes = sorted({tuple(item.shape) for item in items})
    if len(shapes) > 1:
        raise UsageError(
            f"inputs of different sizes, {shapes[0]} and {shapes[-1]}; give a Preprocess with resize and crop"
        )
    return torch.stack(items), split.labels


def finetuned(
    network: nn.Module,
    task: Task,
    recipes: Sequence[Recipe],
    *,
    preprocess: Callable[..., Tensor] | None = None,
    trainable: Sequence[str] | None = None,
    seed: int,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> Members:
    """Returns a network fine-tuned on a task's train split by several recipes; those made before come from disk.

    Args:
        network: where all start; it is not changed.
        task: gives the train split.
        recipes: one a member, all different.
        preprocess: as for :func:`stacked`.
        trainable: names of the parameters to train; None for all.
        seed: of the batches, another stream for each recipe.
        device: where the work is done.
        cache: the folder of the kept members; None for ``members`` in the user's cache folder.
        on_epoch: called with (epochs done, epochs of all recipes together).

    Raises:
        UsageError: no recipe or one given twice, or as for :func:`moprune.population.finetuning.finetune`.
    """
    if not recipes or len(set(recipes)) < len(recipes):
        raise UsageError(f"members: {len(recipes)} recipes, {len(set(recipes))} different; give one or more, each once")
    runs = _Runs(network, task, preprocess, trainable, seed, device, cache, on_epoch, sum(r.epochs for r in recipes))
    states = tuple(state for recipe in recipes for state in runs.states(recipe, 1))
    images = sum(recipe.images(len(task.train)) for recipe in recipes)
    names = tuple(f"member {number}" for number in range(1, len(recipes) + 1))
    return Members(states, tuple(recipes), names, images)


def last_checkpoints(
    network: nn.Module,
    task: Task,
    recipe: Recipe,
    count: int,
    *,
    preprocess: Callable[..., Tensor] | None = None,
    trainable: Sequence[str] | None = None,
    seed: int,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> Members:
    """Returns the network after each of the last ``count`` epochs of one run; see :func:`finetuned`.

    The sibling paper's population ("Impacts of Darwinian Evolution on Pre-trained DNNs", arXiv:2408.05563): "obtained
    from the ending epochs". A constant rate keeps them apart.
    """
    runs = _Runs(network, task, preprocess, trainable, seed, device, cache, on_epoch, recipe.epochs)
    states = tuple(runs.states(recipe, count))
    names = tuple(f"epoch {epoch}" for epoch in range(recipe.epochs - count + 1, recipe.epochs + 1))
    return Members(states, (recipe,) * count, names, recipe.images(len(task.train)))


@dataclass(eq=False)
class _Runs:
    """Fine-tuning runs from one network, each made once and kept on disk."""

    network: nn.Module
    task: Task
    preprocess: Callable[..., Tensor] | None
    trainable: Sequence[str] | None
    seed: int
    device: torch.device | str
    cache: Path | None
    on_epoch: OnEpoch | None
    epochs: int
    done: int = 0

    @cached_property
    def _origin(self) -> str:
        trainable = None if self.trainable is None else sorted(self.trainable)
        network, images = digest_of_network(self.network), self.task.train.digest()
        return "\x1f".join(map(str, (_FORMAT, network, images, repr(self.preprocess), trainable, self.seed)))

    @cached_property
    def _data(self) -> tuple[Tensor, Tensor]:
        return stacked(self.task.train, self.preprocess)

    def states(self, recipe: Recipe, count: int) -> list[State]:
        """Returns the last ``count`` states of the run by a recipe."""
        paths = [self._path(recipe, last) for last in range(count, 0, -1)]
        found = [state for path in paths if (state := kept(path)) is not None]
        if len(found) < len(paths):
            found = self._made(recipe, count)
            for path, state in zip(paths, found, strict=True):
                keep(path, state)
        self.done += recipe.epochs
        if self.on_epoch is not None:
            self.on_epoch(self.done, self.epochs)
        return found

    def _path(self, recipe: Recipe, last: int) -> Path:
        key = hashlib.sha256(f"{self._origin}\x1f{recipe!r}\x1f{last}".encode()).hexdigest()
        folder = cache_folder() / "members" if self.cache is None else self.cache
        return folder / f"{key}.safetensors"

    def _made(self, recipe: Recipe, count: int) -> list[State]:
        def report(done: int, of: int) -> None:
            if self.on_epoch is not None and done < of:  # the last is told when the run is kept
                self.on_epoch(self.done + done, self.epochs)

        return finetune(
            self.network, *self._data, recipe, trainable=self.trainable,
            seed=derive(self.seed, "member", repr(recipe)), device=self.device, checkpoints=count, on_epoch=report,
        )  # fmt: skip


def digest_of_network(network: nn.Module) -> str:
    """Returns the SHA-256 over all that decides what a network computes: weights, modules, their source."""
    last = [name for name, _ in network.named_modules()][-1]
    if not last:
        raise UsageError(f"{type(network).__name__} is a single layer; put it into an nn.Sequential")
    return FeatureExtractor(network, features=last).digest()


def with_state(network: nn.Module, state: State) -> nn.Module:
    """Returns a copy of a network with some of its tensors replaced."""
    changed = copy.deepcopy(network)
    changed.load_state_dict(state, strict=False)
    return changed


def averaged(network: nn.Module, states: Sequence[State]) -> State:
    """Returns the mean of the weights of K >= 1 states of a network, running statistics included."""
    return Mixing(network, states).weights(np.full(len(states), 1 / len(states)))


@dataclass(frozen=True)
class Basin:
    """Whether members share a basin of the loss.

    Attributes:
        average: loss of the uniform average of their weights.
        members: loss of each.
    """

    average: float
    members: tuple[float, ...]

    @property
    def shared(self) -> bool:
        """Whether the average is no worse than the worst member."""
        return self.average <= max(self.members)

    @property
    def sentence(self) -> str:
        """What a person should know, in one line."""
        losses = f"the average of their weights has loss {self.average:.4g}, the members {min(self.members):.4g} to "
        losses += f"{max(self.members):.4g}"
        if self.shared:
            return f"members share a basin: {losses}"
        return f"members do not share a basin: {losses}; use smaller learning rates, or combine predictions instead"


def basin(
    network: nn.Module, members: Members, losses: Callable[[Sequence[Sequence[State]]], Sequence[float]]
) -> Basin:
    """Compares the average of the members' weights with the members.

    Networks fine-tuned from the same weights at small rates are linearly connected at low loss (Neyshabur et al. 2020,
    "What is being transferred in transfer learning?"); where they are not, no recombination of weights can work.

    Args:
        network: where they started.
        members: two or more.
        losses: the loss on the search split of each candidate, a candidate being one state or several.

    Raises:
        UsageError: fewer than two members.
    """
    if len(members) < 2:
        raise UsageError(f"basin: {len(members)} member shares a basin with itself; give two or more")
    average = averaged(network, members.states)
    first, *rest = losses([(average,), *((state,) for state in members.states)])
    return Basin(float(first), tuple(map(float, rest)))
