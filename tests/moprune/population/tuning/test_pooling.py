"""Maxima before the ReLU against the network as it was: bit for bit, forth and back."""

import copy

import pytest
import torch
from torch import nn

from moprune.population.tuning.pooling import pool_first


class Pooled(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), pool)
        self.conv, self.relu, self.pool = nn.Conv2d(4, 4, 1), nn.ReLU(), nn.MaxPool2d(2)

    def forward(self, x):
        out = self.relu(self.conv(self.first(x)))
        return self.pool(out).mean() + out.mean()  # read twice


POOLS = [nn.MaxPool2d(2), nn.MaxPool2d(3, stride=2, padding=1), nn.MaxPool2d(2, stride=1, dilation=2, ceil_mode=True)]


@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("levels", [None, 2])
def test_values_and_gradients_are_the_same_to_the_bit(pool, levels):
    torch.manual_seed(0)
    plain = Pooled(pool)
    exchanged = copy.deepcopy(plain)
    assert pool_first(exchanged) == [("first.1", "first.2")]
    assert type(exchanged.first[1]) is nn.MaxPool2d
    x = torch.randn(5, 1, 11, 11)
    if levels:  # few levels: most windows have ties, at zero too
        x = (x * levels).round() / levels
        for network in (plain, exchanged):
            with torch.no_grad():
                network.first[0].weight.fill_(0.25)
                network.first[0].bias.zero_()
    found = []
    for network in (plain, exchanged):
        logits = network(x)
        found.append((logits, *torch.autograd.grad(logits, list(network.parameters()))))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_what_does_more_is_left_alone():
    hooked = Pooled(nn.MaxPool2d(2))
    hooked.first[1].register_forward_hook(lambda module, inputs, output: 2 * output)
    assert pool_first(hooked) == []
    assert pool_first(Pooled(nn.AvgPool2d(2))) == []

    class Twice(Pooled):
        def forward(self, x):
            return self.first[2](self.first[1](self.first[1](self.first[0](x))))

    assert pool_first(Twice(nn.MaxPool2d(2))) == []
