import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models

from moprune.errors import UsageError
from moprune.networks import DigitsNet, LSTMClassifier, Unit, cifar_resnet, units

# One of each family, by the module that torchvision keeps it in; numbers of stages and blocks by hand.
FAMILIES = {
    "alexnet": ("alexnet", 4, 6),
    "convnext": ("convnext_tiny", 9, 23),
    "densenet": ("densenet121", 9, 63),
    "efficientnet": ("efficientnet_b0", 10, 19),
    "googlenet": ("googlenet", 6, 13),
    "inception": ("inception_v3", 8, 14),
    "maxvit": ("maxvit_t", 6, 13),
    "mnasnet": ("mnasnet0_5", 9, 19),
    "mobilenetv2": ("mobilenet_v2", 8, 20),
    "mobilenetv3": ("mobilenet_v3_small", 7, 14),
    "regnet": ("regnet_y_400mf", 6, 18),
    "resnet": ("resnet18", 6, 10),
    "shufflenetv2": ("shufflenet_v2_x0_5", 6, 19),
    "squeezenet": ("squeezenet1_1", 5, 10),
    "swin_transformer": ("swin_t", 9, 17),
    "vgg": ("vgg11_bn", 6, 9),
    "vision_transformer": ("vit_b_32", 3, 14),
}


def torchvision_model(name):
    if name.startswith("regnet"):  # cannot be built without values
        return models.get_model(name)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        return models.get_model(name, **options)


def by_name(found):
    return {unit.name: unit for unit in found}


def check_partition(network, found):
    owned = [name for unit in found for name in unit.parameters]
    order = [name for name, parameter in network.named_parameters() if parameter.is_floating_point()]
    assert sorted(owned) == sorted(order)
    assert all(list(unit.parameters) == [n for n in order if n in set(unit.parameters)] for unit in found)
    assert len({unit.name for unit in found}) == len(found)
    assert all(unit.parameters for unit in found)
    assert [unit.kind for unit in found].count("head") == 1
    assert found[-1].kind == "head"


def order_of_use(network, found, size):
    """Returns the units' numbers in the order in which a forward pass first reads them."""
    number = {name: i for i, unit in enumerate(found) for name in unit.parameters}
    seen = []
    for prefix, module in network.named_modules():
        own = [number[f"{prefix}.{name}"] for name, _ in module.named_parameters(recurse=False) if prefix]
        module.register_forward_pre_hook(lambda *_, own=own: seen.extend(own))
    with torch.no_grad():
        network.eval().to("meta")(torch.empty(2, 3, size, size, device="meta"))
    return list(dict.fromkeys(seen))


def test_every_family_of_torchvision_is_tried():
    modules = {models.get_model_builder(name).__module__ for name in models.list_models(module=models)}
    assert {name.rpartition(".")[2] for name in modules} == FAMILIES.keys()


@pytest.mark.parametrize(("name", "stages", "blocks"), FAMILIES.values(), ids=FAMILIES)
def test_units_of_torchvision_are_a_partition_in_forward_order(name, stages, blocks):
    network = torchvision_model(name)
    coarse, fine = units(network, "stage"), units(network, "block")
    assert (len(coarse), len(fine)) == (stages, blocks)
    for found in (coarse, fine):
        check_partition(network, found)
    # Coarse units are unions of fine ones.
    owner = {name: unit.name for unit in coarse for name in unit.parameters}
    assert all(len({owner[name] for name in unit.parameters}) == 1 for unit in fine)
    used = order_of_use(network, fine, 299 if name == "inception_v3" else 224)
    training_only = [i for i, unit in enumerate(fine) if unit.name in ("aux1", "aux2", "AuxLogits")]
    assert used == [i for i in range(len(fine)) if i not in training_only]


