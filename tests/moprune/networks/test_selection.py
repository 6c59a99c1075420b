import pytest
import torch
import torchvision
from torch import nn

from moprune.errors import UsageError
from moprune.networks import DigitsNet, cifar_resnet, norm_statistics, select, state_of


class Mixed(nn.Module):
    """Kinds of layers that name their tensors in their own ways."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(2, 2, 3)
        self.group = nn.GroupNorm(1, 2)
        self.plain = nn.BatchNorm1d(2, affine=False)
        self.lstm = nn.LSTM(2, 3)
        self.attention = nn.MultiheadAttention(2, 1)
        self.layer = nn.LayerNorm(2)
        self.root = nn.RMSNorm(2)
        self.gain = nn.Parameter(torch.ones(()))
        self.steps = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
        self.first = nn.Linear(2, 2)
        self.last = nn.Linear(2, 2)
        self.register_buffer("table", torch.ones(2), persistent=False)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.output = nn.Linear(3, 5)
        self.output.weight = self.embedding.weight


def test_kinds_by_hand():
    network = DigitsNet(3)
    assert select(network, ["all"]) == tuple(name for name, _ in network.named_parameters())
    assert select(network, ["convolutions"]) == ("conv1.weight", "conv2.weight", "conv3.weight")
    assert select(network, ["norms"]) == tuple(f"bn{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias"))
    assert select(network, ["head"]) == ("linear.weight", "linear.bias")
    assert select(network, ["class_biases"]) == ("linear.bias",)
    assert select(network, ["biases"]) == ("bn1.bias", "bn2.bias", "bn3.bias", "linear.bias")


def test_kinds_of_other_layers():
    network = Mixed()
    assert select(network, ["convolutions"]) == ("up.weight",)
    assert select(network, ["norms"]) == ("group.weight", "group.bias", "layer.weight", "layer.bias", "root.weight")
    assert select(network, ["head"]) == ("last.weight", "last.bias")
    assert select(network, ["biases"]) == (
        "up.bias", "group.bias", "lstm.bias_ih_l0", "lstm.bias_hh_l0", "attention.in_proj_bias",
        "attention.out_proj.bias", "layer.bias", "first.bias", "last.bias",
    )  # fmt: skip
    assert "steps" not in select(network, ["all"])


def test_a_network_that_is_one_layer_itself():
    assert select(nn.Conv2d(1, 1, 3), ["convolutions"]) == ("weight",)
    assert select(nn.BatchNorm2d(1), ["norms"]) == ("weight", "bias")


def test_norms_of_an_ordinary_network_are_its_batch_normalisations():
    network = torchvision.models.mobilenet_v2()
    expected = [
        f"{prefix}.{kind}"
        for prefix, module in network.named_modules()
        if type(module).__name__ == "BatchNorm2d"
        for kind in ("weight", "bias")
    ]
    assert list(select(network, ["norms"])) == expected
    assert len(expected) == 104


def test_names_of_parameters_and_modules_and_wildcards():
    network = cifar_resnet(20)
    everything = select(network, ["all"])
    assert select(network, ["layer2.1.conv1.weight"]) == ("layer2.1.conv1.weight",)
    assert select(network, ["layer2.1"]) == tuple(name for name in everything if name.startswith("layer2.1."))
    assert select(network, ["layer[12].*.conv?"]) == tuple(
        name for name in everything if name[:6] in ("layer1", "layer2") and ".conv" in name
    )
    assert select(network, ["*.bias"]) == tuple(name for name in everything if name.endswith(".bias"))


def test_the_order_is_the_networks_and_each_name_comes_once():
    network = DigitsNet(3)
    assert select(network, ["head", "linear.bias", "conv1", "convolutions"]) == (
        "conv1.weight", "conv2.weight", "conv3.weight", "linear.weight", "linear.bias",
    )  # fmt: skip


def test_tied_weights_go_by_their_first_name():
    network = Tied()
    for pattern in ("output.weight", "embedding", "out*.weight"):
        assert select(network, [pattern]) == ("embedding.weight",)
    assert select(network, ["head"]) == ("embedding.weight", "output.bias")
    assert set(state_of(network)) == {"embedding.weight", "output.bias"}


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["layr1"], "no 'layr1' .did you mean 'layer1'"),
        (["head", "layer9*"], "no 'layer9\\*'"),
        (["convolution"], "did you mean 'convolutions'"),
        (["lay"], "no 'lay'"),
        ([], "give a list"),
        ("head", "give a list"),
    ],
)
def test_what_names_nothing_is_refused(patterns, words):
    with pytest.raises(UsageError, match=words) as caught:
        select(cifar_resnet(20), patterns)
    assert "\n" not in str(caught.value)


def test_a_kind_the_network_has_none_of_is_refused():
    network = nn.Sequential(nn.Linear(2, 2, bias=False))
    for kind in ("convolutions", "norms", "biases"):
        with pytest.raises(UsageError, match=f"no '{kind}'"):
            select(network, [kind])


def test_a_state_is_the_floating_part_of_the_state_dict():
    network = cifar_resnet(20)
    state = state_of(network)
    expected = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) and not state[name].requires_grad for name in expected)
    assert set(norm_statistics(network)) == {name for name in expected if "running_" in name}
    assert "table" not in state_of(Mixed())


def test_a_state_is_a_copy():
    network = nn.Linear(2, 2).half()
    state = state_of(network, ["bias"])
    assert list(state) == ["bias"]
    assert state["bias"].dtype == torch.float32
    before = network.bias.detach().clone()
    state["bias"].zero_()
    assert torch.equal(network.bias, before)


@pytest.mark.parametrize("name", ["bn1.num_batches_tracked", "bn1.wieght", "table"])
def test_a_state_of_unknown_tensors_is_refused(name):
    with pytest.raises(UsageError, match="no floating-point tensor"):
        state_of(DigitsNet(2), [name])
