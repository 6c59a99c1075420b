"""Costs of parts of a network, against what is counted by hand."""

import pytest
import torch

from moprune.networks.digits import DigitsNet
from problems.selection.costs import NAMES, Costs

WIDTH, CLASSES, BATCH = 4, 3, 16
BODY = {"conv1.weight": 9 * 4, "conv2.weight": 9 * 4 * 8, "conv3.weight": 9 * 8 * 8}
NORMS = {f"bn{k}.{kind}": width for k, width in ((1, 4), (2, 8), (3, 8)) for kind in ("weight", "bias")}
HEAD = {"linear.weight": 32 * CLASSES, "linear.bias": CLASSES}
SIZES = BODY | NORMS | HEAD


def costs(statistics="frozen", new=()):
    return Costs(DigitsNet(CLASSES, width=WIDTH).eval(), torch.zeros(BATCH, 1, 8, 8), statistics, new)


def test_everything():
    found = costs()(list(SIZES), {})
    assert tuple(found) == NAMES
    assert found["trainable_parameters"] == sum(SIZES.values())
    assert found["trainable_share"] == 1
    assert found["stored_bytes"] == 4 * sum(SIZES.values())
    # 2 x multiply-accumulates: weights of all layers, and activations of all but the first convolution.
    first, second, third, head = 64 * 36, 64 * 288, 16 * 576, 32 * CLASSES
    assert found["backward_flops"] == 2 * (first + 2 * (second + third + head))


def test_the_head_alone():
    found = costs()(list(HEAD), {})
    assert found["trainable_parameters"] == 99
    assert found["trainable_share"] == pytest.approx(99 / sum(SIZES.values()))
    assert found["backward_flops"] == 2 * 32 * CLASSES
    assert found["activation_bytes"] == 4 * BATCH * 32


@pytest.mark.parametrize(
    ("statistics", "moved"),
    [("frozen", 0), ("tuned", 2 * (4 + 8)), ("all", 2 * (4 + 8 + 8))],
)
def test_running_statistics_that_move_are_stored(statistics, moved):
    names = ["conv1.weight", "bn1.weight", "bn2.bias", *HEAD]
    found = costs(statistics)(names, {})
    assert found["stored_bytes"] == 4 * (36 + 4 + 8 + 99 + moved)
    assert found["trainable_parameters"] == 36 + 4 + 8 + 99


def test_a_new_head_is_stored_where_it_is_frozen():
    measure = costs(new=HEAD)
    assert measure(["conv1.weight"], {})["stored_bytes"] == 4 * (36 + 99)
    assert measure(["conv1.weight", *HEAD], {})["stored_bytes"] == 4 * (36 + 99)


def test_low_rank():
    found = costs()(["linear.bias"], {"conv3.weight": 2, "linear.weight": 1})
    factors = 2 * (8 + 72) + (3 + 32)
    assert found["trainable_parameters"] == factors + 3
    assert found["stored_bytes"] == 4 * (factors + 3)


def test_what_is_returned_can_be_changed():
    measure = costs()
    measure(list(HEAD), {})["stored_bytes"] = 0.0
    assert measure(list(HEAD), {})["stored_bytes"] == 4 * 99
