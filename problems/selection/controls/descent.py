"""Gradient descent of a whole network with a hook on the loss and one on the learning rates."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from moprune.networks.selection import State, state_of
from moprune.population.batches import laid_out
from moprune.population.tuning import Labelled, TuningRecipe, moving_layers
from moprune.population.workers import give_up_if
from moprune.seeding import torch_generator

Tensors = Mapping[str, Tensor]
"""Parameters, or their gradients, by name."""

WEIGHED = 5
"""Batches of which gradients are taken before each epoch, where learning rates follow from them."""


@dataclass(frozen=True, eq=False)
class Course:
    """One descent.

    Attributes:
        names: the parameters that may move.
        rate: factor of the recipe's base rate, > 0.
        start: values of tensors other than the network's, such as a new head's.
        seed: of the batches.
        penalty: what the parameters add to the loss.
        weigh: the parameters and their gradients on some batches -> each one's factor of the rate, 0 for frozen. Asked
            before each epoch, which then begins with a new optimiser.
    """

    names: Sequence[str]
    rate: float = 1.0
    start: State = field(default_factory=dict)
    seed: int = 0
    penalty: Callable[[Tensors], Tensor] | None = None
    weigh: Callable[[Tensors, Iterable[Tensors]], Mapping[str, float]] | None = None

    def images(self, training_set: int, recipe: TuningRecipe) -> int:
        """Returns the forward-image equivalents that it costs on a set of so many images."""
        batches = torch.arange(training_set).tensor_split(recipe.steps(training_set))
        weighed = 0 if self.weigh is None else sum(map(len, batches[:WEIGHED]))
        return recipe.images(training_set) + recipe.images(weighed)


class Descended(NamedTuple):
    """What a descent came to: all that differs from the network, and the names of the parameters that moved.

    The state is None where values are no longer finite.
    """

    state: State | None
    names: tuple[str, ...]


def descend(
    network: nn.Module, data: Labelled, recipe: TuningRecipe, course: Course, stop: Event | None = None
) -> Descended:
    """Trains by a recipe, with all that is random as in evaluation; keeps the last epoch.

    The recipe's patience plays no part. Each image is passed through the whole network in each epoch.

    Args:
        network: where to start, save ``course.start``; it is not changed.
        data: training images, n >= 2, on the network's device.
        recipe: optimiser, rates, epochs, batch size.
        course: the rest.
        stop: ends it (`moprune.population.workers`).
    """
    return _Descent(network, data, recipe, course, stop or Event()).run()


class _Descent:
    """A descent under way."""

    def __init__(self, network: nn.Module, data: Labelled, recipe: TuningRecipe, course: Course, stop: Event) -> None:
        self.data, self.recipe, self.course, self.stop = data, recipe, course, stop
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.network.load_state_dict(course.start, strict=False)
        names = set(course.names)
        self.parameters = {name: each for name, each in self.network.named_parameters() if name in names}
        for parameter in self.parameters.values():
            parameter.data = laid_out(parameter.data)
            parameter.requires_grad_()
        self.moving = moving_layers(self.network, course.names, recipe.statistics)

    def run(self) -> Descended:
        moved: set[str] = set()
        optimiser: torch.optim.Optimizer | None = None
        with torch.enable_grad():
            for epoch in range(self.recipe.epochs):
                if epoch == 0 or self.course.weigh is not None:
                    factors = self._factors(epoch)
                    optimiser = _optimiser(self.recipe, self.parameters, factors)
                    moved |= factors.keys()
                if optimiser is not None:
                    self._one_epoch(optimiser, epoch)
        names = tuple(name for name in self.parameters if name in moved)
        statistics = [f"{layer}.{end}" for layer in self.moving for end in ("running_mean", "running_var")]
        trained = state_of(self.network, [*names, *statistics])
        state = self.course.start | {name: each.contiguous() for name, each in trained.items()}
        return Descended(state if all(bool(each.isfinite().all()) for each in state.values()) else None, names)

    def _factors(self, epoch: int) -> dict[str, float]:
        """Returns the factor of the base rate of each parameter that is to move in an epoch."""
        if self.course.weigh is None:
            return dict.fromkeys(self.parameters, self.course.rate)
        weights = self.course.weigh(self.parameters, self._gradients(epoch))
        return {name: self.course.rate * weight for name, weight in weights.items() if weight > 0}

    def _gradients(self, epoch: int) -> Iterator[Tensors]:
        leaves = list(self.parameters.values())
        for rows in self._batches("weighed batches", epoch)[:WEIGHED]:
            slopes = torch.autograd.grad(self._entropy(rows), leaves, allow_unused=True, materialize_grads=True)
            yield dict(zip(self.parameters, slopes, strict=True))

    def _one_epoch(self, optimiser: torch.optim.Optimizer, epoch: int) -> None:
        batches = self._batches("batch order", epoch)
        self._use_batch_statistics(True)
        for step, rows in enumerate(batches):
            give_up_if(self.stop)
            rate = self.recipe.rate(epoch, step, len(batches), self.recipe.epochs)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["factor"]
            loss = self._entropy(rows)
            if self.course.penalty is not None:
                loss = loss + self.course.penalty(self.parameters)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        self._use_batch_statistics(False)

    def _use_batch_statistics(self, use: bool) -> None:
        for layer in self.moving:
            self.network.get_submodule(layer).train(use)

    def _entropy(self, rows: Tensor) -> Tensor:
        with self.recipe.lowered(self.data.labels.device):
            logits = self.network(laid_out(self.data.inputs[rows]))
        return functional.cross_entropy(logits.float(), self.data.labels[rows])

    def _batches(self, purpose: str, epoch: int) -> tuple[Tensor, ...]:
        """Returns the places of an epoch's images, batch by batch."""
        count = len(self.data.labels)
        order = torch.randperm(count, generator=torch_generator(self.course.seed, purpose, epoch))
        return order.to(self.data.labels.device).tensor_split(self.recipe.steps(count))


def _optimiser(recipe: TuningRecipe, parameters: Tensors, factors: Mapping[str, float]) -> torch.optim.Optimizer | None:
    """Returns the recipe's optimiser with a group for each parameter; None where nothing is to move."""
    groups = [{"params": [parameters[name]], "factor": factor} for name, factor in factors.items()]
    if not groups:
        return None
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, rate, momentum=recipe.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, rate, weight_decay=decay)
