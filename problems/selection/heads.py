"""A new classifier for the classes of a task, on a network pre-trained for others."""

import copy
import math

import torch
from torch import nn

from moprune.networks.features import head_of
from moprune.networks.selection import State
from moprune.seeding import torch_generator


def with_new_head(network: nn.Module, classes: int) -> nn.Module:
    """Returns a copy of a network whose classifier has one output for each class, with :func:`drawn_head` of seed 0.

    Raises:
        UsageError: the network has no linear classifier, see :func:`moprune.networks.features.head_of`.
    """
    changed, name = copy.deepcopy(network), head_of(network)
    old = changed.get_submodule(name)
    assert isinstance(old, nn.Linear)
    with torch.device("meta"):
        new = nn.Linear(old.in_features, classes, bias=old.bias is not None)
    parent, _, own = name.rpartition(".")
    setattr(changed.get_submodule(parent), own, new.to_empty(device=old.weight.device).requires_grad_(False))
    changed.load_state_dict(drawn_head(changed, 0), strict=False)
    return changed


def drawn_head(network: nn.Module, seed: int) -> State:
    """Returns initial values for a network's classifier: PyTorch's weights (uniform within 1 / sqrt(inputs)), no bias.

    Args:
        network: is only looked at.
        seed: of the draw.
    """
    name = head_of(network)
    shapes = {own: parameter.shape for own, parameter in network.get_submodule(name).named_parameters()}
    weight = torch.empty(shapes["weight"])
    bound = 1 / math.sqrt(weight.shape[1])
    state = {f"{name}.weight": weight.uniform_(-bound, bound, generator=torch_generator(seed, "new head"))}
    return state | ({f"{name}.bias": torch.zeros(shapes["bias"])} if "bias" in shapes else {})
