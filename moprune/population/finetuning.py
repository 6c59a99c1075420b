"""Fine-tuning a whole network by backpropagation: how the members of a first population are made.

Networks fine-tuned from the same weights at small rates stay in one basin of the loss, so that their weights can be
averaged and recombined; at large rates they do not.
"""

import copy
import math
from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from moprune.devices import resolve_device
from moprune.errors import UsageError
from moprune.networks.selection import State, state_of
from moprune.population.batches import laid_out
from moprune.population.recipes import STEP_COST, Recipe, draw_recipes
from moprune.seeding import numpy_generator, torch_generator

__all__ = ["STEP_COST", "Recipe", "draw_recipes", "finetune", "flip_crop"]


def finetune(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    trainable: Sequence[str] | None = None,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoints: int = 1,
    on_epoch: Callable[[int, int], None] | None = None,
) -> list[State]:
    """Continues the training of a network by stochastic gradient descent on the cross-entropy.

    Batch normalisation up to the first trained parameter, in the order modules were registered, keeps its statistics;
    from there on it uses those of each batch and updates its running ones. All that is random in a network (dropout,
    stochastic depth) is off.

    Args:
        network: where to start; it is not changed.
        inputs: (n, ...), what the network reads: preprocessed images or tokens, n >= 2.
        labels: (n,) int64.
        recipe: how to train.
        trainable: names of the parameters to train; None for all.
        seed: of the batches, mixup and augmentation.
        device: where the work is done.
        checkpoints: how many of the last epochs' states are wanted, 1 to ``recipe.epochs``.
        on_epoch: called with (epochs done, ``recipe.epochs``) after each.

    Returns:
        The state after each of the last ``checkpoints`` epochs: the floating-point parameters and buffers that differ
        from the network's, on the CPU.

    Raises:
        UsageError: inputs, labels or names that do not fit, or weights that are no longer finite.
    """
    _check(network, inputs, labels, recipe, trainable, checkpoints)
    device = resolve_device(device)
    tuned = copy.deepcopy(network).to(device)
    names = {name for name, _ in tuned.named_parameters()} if trainable is None else set(trainable)
    for name, parameter in tuned.named_parameters():
        parameter.data = laid_out(parameter.data)
        parameter.requires_grad_(name in names)
    _set_modes(tuned, names)
    parameters = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(
        parameters, recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    states = []
    for epoch in range(recipe.epochs):
        _one_epoch(tuned, optimiser, inputs, labels, recipe, epoch, seed, device)
        if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
            rate = f"learning_rate {recipe.learning_rate:g}"
            raise UsageError(f"fine-tuning with {rate} diverged in epoch {epoch + 1}; use a smaller one")
        if epoch >= recipe.epochs - checkpoints:
            states.append(_changes(network, tuned))
        if on_epoch is not None:
            on_epoch(epoch + 1, recipe.epochs)
    return states


def _one_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    inputs: Tensor,
    labels: Tensor,
    recipe: Recipe,
    epoch: int,
    seed: int,
    device: torch.device,
) -> None:
    steps = math.ceil(len(labels) / recipe.batch_size)
    with torch.enable_grad():
        for step, (batch, targets) in enumerate(_batches(inputs, labels, recipe, steps, epoch, seed, device)):
            optimiser.param_groups[0]["lr"] = recipe.rate((epoch + step / steps) / recipe.epochs)
            logits = network(laid_out(batch))
            losses = [
                share * functional.cross_entropy(logits, truth, label_smoothing=recipe.label_smoothing)
                for share, truth in targets
            ]
            optimiser.zero_grad()
            torch.autograd.backward(torch.stack(losses).sum())
            optimiser.step()


