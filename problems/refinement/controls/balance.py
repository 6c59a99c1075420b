"""Balancing the classes by a rule: the cheap way to a better worst class, which a search of biases has to beat."""

import numpy as np
import torch
from numpy.typing import NDArray

from moprune.devices import resolve_device
from moprune.fronts import nondominated
from moprune.networks.features import head_of
from moprune.networks.modes import evaluating, placed
from problems.refinement.controls.points import Point, Setting

STEPS, RATE, DECAY = 300, 1.5, 0.99
_BATCH = 500


def class_balance(setting: Setting) -> list[Point]:
    """Returns the network with class biases moved towards equal errors, step by step; the trade-offs met on the way.

    In each step every class's bias grows by ``RATE * DECAY ** step`` times how far its error on the search split is
    above the mean over classes. Of all steps those are returned that no other beats both in the error and in the worst
    class's error, at most one for each error. It takes one forward pass of the search split.
    """
    name = head_of(setting.network) + ".bias"
    logits, labels = _logits(setting), setting.search.labels.numpy()
    classes = logits.shape[1]
    counts = np.bincount(labels, minlength=classes)
    bias = np.zeros(classes)
    biases, scores = [], []
    for step in range(STEPS):
        wrong = (logits + bias).argmax(1) != labels
        errors = np.bincount(labels[wrong], minlength=classes) / counts
        biases.append(bias)
        scores.append((wrong.mean(), errors.max()))
        bias = bias + RATE * DECAY**step * (errors - errors.mean())
    table = np.array(scores)
    kept = nondominated(table)
    _, first = np.unique(table[kept, 0], return_index=True)
    own = setting.network.get_parameter(name).detach().cpu()
    return [
        Point(f"step {step}", ({name: own + torch.from_numpy(biases[step]).float()},), setting.scored(1))
        for step in sorted(kept[first].tolist())
    ]


@torch.no_grad()
def _logits(setting: Setting) -> NDArray[np.float64]:
    device = resolve_device(setting.device)
    with placed(setting.network, device), evaluating(setting.network):
        parts = [setting.network(part.to(device)).double().cpu() for part in setting.search.inputs.split(_BATCH)]
    logits: NDArray[np.float64] = torch.cat(parts).numpy()
    return logits
