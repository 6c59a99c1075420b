"""A new classifier in the place of the old one."""

import math

import pytest
import torch
from torch import nn

from moprune.networks import head_of, units
from moprune.networks.digits import DigitsNet
from problems.selection.heads import drawn_head, with_new_head


@pytest.mark.parametrize("bias", [True, False])
def test_all_but_the_head_stays(bias):
    old = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=bias))
    before = {name: value.clone() for name, value in old.state_dict().items()}
    new = with_new_head(old, 3)
    assert new(torch.ones(2, 1, 2, 3)).shape == (2, 3)
    assert all(torch.equal(value, old.state_dict()[name]) for name, value in before.items())
    assert torch.equal(new.state_dict()["1.weight"], before["1.weight"])
    assert new.state_dict().keys() == before.keys()
    assert [unit.parameters for unit in units(new)] == [unit.parameters for unit in units(old)]


def test_a_head_is_drawn_as_pytorch_draws_it_and_repeats_itself():
    network = DigitsNet(3, width=32)
    head = drawn_head(network, seed=1)
    weight, bound = head["linear.weight"], 1 / math.sqrt(256)
    assert head_of(network) == "linear"
    assert set(head) == {"linear.weight", "linear.bias"}
    assert weight.abs().max() <= bound
    # The standard deviation of a uniform distribution within a bound, and its sample error.
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=4 / math.sqrt(2 * weight.numel()))
    assert not head["linear.bias"].any()
    assert torch.equal(weight, drawn_head(network, seed=1)["linear.weight"])
    assert not torch.equal(weight, drawn_head(network, seed=2)["linear.weight"])