def _batches(
    inputs: Tensor, labels: Tensor, recipe: Recipe, steps: int, epoch: int, seed: int, device: torch.device
) -> Iterator[tuple[Tensor, list[tuple[float, Tensor]]]]:
    """Yields an epoch's batches, each with its targets: labels and their shares of the loss."""
    order = torch.randperm(len(labels), generator=torch_generator(seed, "batch order", epoch))
    augmentation = torch_generator(seed, "augmentation", epoch)
    mixing = numpy_generator(seed, "mixup", epoch)
    # Batches of nearly the same size: a last one of a few images would have wild statistics.
    for rows in order.tensor_split(steps):
        batch, truth = inputs[rows.to(inputs.device)].to(device), labels[rows.to(labels.device)].to(device)
        if recipe.augment == "flip_crop":
            batch = flip_crop(batch, augmentation)
        if recipe.mixup > 0:
            share = float(mixing.beta(recipe.mixup, recipe.mixup))
            partner = torch.from_numpy(mixing.permutation(len(rows))).to(device)
            yield share * batch + (1 - share) * batch[partner], [(share, truth), (1 - share, truth[partner])]
        else:
            yield batch, [(1.0, truth)]


def flip_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Returns each image mirrored with probability 1/2 and shifted by up to an eighth of its height and width.

    The augmentation of He et al. 2016, section 4.2 (4 of 32 pixels). What moves in from outside is zero: the mean
    colour, where images are normalised.

    Args:
        images: (n, C, H, W).
        generator: on the CPU.
    """
    count, channels, height, width = images.shape
    down, right = height // 8, width // 8
    device = images.device
    padded = functional.pad(images, (right, right, down, down))
    top, left = (torch.randint(2 * pad + 1, (count, 1), generator=generator) for pad in (down, right))
    flip = torch.randint(2, (count, 1), generator=generator).bool()
    rows = (top + torch.arange(height)).to(device)
    columns = torch.arange(width)
    columns = (left + torch.where(flip, columns.flip(0), columns)).to(device)
    image = torch.arange(count, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[:, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _set_modes(network: nn.Module, trained: Collection[str]) -> None:
    """Puts a network in evaluation mode, save batch normalisation and recurrent layers that training changes."""
    network.eval()
    changes = False
    for name, module in network.named_modules():
        own = (f"{name}.{part}" if name else part for part, _ in module.named_parameters(recurse=False))
        changes = changes or any(parameter in trained for parameter in own)
        if isinstance(module, _BatchNorm):
            module.train(changes)
        elif isinstance(module, nn.RNNBase):
            module.dropout = 0.0
            module.train(changes)  # which is what cuDNN needs for gradients


def _changes(network: nn.Module, tuned: nn.Module) -> State:
    before = state_of(network)
    after = {name: value.contiguous() for name, value in state_of(tuned).items()}
    return {name: value for name, value in after.items() if not torch.equal(value, before[name])}


def _check(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    recipe: Recipe,
    trainable: Sequence[str] | None,
    checkpoints: int,
) -> None:
    if len(inputs) != len(labels) or len(labels) < 2:
        raise UsageError(f"fine-tuning: {len(inputs)} inputs with {len(labels)} labels; give two or more of each")
    if not 1 <= checkpoints <= recipe.epochs:
        raise UsageError(f"fine-tuning: {checkpoints} checkpoints of {recipe.epochs} epochs; give 1 to that many")
    if recipe.mixup > 0 and not inputs.is_floating_point():
        raise UsageError(f"fine-tuning: inputs of {inputs.dtype} cannot be mixed; set mixup to 0")
    if recipe.augment != "none" and (inputs.ndim != 4 or not inputs.is_floating_point()):
        raise UsageError(f"fine-tuning: {recipe.augment} is for images (n, C, H, W); set augment to none")
    if trainable is not None:
        known = {name for name, _ in network.named_parameters()}
        if unknown := sorted(set(trainable) - known):
            raise UsageError(f"fine-tuning: the network has no parameter {unknown[0]!r}; name its parameters")
        if not trainable:
            raise UsageError("fine-tuning: no parameter is to be trained; name at least one")
