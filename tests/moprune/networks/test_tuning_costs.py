import copy
import struct

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from moprune.errors import UsageError
from moprune.networks import (
    DigitsNet,
    Factors,
    LSTMClassifier,
    TuningCosts,
    cifar_resnet,
    factor_shapes,
    flops,
    norm_statistics,
    save_delta,
    select,
    tuning_costs,
)  # fmt: skip

SAMPLES = 3


def perceptron():
    return nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))


def trained_for_real(network, example, names):
    """Returns FLOPs of the backward pass and bytes saved for it, with the network's own parameters and modules."""
    network = copy.deepcopy(network).eval()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in names)
    weights = {parameter.data_ptr() for parameter in (*network.parameters(), *network.buffers())}
    saved = {}

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(example).sum()
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    size = sum(t.untyped_storage().nbytes() for place, t in saved.items() if place not in weights)
    return counter.get_total_flops() // len(example), size


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # parameters, 2 x products per sample, saved floats per sample, stored floats
        (["2.weight", "2.bias"], (105, 2 * 100, 20, 105)),
        (["2.bias"], (5, 0, 0, 5)),
        # Back to the first bias only the gradient of the hidden layer is needed, and where the ReLU is open.
        (["0.bias"], (20, 2 * 100, 20, 20)),
        (["0.weight"], (200, 2 * 100 + 2 * 200, 10 + 20, 200)),
        (["0.weight", "0.bias", "2.weight", "2.bias"], (325, 2 * 100 * 2 + 2 * 200, 10 + 20, 325)),
        ([], (0, 0, 0, 0)),
    ],
)
def test_a_perceptron_by_hand(names, expected):
    parameters, products, saved, stored = expected
    found = tuning_costs(perceptron(), torch.rand(SAMPLES, 10), names)
    assert found == TuningCosts(parameters, products, 4 * SAMPLES * saved, 4 * stored)


def test_freezing_a_middle_layer_saves_its_own_gradient_alone():
    sizes = [2 * 9 * 3 * 4 * 64, 2 * 9 * 4 * 5 * 64, 2 * 9 * 5 * 6 * 64]  # FLOPs of each 3 x 3 convolution on 8 x 8
    network = nn.Sequential(*(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in ((3, 4), (4, 5), (5, 6))))
    image = torch.rand(1, 3, 8, 8)

    def backward(names):
        return tuning_costs(network, image, names).backward_flops

    assert backward(["2.weight"]) == sizes[2]
    assert backward(["1.weight", "2.weight"]) == sizes[1] + 2 * sizes[2]
    assert backward(["0.weight", "2.weight"]) == sizes[0] + sizes[1] + 2 * sizes[2]
    assert backward(["0.weight", "1.weight", "2.weight"]) == sizes[0] + 2 * sizes[1] + 2 * sizes[2]


@pytest.mark.parametrize("kinds", [["all"], ["norms"], ["layer3", "head"], ["conv1", "layer2.1"], ["head"]])
def test_a_residual_network_against_training_it(kinds):
    network, images = cifar_resnet(20), torch.rand(2, 3, 32, 32)
    names = select(network, kinds)
    found = tuning_costs(network, images, names)
    assert (found.backward_flops, found.activation_bytes) == trained_for_real(network, images, names)


def test_whole_training_is_twice_the_forward_pass_but_for_the_images():
    network, images = cifar_resnet(20), torch.rand(2, 3, 32, 32)
    found = tuning_costs(network, images, select(network, ["all"]))
    assert found.backward_flops == 2 * flops(network, images) - flops(network.conv1, images)
    assert found.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_texts_and_attention():
    words = torch.randint(1, 9, (2, 6), generator=torch.Generator().manual_seed(0))
    network = LSTMClassifier(9, 3, embedding=4, hidden=4)
    assert tuning_costs(network, words, ["linear.weight"]).backward_flops == 2 * 4 * 3
    assert tuning_costs(network, words, select(network, ["all"])).backward_flops > 2 * 4 * 3
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    states = torch.rand(1, 3, 4)
    # Twice the forward pass: projections 4 x 12 and 4 x 4, 4 x 8 twice, and two products (3, 2) (2, 3) for both heads;
    # but no gradient of the input's.
    forward = 2 * 3 * (48 + 16 + 32 + 32) + 2 * 2 * (2 * 9 * 2)
    found = tuning_costs(layer, states, select(layer, ["all"]))
    assert found.backward_flops == 2 * forward - 2 * 3 * 48


def test_low_rank_by_hand():
    network, example = perceptron(), torch.rand(1, 10)
    found = tuning_costs(network, example, ["2.bias"], {"0.weight": 2, "0.bias": 2})
    assert found.parameters == 2 * (20 + 10) + 20 + 5  # a vector is tuned as a whole
    assert found.stored_bytes == 4 * found.parameters
    # The gradient of the whole weight, and two products of it with factors.
    assert found.backward_flops == 2 * 100 + 2 * 200 + 2 * (2 * 20 * 10 * 2)
    assert tuning_costs(network, example, [], {"2.weight": 4}).parameters == 100  # factors would hold as many


def test_stored_bytes_are_the_delta_without_its_header(tmp_path):
    network = DigitsNet(3)
    names = [*select(network, ["norms", "head"]), *norm_statistics(network)]
    found = tuning_costs(network, torch.rand(2, 1, 8, 8), names, {"conv2.weight": 2})
    assert found.parameters == sum(network.get_parameter(name).numel() for name in select(network, ["norms", "head"]))\
        + sum(a * b for a, b in factor_shapes(network.conv2.weight.shape, 2))  # fmt: skip
    tuned = {name: network.state_dict()[name] + 1 for name in names}
    tuned["conv2.weight"] = Factors(*(torch.ones(size) for size in factor_shapes(network.conv2.weight.shape, 2)))
    save_delta(tmp_path / "d.safetensors", network, tuned)
    content = (tmp_path / "d.safetensors").read_bytes()
    assert found.stored_bytes == len(content) - 8 - struct.unpack("<Q", content[:8])[0]


def test_the_network_is_left_as_it_was():
    network = DigitsNet(3).requires_grad_(False)
    network.bn1.train(False)
    before = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        tuning_costs(network, torch.rand(2, 1, 8, 8), ["conv1.weight"])
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in network.parameters())
    assert network.training
    assert not network.bn1.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("example", "names", "ranks", "said"),
    [
        (torch.rand(0, 10), [], {}, r"shape \(0, 10\)"),
        (torch.rand(1, 10), ["1.weight"], {}, "has no tensor '1.weight'"),
        (torch.rand(1, 10), [], {"3.weight": 1}, "has no tensor '3.weight'"),
        (torch.rand(1, 10), ["0.weight"], {"0.weight": 1}, "'0.weight' is both in names and in ranks"),
        (torch.rand(1, 10), [], {"0.weight": 0}, "the rank is 0"),
    ],
)
def test_what_is_refused(example, names, ranks, said):
    with pytest.raises(UsageError, match=said):
        tuning_costs(perceptron(), example, names, ranks)
