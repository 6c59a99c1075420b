import copy
import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from moprune.errors import UsageError
from moprune.networks import DigitsNet, Factors, apply_delta, merged, save_delta
from moprune.seeding import torch_generator


def moved(network, names):
    """A copy of a network with some of its tensors changed."""
    generator = torch_generator(0, "delta")
    tuned = copy.deepcopy(network)
    state = tuned.state_dict()
    for name in names:
        state[name] += 1 if state[name].dtype == torch.int64 else torch.randn(state[name].shape, generator=generator)
    return tuned


def bits(network):
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}


def stored(path):
    with safe_open(path, framework="pt") as file:
        return set(file.keys())


def refused(network, path, said):
    before = bits(network)
    with pytest.raises(UsageError, match=said) as caught:
        apply_delta(network, path)
    assert "\n" not in str(caught.value)
    assert bits(network) == before


def test_only_what_differs_is_stored_and_comes_back_bit_for_bit(tmp_path):
    base = DigitsNet(3)
    names = {"conv2.weight", "bn1.bias", "bn1.running_var", "bn1.num_batches_tracked", "linear.bias"}
    tuned = moved(base, names)
    save_delta(tmp_path / "d.safetensors", base, tuned.state_dict())
    assert stored(tmp_path / "d.safetensors") == names
    network = copy.deepcopy(base)
    apply_delta(network, tmp_path / "d.safetensors")
    assert bits(network) == bits(tuned)


def test_bits_that_compare_as_equal_or_never_do(tmp_path):
    base = DigitsNet(3)
    with torch.no_grad():
        base.linear.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
        base.bn1.bias[0] = float("nan")
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned.linear.bias[0] = -0.0
    save_delta(tmp_path / "d.safetensors", base, tuned.state_dict())
    assert stored(tmp_path / "d.safetensors") == {"linear.bias"}
    network = copy.deepcopy(base)
    apply_delta(network, tmp_path / "d.safetensors")
    assert bits(network) == bits(tuned)


def test_names_limit_what_is_stored(tmp_path):
    base = DigitsNet(3)
    tuned = moved(base, ["conv2.weight", "linear.bias"])
    save_delta(tmp_path / "d.safetensors", base, tuned.state_dict(), ["linear.bias", "conv1.weight"])
    assert stored(tmp_path / "d.safetensors") == {"linear.bias"}
    save_delta(tmp_path / "none.safetensors", base, tuned.state_dict(), [])
    network = copy.deepcopy(base)
    apply_delta(network, tmp_path / "none.safetensors")
    assert bits(network) == bits(base)


def test_factors_are_stored_as_they_are(tmp_path):
    base, generator = DigitsNet(3), torch_generator(1, "delta")
    rows, columns = base.conv2.weight.shape[0], base.conv2.weight[0].numel()
    factors = Factors(torch.randn(rows, 2, generator=generator), torch.randn(2, columns, generator=generator))
    state = {**moved(base, ["linear.bias"]).state_dict(), "conv2.weight": factors}
    save_delta(tmp_path / "d.safetensors", base, state)
    assert stored(tmp_path / "d.safetensors") == {"conv2.weight@up", "conv2.weight@down", "linear.bias"}
    network = copy.deepcopy(base)
    apply_delta(network, tmp_path / "d.safetensors")
    expected = base.conv2.weight.double() + (factors.up.double() @ factors.down.double()).view(base.conv2.weight.shape)
    torch.testing.assert_close(network.conv2.weight.double(), expected)
    assert torch.equal(network.conv2.weight, merged(base.conv2.weight, factors))
    # The weights under the factors are part of the base.
    refused(moved(base, ["conv2.weight"]), tmp_path / "d.safetensors", "made from other weights")


def test_another_base_is_refused_but_not_for_what_is_replaced(tmp_path):
    base = DigitsNet(3)
    tuned = moved(base, ["linear.weight", "linear.bias"])
    path = tmp_path / "d.safetensors"
    save_delta(path, base, tuned.state_dict())
    refused(moved(base, ["bn2.running_mean"]), path, "made from other weights than this DigitsNet has")
    refused(moved(base, ["conv1.weight"]), path, "made from other weights")
    refused(DigitsNet(4), path, r"linear.bias is \(3,\) .* for \(4,")
    refused(DigitsNet(3).double(), path, r"float32 for .* torch.float64")
    refused(nn.Sequential(nn.Linear(2, 2)), path, "Sequential has no tensor 'linear.bias'")
    new_head = moved(base, ["linear.weight"])
    apply_delta(new_head, path)
    assert bits(new_head) == bits(tuned)


def test_tied_weights_are_stored_once(tmp_path):
    def tied():
        network = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5))
        network[1].weight = network[0].weight
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        return network

    base, tuned = tied(), tied()
    with torch.no_grad():
        tuned[0].weight += 1
    save_delta(tmp_path / "d.safetensors", base, tuned.state_dict())
    assert stored(tmp_path / "d.safetensors") == {"0.weight"}
    apply_delta(base, tmp_path / "d.safetensors")
    assert base[1].weight is base[0].weight
    assert bits(base) == bits(tuned)


def test_files_that_are_no_delta(tmp_path):
    base, path = DigitsNet(3), tmp_path / "d.safetensors"
    refused(base, path, "there is no such delta")
    path.write_bytes(b"nothing")
    refused(base, path, "is not a whole safetensors file")
    save_file({"linear.bias": torch.zeros(3)}, path)
    refused(base, path, "is no delta")
    save_delta(path, base, moved(base, ["linear.bias"]).state_dict())
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(base, path, "is damaged")
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["moprune_delta"] = "99"
    changed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + length :])
    refused(base, path, "is a delta of format 99")


@pytest.mark.parametrize(
    ("tuned", "names", "said"),
    [
        ({"linear.bais": torch.zeros(3)}, None, "DigitsNet has no tensor 'linear.bais'"),
        ({"linear.bias": torch.zeros(3)}, ["linear.weight"], "the tuned state has no tensor 'linear.weight'"),
        ({"linear.bias": torch.zeros(4)}, None, r"linear.bias is \(4,\) torch.float32 for \(3,\)"),
        ({"linear.bias": torch.zeros(3).double()}, None, "torch.float64 for"),
        ({"linear.weight": Factors(torch.zeros(2, 1), torch.zeros(1, 2))}, None, "do not fit a tensor"),
    ],
)
def test_what_is_not_saved(tmp_path, tuned, names, said):
    with pytest.raises(UsageError, match=said):
        save_delta(tmp_path / "d.safetensors", DigitsNet(3), tuned, names)
    assert not list(tmp_path.iterdir())