@pytest.mark.parametrize(
    ("name", "granularity", "last"),
    [
        ("resnet50", "stage", [2, 32, 71, 128, 158, 160]),
        ("densenet121", "stage", [2, 38, 41, 113, 116, 260, 263, 359, 363]),
        ("vgg19", "stage", [3, 7, 15, 23, 31, 37]),
        ("inception_v3", "block", [14, 35, 56, 77, 89, 119, 149, 179, 209, 217, 235, 262, 289, 291]),
    ],
)
def test_blocks_of_the_paper(name, granularity, last):
    """Positions of each block's last tensor in the published code."""
    network = torchvision_model(name)
    order = [parameter for parameter, _ in network.named_parameters()]
    found = units(network, granularity)
    assert [order.index(unit.parameters[-1]) for unit in found] == last
    assert [name for unit in found for name in unit.parameters] == order


def test_stages_and_blocks_by_hand():
    network = cifar_resnet(20)
    assert [(u.name, u.kind, len(u.parameters)) for u in units(network)] == [
        ("conv1..bn1", "stem", 3), ("layer1", "stage", 18), ("layer2", "stage", 18), ("layer3", "stage", 18),
        ("linear", "head", 2),
    ]  # fmt: skip
    fine = units(network, "block")
    assert [u.name for u in fine] == [
        "conv1..bn1", *(f"layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1, 2)), "linear",
    ]  # fmt: skip
    assert {u.kind for u in fine[1:-1]} == {"block"}


def test_what_comes_with_the_classifier():
    assert [unit.name for unit in units(torchvision_model("vit_b_32"))] == [
        "class_token..encoder.pos_embedding", "encoder.layers", "encoder.ln..heads",
    ]  # fmt: skip
    assert units(torchvision_model("vgg11_bn"))[-1].name == "classifier"
    assert units(torchvision_model("squeezenet1_1"))[-1].parameters == ("classifier.1.weight", "classifier.1.bias")


class Residual(nn.Module):
    def __init__(self, channels, stride=1):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, stride, 1)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)


