"""What the benchmark of weights is measured on: networks with images, and a generation of differential evolution."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from moprune.data import Split, TensorInputs, limit, open_folder, open_tar
from moprune.data.inputs import Item
from moprune.errors import UsageError
from moprune.networks import Preprocess, digit_images, pretrained, pretrained_digits
from moprune.networks.selection import State
from moprune.seeding import torch_generator

# Of the population, relative to the standard deviation of each tensor; of the trials.
_NOISE, _SCALE, _CROSSOVER = 0.05, 0.6, 0.8


@dataclass(frozen=True)
class Setting:
    """A trained network, images for it, and the parts of it that candidates differ in.

    Attributes:
        network: the start of a search.
        split: the images, with labels.
        preprocess: an item to the network's input.
        parts: patterns of `moprune.networks.selection.select` by the name of the part.
    """

    network: nn.Module
    split: Split
    preprocess: Callable[[Item], Tensor]
    parts: Mapping[str, Sequence[str]]


class Images(Dataset[tuple[Tensor, Tensor]]):
    """A split as one writes it for a ``DataLoader``: each image is read and preprocessed when it is asked for."""

    def __init__(self, split: Split, preprocess: Callable[[Item], Tensor]) -> None:
        self._split, self._preprocess = split, preprocess

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._preprocess(self._split.inputs[index]), self._split.labels[index]


def digits(count: int | None = None) -> Setting:
    """Returns the digits that `pretrained_digits` has never seen, which come with moprune.

    Args:
        count: how many of the 355, classes in proportion; None for all.

    Raises:
        UsageError: there are not so many, or fewer than classes.
    """
    images, labels = digit_images(range(10), held_out=True)
    if count is not None:
        if not 10 <= count <= len(labels):
            raise UsageError(f"{count} digits are asked for; give 10 to {len(labels)}")
        rows = limit(labels, count, seed=0)
        images, labels = images[rows], labels[rows]
    parts = {"whole network": ["all"], "last block": ["conv3", "bn3", "linear"], "head": ["head"]}
    return Setting(pretrained_digits(range(10)), Split(TensorInputs(images), labels), Preprocess(), parts)


def cifar(weights: Path, data: Path, images: int) -> Setting:
    """Returns a CIFAR ResNet-20 with images of the data set's subset ``test``, evenly spread over it.

    Args:
        weights: its file; normalisation is that of github.com/akamaster/pytorch_resnet_cifar10.
        data: a folder or an uncompressed tar, ``test/<class>/*``.
        images: how many, >= 1.

    Raises:
        UsageError: one of them cannot be used, or there are not so many images.
    """
    split = (open_tar(data) if data.is_file() else open_folder(data)).subset("test")
    if not 1 <= images <= len(split):
        raise UsageError(f"{data} has {len(split)} images in test, {images} are asked for; give 1 to {len(split)}")
    rows = torch.linspace(0, len(split) - 1, images, dtype=torch.float64).long().tolist()
    preprocess = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    parts = {"whole network": ["all"], "last block": ["layer3.2", "linear"], "head": ["head"]}
    return Setting(pretrained("cifar_resnet20", weights), split.subset(rows), preprocess, parts)


Score = Callable[[Sequence[State], Sequence[float | None]], Sequence[float]]
"""Candidates and the bounds of their losses to their losses; of those above the bound any number above it."""


def evolved(start: State, size: int, generations: int, score: Score, seed: int) -> tuple[list[State], list[float]]:
    """Returns population and losses after some generations of differential evolution from noise on the start."""
    population = _noisy(start, size, seed)
    losses = list(score(population, [None] * size))
    for generation in range(generations):
        trials = trials_of(population, losses, generation, seed)
        for i, loss in enumerate(score(trials, losses)):
            if loss <= losses[i]:
                population[i], losses[i] = trials[i], loss
    return population, losses


def _noisy(start: State, size: int, seed: int) -> list[State]:
    """Returns the start ``size`` times with Gaussian noise on each tensor, in proportion to its standard deviation."""
    generator = torch_generator(seed, "benchmark population")
    return [
        {
            name: value + _NOISE * value.std(correction=0) * torch.randn(value.shape, generator=generator)
            for name, value in start.items()
        }
        for _ in range(size)
    ]


def trials_of(population: Sequence[State], losses: Sequence[float], generation: int, seed: int) -> list[State]:
    """Returns a trial for each member: current-to-best/1 with binomial crossover (Zhang and Sanderson 2009)."""
    generator = torch_generator(seed, "benchmark trials", generation)
    best = population[min(range(len(losses)), key=losses.__getitem__)]
    trials = []
    for member in population:
        a, b = (population[i] for i in torch.randperm(len(population), generator=generator)[:2].tolist())
        trial = {}
        for name, value in member.items():
            donor = value + _SCALE * (best[name] - value) + _SCALE * (a[name] - b[name])
            trial[name] = torch.where(torch.rand(value.shape, generator=generator) < _CROSSOVER, donor, value)
        trials.append(trial)
    return trials
