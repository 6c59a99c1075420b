import pytest
import torch
from torch import nn

from moprune.errors import UsageError
from moprune.networks import cifar_resnet, flops, parameters


def test_parameters_shared_by_two_layers_count_once() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert parameters(nn.Sequential(first, second, nn.BatchNorm1d(4))) == 16 + 4 + 4 + 8


@pytest.mark.parametrize("samples", [1, 3])
def test_flops_are_twice_the_multiply_accumulates_of_a_sample(samples: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 25, 7))
    multiply_accumulates = 25 * 8 * 3 * 9 + 8 * 25 * 7
    assert flops(network, torch.zeros(samples, 3, 5, 5)) == 2 * multiply_accumulates


def test_resnet20_has_the_known_cost_and_is_left_as_it_was() -> None:
    network = cifar_resnet(20).train()
    assert flops(network, torch.zeros(1, 3, 32, 32)) == pytest.approx(2 * 40.55e6, rel=0.001)
    assert network.training
    assert network.get_buffer("bn1.num_batches_tracked") == 0


def test_attention_of_frozen_networks_is_counted() -> None:
    """In evaluation mode, without gradients, torch would use one fused operation that the counter skips."""
    network = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    expected = flops(network, torch.zeros(1, 5, 8))
    projections, feed_forward, attention = 5 * 8 * 8 * 4, 5 * 8 * 16 * 2, 2 * 5 * 5 * 8
    assert expected == 2 * (projections + feed_forward + attention)
    assert flops(network.requires_grad_(False), torch.zeros(1, 5, 8)) == expected
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_empty_batch_is_told() -> None:
    with pytest.raises(UsageError, match="at least one sample"):
        flops(nn.Flatten(), torch.zeros(0, 3))
