"""Using somebody's network without leaving a trace on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Puts a network in evaluation mode for a block, and every module back in its own mode after it."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def placed(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Moves a network to a device for a block, and back after it."""
    home = device_of(network)
    network.to(device)
    try:
        yield
    finally:
        network.to(home)


def device_of(network: nn.Module) -> torch.device:
    """Returns the device of the network's first parameter or buffer; the CPU for a network without any."""
    for tensor in (*network.parameters(), *network.buffers()):
        return tensor.device
    return torch.device("cpu")
