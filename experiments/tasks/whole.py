"""Networks that are written whole: their weights, and what a program has to know of them."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.tasks.kind import Deliverable
from moprune.data import Task
from moprune.networks.low_rank import Factors
from moprune.networks.weights import fill, read_weights

_EXAMPLES = 8  # training items by which a network that was written is compared with the one that was scored


def whole(
    network: nn.Module,
    before: nn.Module,
    task: Task,
    prepare: Callable[..., Tensor],
    notes: Mapping[str, Any],
    delta: Mapping[str, Tensor | Factors] | None = None,
) -> Deliverable:
    """Returns a network as it was scored, to be written.

    Args:
        network: what is written.
        before: the pre-trained network, of the same form.
        task: its data.
        prepare: makes the network's input of an item.
        notes: what the run knows of it, for the description.
        delta: in what it differs from ``before``, to be written beside it.
    """
    inputs = task.train.inputs
    items = torch.stack([prepare(inputs[i]) for i in range(min(_EXAMPLES, len(inputs)))])
    description = {
        "input": {"type": str(items.dtype).removeprefix("torch."), "shape": ["n", *items.shape[1:]]},
        "output": "logits (n, C) of preprocessed items",
        "classes": list(task.classes),
        "preprocess": repr(prepare),
        **notes,
    }
    again = partial(_read, network=copy.deepcopy(before))
    return Deliverable(network, network, before, items, description, again, delta)


def _read(path: Path, network: nn.Module) -> nn.Module:
    fill(network, read_weights(path), str(path))
    return network
