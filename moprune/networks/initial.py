"""Initial weights without touching the global random state.

Layers of our own are made without a draw (on the ``meta`` device) and filled by `he_normal`; constructors of
other people can only draw from torch's global generator, so `seeded` lends it to them and takes it back.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from moprune.seeding import derive, torch_generator


def he_normal(network: nn.Module, seed: int) -> None:
    """Gives every layer of ``network`` memory on the CPU and initial weights (He et al. 2015).

    Convolution and linear weights are normal with variance 2 / fan-in, biases zero, batch normalisation the
    identity. Layers made on the ``meta`` device are expected; earlier values are lost.
    """
    network.to_empty(device="cpu")
    generator = torch_generator(seed, "initial weights")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Runs a block with torch's global CPU generator set from ``seed``, and restores it after."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators' generators, which are not forked.
        torch.default_generator.manual_seed(derive(seed, "initial weights"))
        yield