class Around(nn.Module):
    """A network of another class inside, with frozen and integer parameters."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner.requires_grad_(False)
        self.steps = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)


def test_networks_without_blocks():
    assert [u.name for u in units(DigitsNet(3))] == ["conv1..bn2", "conv3..bn3", "linear"]
    assert [u.name for u in units(DigitsNet(3), "block")] == ["conv1..bn1", "conv2..bn2", "conv3..bn3", "linear"]
    assert [u.name for u in units(LSTMClassifier(9, 3), "block")] == ["embedding", "lstm", "linear"]
    layers = [nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), pool) for pool in (nn.ReLU(), nn.MaxPool2d(2))]
    network = nn.Sequential(*layers, nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3, stride=2), nn.Flatten(), nn.Linear(2, 2))
    assert [(u.name, u.kind) for u in units(network)] == [
        ("0..1", "stage"), ("2", "stage"), ("3", "stage"), ("5", "head"),
    ]  # fmt: skip


def test_linear_layers_alone():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    assert [u.name for u in units(network, "block")] == ["0", "2", "4"]
    assert [u.name for u in units(nn.Sequential(network), "block")] == ["0.0", "0.2", "0.4"]
    assert units(nn.Linear(3, 2)) == (Unit("Linear", ("weight", "bias"), "head"),)


def test_a_row_of_blocks_is_cut_where_the_resolution_falls():
    blocks = nn.Sequential(Residual(2), Residual(2), Residual(2, stride=2), Residual(2))
    network = nn.Sequential(nn.Conv2d(3, 2, 1), blocks, nn.BatchNorm2d(2), nn.Linear(2, 2))
    assert [(u.name, u.kind) for u in units(network)] == [
        ("0", "stem"), ("1.0..1", "stage"), ("1.2..3", "stage"), ("2..3", "head"),
    ]  # fmt: skip


def test_networks_inside_others_and_encoders():
    network = Around(cifar_resnet(20))
    check_partition(network, units(network))
    assert [u.name for u in units(network)][1:] == ["inner.layer1", "inner.layer2", "inner.layer3", "inner.linear"]
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    encoder = nn.Sequential(nn.Embedding(5, 4), nn.TransformerEncoder(layer, 3), nn.Linear(4, 2))
    assert [u.name for u in units(encoder)] == ["0", "1.layers", "2"]
    assert [u.name for u in units(encoder, "block")] == ["0", "1.layers.0", "1.layers.1", "1.layers.2", "2"]


def test_tied_parameters_and_shared_modules_count_once():
    network = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3), nn.Linear(3, 5))
    network[2].weight = network[0].weight
    assert [u.parameters for u in units(network, "block")] == [
        ("0.weight",), ("1.weight", "1.bias"), ("2.bias",),
    ]  # fmt: skip
    block = Residual(2)
    shared = nn.Sequential(block, block, nn.Linear(2, 2))
    check_partition(shared, units(shared, "block"))


def test_parts():
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), Residual(2), nn.LayerNorm(2), nn.Linear(2, 2))
    assert units(network, "block", "split") == (
        Unit("0..1/weights", ("0.weight",), "stem"),
        Unit("0..1/norms", ("1.weight", "1.bias"), "stem"),
        Unit("0..1/biases", ("0.bias",), "stem"),
        Unit("2/weights", ("2.first.weight", "2.second.weight"), "block"),
        Unit("2/biases", ("2.first.bias", "2.second.bias"), "block"),
        Unit("3..4", ("3.weight", "3.bias", "4.weight", "4.bias"), "head"),
    )


def test_override():
    network = cifar_resnet(20)
    given = {"late": ["layer3", "linear"], "stem": ["conv1", "bn1"], "middle": ["layer[12]"]}
    found = units(network, override=given)
    assert [(u.name, u.kind) for u in found] == [("stem", "stem"), ("middle", "stage"), ("late", "head")]
    check_partition(network, found)
    split = units(network, parts="split", override=given)
    assert [u.name for u in split] == ["stem/weights", "stem/norms", "middle/weights", "middle/norms", "late"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"granularity": "layer"}, r"granularity 'layer' is not known"),
        ({"parts": "half"}, r"parts 'half' is not known"),
        ({"override": {"a": ["conv1", "layer1"], "b": ["layer*"]}}, r"'layer1.*' is in both 'a' and 'b'"),
        ({"override": {"a": ["layer1"]}}, r"'conv1.weight' is in no unit \(41 such\)"),
        ({"override": {"a": ["layr1"]}}, r"has no 'layr1'"),
        ({"override": {}}, r"'conv1.weight' is in no unit"),
    ],
)
def test_what_is_refused(options, said):
    with pytest.raises(UsageError, match=said) as caught:
        units(cifar_resnet(20), **options)
    assert "\n" not in str(caught.value)


def test_a_network_without_parameters_is_refused():
    with pytest.raises(UsageError, match="ReLU has no parameters"):
        units(nn.ReLU())


leaves = st.sampled_from(
    [nn.ReLU, lambda: nn.MaxPool2d(2), lambda: nn.Conv2d(2, 2, 1), lambda: nn.BatchNorm2d(2), lambda: nn.Linear(2, 2),
     lambda: Residual(2), lambda: Residual(2, 2), lambda: nn.Conv2d(2, 2, 2, 2), lambda: nn.LSTM(2, 2)]
).map(lambda make: make())  # fmt: skip
trees = st.recursive(leaves, lambda inner: st.lists(inner, min_size=1, max_size=5).map(lambda m: nn.Sequential(*m)))


@settings(max_examples=60)
@given(trees)
@example(nn.Sequential(nn.Linear(2, 2), nn.Conv2d(2, 2, 1), Residual(2)))
def test_any_tree_is_partitioned_in_its_order(network):
    if not list(network.parameters()):
        return
    order = [name for name, _ in network.named_parameters()]
    for granularity in ("stage", "block"):
        found = units(network, granularity)
        check_partition(network, found)
        starts = [order.index(unit.parameters[0]) for unit in found if unit.kind != "head"]
        assert starts == sorted(starts)
