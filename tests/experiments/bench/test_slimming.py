import torch
from torch import nn

from experiments.bench.slimming import bench_slimming


def test_the_slimmed_network_lacks_what_was_cut():
    network = nn.Sequential(nn.Conv2d(1, 20, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 2))
    costs = bench_slimming(network, 0.1, torch.zeros(3, 1, 6, 6), rounds=1)
    # A linear head of ten classes on 20 features, or on two of them; 3 x 3 weights and a bias a channel of 16 pixels.
    assert {name: cost.parameters for name, cost in costs.items()} == {
        "unpruned": 20 * 10 + 20 * 10 + 10, "pruned": 20 * 10 + 2 * 10 + 10, "slimmed": 2 * 10 + 2 * 10 + 10,
    }  # fmt: skip
    assert {name: cost.flops for name, cost in costs.items()} == {
        "unpruned": 2 * (16 * 9 * 20 + 200), "pruned": 2 * (16 * 9 * 20 + 20), "slimmed": 2 * (16 * 9 * 2 + 20),
    }  # fmt: skip
    assert all(cost.seconds > 0 for cost in costs.values())
