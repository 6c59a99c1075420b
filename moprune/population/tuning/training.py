"""One job from its start to its end, on images that are ready up to where it begins to differ from the network."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from moprune.metrics import macro_error
from moprune.networks.selection import State
from moprune.networks.suffix import Suffix
from moprune.population.tuning.descent import Descent, Leaves
from moprune.population.tuning.recipe import TuningRecipe
from moprune.population.workers import give_up_if
from moprune.seeding import torch_generator

BATCH = 100
"""Images at once where no gradients are taken; with 500 a ResNet-20 took 1.5 times as long, out of the cache."""


@dataclass(frozen=True, eq=False)
class Ready:
    """Labelled images up to where a network begins to change.

    Attributes:
        activations: what the rest of the network reads, each (n, ...), as `laid_out`.
        labels: (n,) int64, on the same device.
    """

    activations: tuple[Tensor, ...]
    labels: Tensor

    def rows(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Returns activations and labels of some images."""
        return tuple(_picked(part, rows) for part in self.activations), self.labels.index_select(0, rows)


@dataclass(frozen=True, eq=False)
class Trained:
    """What changes of a network in the course of a job, and how it is read.

    Args:
        suffix: what of the network runs; of this thread alone.
        leaves: what is trained.
        statistics: running statistics that follow the batches.
        fixed: other tensors that differ from the network's.
    """

    suffix: Suffix
    leaves: Leaves
    statistics: State
    fixed: State

    def state(self) -> State:
        """Returns all that differs from the network; the same tensors each time."""
        return {**self.fixed, **self.statistics, **self.leaves.state}

    def tensors(self) -> list[Tensor]:
        """Returns all that changes; the same tensors each time."""
        return [*self.leaves.trained, *self.statistics.values()]

    def finished(self) -> State:
        """Returns copies on the CPU, float32."""
        moved = {name: value.cpu() for name, value in self.statistics.items() if value.is_floating_point()}
        return self.leaves.finished() | moved


def fit(
    trained: Trained,
    recipe: TuningRecipe,
    images: Ready,
    validation: Ready | None = None,
    *,
    rows: Tensor,
    epochs: int,
    seed: int,
    stop: Event,
) -> tuple[int, bool]:
    """Trains some parameters of a network, in place; returns the epochs trained and whether all stayed finite.

    Args:
        trained: what changes.
        recipe: how.
        images: to learn from.
        validation: images that decide when to stop, and which epoch is kept; None where nothing does.
        rows: int64, which images to learn from.
        epochs: passes over them at most.
        seed: of their order.
        stop: gives up once it is set.
    """
    descent, least, waited = Descent(recipe, trained.leaves.trained, trained.leaves.rates), math.inf, 0
    best: list[Tensor] = []
    epoch = 0
    for epoch in range(epochs):
        order = rows[torch.randperm(len(rows), generator=torch_generator(seed, "batch order", epoch))]
        batches = order.to(images.labels.device).tensor_split(recipe.steps(len(rows)))
        rates = [recipe.rate(epoch, step, len(batches), epochs) for step in range(len(batches))]
        loss = _one_epoch(trained, descent, images, batches, rates, stop)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in (loss, *trained.tensors())):
            return epoch + 1, False
        if validation is None:
            continue
        error = macro_error(_logits(trained, validation), validation.labels.cpu())
        waited += 1
        if error < least:
            best, least, waited = [tensor.clone() for tensor in trained.tensors()], error, 0
        if waited == recipe.patience:
            break
    for tensor, kept in zip(trained.tensors(), best, strict=False):  # nothing is kept where nothing is watched
        tensor.copy_(kept)
    return epoch + 1, True


def _one_epoch(
    trained: Trained,
    descent: Descent,
    images: Ready,
    batches: Sequence[Tensor],
    rates: Sequence[float],
    stop: Event,
) -> Tensor:
    """Takes a step for each batch at its rate; returns the sum of their losses, 0-d."""
    losses: list[Tensor] = []

    def steps(run: Callable[[Sequence[Tensor]], Tensor]) -> None:
        for module in _moving(trained.suffix.network, trained.statistics):
            module.train()
        for rows, rate in zip(batches, rates, strict=True):
            give_up_if(stop)
            activations, labels = images.rows(rows)
            with descent.recipe.lowered(labels.device):
                logits = run(activations)
            loss = functional.cross_entropy(logits.float(), labels)
            losses.append(loss)
            descent.step(trained.leaves.gradients(loss), rate)
            trained.leaves.refresh()

    with torch.enable_grad():
        trained.suffix.with_state(trained.state(), steps)
    return torch.stack(losses).detach().sum()


@torch.no_grad()
def _logits(trained: Trained, images: Ready) -> Tensor:
    rows = torch.arange(len(images.labels), device=images.labels.device)
    return trained.suffix.with_state(
        trained.state(), lambda run: torch.cat([run(images.rows(part)[0]) for part in rows.split(BATCH)]).cpu()
    )


def _moving(network: nn.Module, statistics: State) -> list[nn.Module]:
    """Returns the layers in training mode: those whose statistics move, and recurrent ones.

    These have no dropout here; cuDNN has their gradients in training mode alone.
    """
    moving = {name.rpartition(".")[0] for name in statistics}
    return [module for name, module in network.named_modules() if name in moving or isinstance(module, nn.RNNBase)]


def _picked(tensor: Tensor, rows: Tensor) -> Tensor:
    """Returns ``tensor[rows]``; maps row by row of memory, which takes a third of the time."""
    if tensor.ndim != 4:
        return tensor.index_select(0, rows)
    return tensor.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)


def moving_layers(network: nn.Module, trained: Sequence[str], statistics: str) -> list[str]:
    """Returns the names of the batch normalisation layers whose running statistics move.

    Args:
        network: is only looked at.
        trained: the parameters that are trained.
        statistics: as in a `TuningRecipe`.
    """
    if statistics == "frozen":
        return []
    own = {name.rpartition(".")[0] for name in trained}
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats and (statistics == "all" or name in own)
    ]
