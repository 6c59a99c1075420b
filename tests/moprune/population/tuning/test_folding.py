"""Folded normalisations against the network as it was: values, gradients, and what must be left alone."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from moprune.population.tuning.folding import foldable


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
    changed = copy.deepcopy(plain)
    pairs = foldable(changed, X)
    found = []
    for network in (plain, changed):
        leaves = [p for name, p in network.named_parameters() if trained == ["all"] or name.startswith(trained[0])]
        for leaf in leaves:
            leaf.requires_grad_()
        names = {name for name, p in network.named_parameters() if p.requires_grad}
        folded = {name: value for pair in pairs if not pair.names & names for name, value in pair.folded.items()}
        logits = functional_call(network, folded if network is changed else {}, (X,))
        found.append((logits, *torch.autograd.grad(functional.cross_entropy(logits, torch.arange(5) % 3), leaves)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_folded_pair_is_one_convolution():
    network = drawn(Blocks())
    pairs = foldable(network, X)
    folded = {name: value for pair in pairs for name, value in pair.folded.items()}
    counts = []
    for state in ({}, folded):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            functional_call(network, state, (X,))
        counts.append({event.key: event.count for event in profile.key_averages()})
    before, after = counts
    assert before["aten::conv2d"] == after["aten::conv2d"]
    assert before["aten::batch_norm"] == after["aten::batch_norm"] + len(pairs)


def test_names_and_values_stay_and_only_pairs_can_be_folded():
    plain = drawn(Blocks())
    changed = copy.deepcopy(plain)
    pairs = foldable(changed, X)
    before, after = plain.state_dict(), changed.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [name for name, p in changed.named_parameters()] == [name for name, p in plain.named_parameters()]
    of_pairs = [
        {name for name in before if name.startswith(pair)} for pair in (("first.0", "first.1"), ("conv", "norm"))
    ]
    assert [pair.names for pair in pairs] == of_pairs


@pytest.mark.parametrize("momentum", [0.3, None])
def test_moving_statistics_are_those_of_the_normalisation(momentum):
    plain = drawn(Blocks())
    plain.first[1].momentum = momentum
    changed = copy.deepcopy(plain)
    foldable(changed, X, moving=True)
    plain.first[1].train()
    found = []
    for network in (plain, changed):
        network.first[1].weight.requires_grad_()
        network.get_submodule("first.1").training = True
        logits = network(X)
        found.append((logits, torch.autograd.grad(logits.sum(), network.first[1].weight)[0]))
        found[-1] += (network.first[1].running_mean, network.first[1].running_var)
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    with torch.no_grad():  # evaluation
        plain.eval()
        changed.eval()
        torch.testing.assert_close(changed(X), plain(X), atol=1e-5, rtol=1e-4)


def test_what_reads_its_normalisation_in_another_way_is_not_folded():
    class Peeking(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.linear = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

        def forward(self, x):
            once = self.norm(self.conv(x)).mean((2, 3))
            return self.linear(once + (1 if type(self.norm) is nn.BatchNorm2d else 0))

    network = drawn(Peeking())
    expected = network(X)
    assert foldable(network, X) == []
    assert type(network.norm) is nn.BatchNorm2d
    assert torch.equal(network(X), expected)


def test_a_hook_keeps_a_pair_apart():
    network = drawn(Blocks())
    network.conv.register_forward_hook(lambda module, inputs, output: 2 * output)
    expected = network(X)
    foldable(network, X)
    assert type(network.conv) is nn.Conv2d
    torch.testing.assert_close(network(X), expected, atol=1e-5, rtol=1e-4)
