import pytest
import torch
from torch import nn

from moprune.networks import state_of
from moprune.seeding import torch_generator


class Small(nn.Module):
    """One of each: convolution with and without bias, depthwise, norm, a bare parameter, a head; all moved."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.Conv2d(4, 3, 1))
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.fc = nn.Linear(3, 5)
        generator = torch_generator(0, "small")
        with torch.no_grad():
            for tensor in (*self.parameters(), *self.buffers()):
                if tensor.is_floating_point():
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.2)

    def forward(self, x):
        return self.fc((self.body(self.stem(x)) * self.scale).mean((2, 3)))


def moved(network, seed, size=0.1):
    """A state of the network near its own, buffers included; the bare parameter is not there."""
    generator = torch_generator(seed, "member")
    return {
        name: tensor + size * torch.randn(tensor.shape, generator=generator)
        for name, tensor in state_of(network).items()
        if name != "scale"
    }


@pytest.fixture(scope="session")
def network():
    return Small().eval()


@pytest.fixture(scope="session")
def members(network):
    return [moved(network, seed) for seed in range(3)]
