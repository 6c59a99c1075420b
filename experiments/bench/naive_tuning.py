"""Fine-tuning one candidate the naive way: what one writes first.

The network is copied, gradients are asked for of what is tuned, a `DataLoader` reads and preprocesses each image, and
every batch goes through the whole network, with torch's own threads.
"""

import copy
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import register_parametrization, remove_parametrizations
from torch.utils.data import DataLoader, Dataset

from experiments.bench.generation import Generation
from moprune.networks.low_rank import factor_shapes
from moprune.networks.selection import State, state_of
from moprune.population.tuning import Job, moving_layers
from moprune.seeding import torch_generator


class _LowRank(nn.Module):
    """A change of low rank as torch's parametrisations have it."""

    def __init__(self, shapes: tuple[tuple[int, int], tuple[int, int]], generator: torch.Generator) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.zeros(shapes[0]))
        self.down = nn.Parameter(torch.empty(shapes[1]))
        nn.init.kaiming_uniform_(self.down, math.sqrt(5), generator=generator)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


class Ready:
    """The batches of a generation's training images, out of memory."""

    def __init__(self, generation: Generation) -> None:
        self._train = generation.train

    def __call__(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields images and labels of each batch of rows."""
        for rows in batches:
            yield self._train.inputs[rows], self._train.labels[rows]


class Reading(Dataset[tuple[Tensor, Tensor]]):
    """The batches of a generation's training images, each read and preprocessed when it is asked for."""

    def __init__(self, generation: Generation) -> None:
        self._read, self._labels = generation.read, generation.train.labels

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self._read(row), self._labels[row]

    def __len__(self) -> int:
        return len(self._labels)

    def __call__(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields images and labels of each batch of rows."""
        return iter(DataLoader(self, batch_sampler=[rows.tolist() for rows in batches]))


def tuned(generation: Generation, job: Job, source: type[Ready | Reading]) -> State:
    """Returns a candidate's state after training.

    Args:
        generation: network, images and recipe.
        job: what is trained.
        source: where the batches come from.
    """
    network, recipe = copy.deepcopy(generation.network).eval().requires_grad_(False), generation.recipe
    network.load_state_dict(job.start, strict=False)
    for layer in moving_layers(network, list(job.rates), recipe.statistics):
        network.get_submodule(layer).train()
    groups, changed = _trained(network, job, recipe.learning_rate)
    optimiser = torch.optim.Adam(groups)
    images, count = source(generation), len(generation.train.labels)
    steps = recipe.steps(count)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs * steps)
    for epoch in range(recipe.epochs):
        order = torch.randperm(count, generator=torch_generator(job.seed, "batch order", epoch))
        for x, labels in images(order.tensor_split(steps)):
            optimiser.zero_grad()
            torch.autograd.backward(functional.cross_entropy(network(x), labels))
            optimiser.step()
            schedule.step()
    for module, name in changed:
        remove_parametrizations(module, name)
    return state_of(network)


def _trained(network: nn.Module, job: Job, rate: float) -> tuple[list[dict[str, object]], list[tuple[nn.Module, str]]]:
    """Asks for gradients of what is tuned; returns the optimiser's groups, and what is parametrised by factors."""
    groups: list[dict[str, object]] = []
    changed = []
    for name, factor in job.rates.items():
        where, _, own = name.rpartition(".")
        module, tensors = network.get_submodule(where), [network.get_parameter(name)]
        shapes = factor_shapes(tensors[0].shape, job.ranks[name]) if name in job.ranks else None
        if shapes is not None:
            low_rank = _LowRank(shapes, torch_generator(job.seed, "factors", name))
            register_parametrization(module, own, low_rank)
            changed.append((module, own))
            tensors = [low_rank.up, low_rank.down]
        groups.append({"params": [tensor.requires_grad_() for tensor in tensors], "lr": rate * factor})
    return groups, changed
