"""Folded normalisations against the network as it was: values, gradients, and what must be left alone."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from moprune.population.tuning.folding import fold


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.conv = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.twice = nn.Conv2d(4, 4, 1)
        self.after = nn.BatchNorm2d(4)
        self.read = nn.Conv2d(4, 4, 1)
        self.beside = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        x = self.norm(self.conv(self.first(x)))
        x = self.after(self.twice(self.twice(x)))  # one convolution in two places
        read = self.read(x)
        return self.linear((self.beside(read) + read).mean((2, 3)))


def drawn(network):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
                if name.endswith("var"):
                    tensor.abs_().add_(0.1)
    return network.eval().requires_grad_(False)


X = torch.randn(5, 2, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("trained", [["all"], ["first.0"], ["first.1"], ["first.1.bias"], ["conv"], ["linear"]])
def test_values_and_gradients_are_those_of_the_network(trained):
    plain = drawn(Blocks())
    folded = copy.deepcopy(plain)
    fold(folded, X)
    found = []
    for network in (plain, folded):
        leaves = [p for name, p in network.named_parameters() if trained == ["all"] or name.startswith(trained[0])]
        for leaf in leaves:
            leaf.requires_grad_()
        logits = network(X)
        found.append((logits, *torch.autograd.grad(functional.cross_entropy(logits, torch.arange(5) % 3), leaves)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_names_and_values_stay_and_only_pairs_are_folded():
    plain = drawn(Blocks())
    folded = copy.deepcopy(plain)
    fold(folded, X)
    before, after = plain.state_dict(), folded.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [name for name, p in folded.named_parameters()] == [name for name, p in plain.named_parameters()]
    gone = {name for name, module in plain.named_modules() if type(folded.get_submodule(name)) is not type(module)}
    assert gone == {"first.0", "first.1", "conv", "norm"}


def test_what_reads_its_normalisation_in_another_way_is_not_folded():
    class Peeking(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.linear = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

        def forward(self, x):
            once = self.norm(self.conv(x)).mean((2, 3))
            return self.linear(once + (1 if isinstance(self.norm, nn.BatchNorm2d) else 0))

    network = drawn(Peeking())
    expected = network(X)
    fold(network, X)
    assert type(network.norm) is nn.BatchNorm2d
    assert torch.equal(network(X), expected)


def test_a_hook_keeps_a_pair_apart():
    network = drawn(Blocks())
    network.conv.register_forward_hook(lambda module, inputs, output: 2 * output)
    expected = network(X)
    fold(network, X)
    assert type(network.conv) is nn.Conv2d
    torch.testing.assert_close(network(X), expected, atol=1e-5, rtol=1e-4)
