"""Several networks from one run of gradient descent: stochastic weight averaging and fast geometric ensembling."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from moprune.devices import resolve_device
from moprune.networks.selection import State, norm_statistics, state_of
from moprune.population.finetuning import finetune
from moprune.seeding import derive
from problems.refinement.controls.points import Point, Setting
from problems.refinement.members import averaged, with_state

SNAPSHOTS = 5
"""Networks in a fast geometric ensemble: 20 epochs in cycles of 4, as published."""


def swa(setting: Setting) -> list[Point]:
    """Returns the stochastic weight average (Izmailov et al. 2018, algorithm 1), cycle length one epoch.

    From the pre-trained network at the recipe's rate, kept constant; the weights after each epoch are averaged, and the
    batch-normalisation statistics of the average estimated on what was trained on. The budget pays for both; below two
    epochs it is a constant-rate run.
    """
    data, epochs = setting.affordable(setting.train, passes=1)
    recipe = replace(setting.recipe, epochs=epochs, schedule="constant")
    states = finetune(
        setting.network, *data, recipe, seed=derive(setting.seed, "swa"), device=setting.device, checkpoints=epochs
    )
    average = averaged(setting.network, states)
    state = reestimated(setting.network, average, data.inputs, setting.recipe.batch_size, setting.device)
    return [Point(f"{epochs} epochs", (state,), recipe.images(len(data.labels)) + len(data.labels))]


def fge(setting: Setting) -> list[Point]:
    """Returns the fast geometric ensemble (Garipov et al. 2018, section 4): one network at the end of each rate cycle.

    Up to :data:`SNAPSHOTS` cycles, each of whole epochs; the rate goes linearly from a hundredth of the recipe's up to
    it and down again, and momentum starts anew with each. Predictions are averaged.
    """
    data, epochs = setting.affordable(setting.train)
    cycles = min(SNAPSHOTS, epochs)
    recipe = replace(setting.recipe, epochs=epochs // cycles, schedule="triangle")
    network, states = setting.network, list[State]()
    for cycle in range(cycles):
        (state,) = finetune(network, *data, recipe, seed=derive(setting.seed, "fge", cycle), device=setting.device)
        network = with_state(network, state)
        states.append(state if cycle == 0 else {**states[-1], **state})
    return [Point(f"{cycles} networks", tuple(states), cycles * recipe.images(len(data.labels)))]


def reestimated(
    network: nn.Module, state: State, inputs: Tensor, batch_size: int, device: torch.device | str = "cpu"
) -> State:
    """Returns a state with the batch-normalisation statistics that a network in it has on some inputs.

    Izmailov et al. 2018, section 3: one pass in batches of nearly the same size, whose statistics are averaged.

    Args:
        network: whose state it is; it is not changed.
        state: what differs from the network.
        inputs: (n, ...).
        batch_size: inputs at once at most.
        device: where the work is done.
    """
    device = resolve_device(device)
    changed = with_state(network, state).to(device).eval()
    for module in changed.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            module.reset_running_stats()
            module.momentum = None  # a plain mean over the batches
            module.train()
    statistics = norm_statistics(changed)
    if not statistics:
        return dict(state)
    with torch.no_grad():
        for batch in inputs.tensor_split(math.ceil(len(inputs) / batch_size)):
            changed(batch.to(device))
    return {**state, **state_of(changed, statistics)}
