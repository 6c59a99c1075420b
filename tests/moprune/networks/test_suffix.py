"""The oracle everywhere: a copy of the network with the state loaded into it, run as a whole in evaluation mode."""

import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from moprune.errors import UsageError
from moprune.networks import DigitsNet, Suffix, cifar_resnet, norm_statistics, select, state_of
from moprune.seeding import torch_generator


class Residual(nn.Module):
    """Branches of which either may be frozen, and additions in place."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.main = nn.Linear(8, 8)
        self.side = nn.Linear(8, 8)
        self.gain = nn.Parameter(torch.ones(8))
        self.register_buffer("offset", torch.zeros(8))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        out = self.drop(self.main(x))
        out = out.add_(self.side(x))
        return self.head((out * self.gain + (self.offset + 1)).view(x.size(0), -1))


class Branching(nn.Module):
    """What it runs depends on the data, which cannot be traced, and it writes to its input."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        out = self.body(x.mul_(2))
        return self.head(out if out.mean() > 0 else -out)


class Overwriting(nn.Module):
    """The frozen part overwrites what the other part has read before."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.side = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        side = self.side(x)
        frozen = x.relu_()
        return self.head(side + frozen)


class Frozen(nn.Module):
    """Reads a parameter past the tracer, as a number."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.relu(self.stem(x)) * (self._parameters["scale"] * 2))


class Writing(nn.Module):
    """Writes to its input."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(x.mul_(2))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 6, batch_first=True, num_layers=2)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        _, (hidden, _) = self.lstm(self.embedding(x))
        return self.head(hidden[-1])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.mixing = nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.mixing(self.embedding(x).mean(1)))


def randomised(network):
    """Batch normalisations that do nothing would hide mistakes."""
    generator = torch_generator(0, "network")
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(generator=generator)
    return network


NETWORKS = {
    "digits": lambda: DigitsNet(4),
    "resnet20": lambda: cifar_resnet(20),
    "resnet18": torchvision.models.resnet18,
    "mobilenet": torchvision.models.mobilenet_v2,
    "residual": Residual,
    "branching": Branching,
    "overwriting": Overwriting,
    "frozen": Frozen,
    "writing": Writing,
    "recurrent": Recurrent,
    "tied": Tied,
}


@pytest.fixture(scope="module")
def networks():
    return {name: randomised(make()).train() for name, make in NETWORKS.items()}


def batch(name, n=3, seed=1):
    generator = torch_generator(seed, "batch")
    if name in ("recurrent", "tied"):
        return torch.randint(20, (n, 5), generator=generator)
    shape = {"digits": (1, 8, 8), "residual": (6,), "resnet20": (3, 32, 32), "resnet18": (3, 32, 32),
             "mobilenet": (3, 32, 32)}.get(name, (4,))  # fmt: skip
    return torch.randn(n, *shape, generator=generator)


def moved(network, names, seed=2):
    generator = torch_generator(seed, "state")
    state = state_of(network, names)
    return {name: tensor + 0.1 * torch.rand(tensor.shape, generator=generator) for name, tensor in state.items()}


def loaded(network, state, x):
    """The oracle."""
    other = copy.deepcopy(network).eval()
    other.load_state_dict({**other.state_dict(), **state})
    with torch.no_grad():
        return other(x.clone())


CASES = [
    *((name, patterns, cached) for name, patterns, cached in [
        ("digits", ["head"], True),
        ("digits", ["bn2"], True),
        ("digits", ["conv1"], False),
        ("resnet20", ["conv1"], False),
        ("resnet20", ["norms"], True),
        ("resnet20", ["layer2.1.conv2"], True),
        ("resnet20", ["layer3.2", "linear.bias"], True),
        ("resnet18", ["conv1.weight"], False),
        ("resnet18", ["layer3.0.downsample.0"], True),
        ("resnet18", ["layer3.0.bn2"], True),
        ("resnet18", ["layer4"], True),
        ("resnet18", ["fc"], True),
        ("mobilenet", ["features.0.0"], False),
        ("mobilenet", ["features.9.conv.0.0"], True),
        ("mobilenet", ["norms"], True),
        ("mobilenet", ["head"], True),
        ("residual", ["stem"], False),
        ("residual", ["main"], True),
        ("residual", ["side"], True),
        ("residual", ["gain"], True),
        ("residual", ["head.bias"], True),
        ("branching", ["head"], False),
        ("overwriting", ["side"], False),
        ("overwriting", ["head"], True),
        ("frozen", ["scale"], False),
        ("writing", ["head"], True),
        ("writing", ["all"], True),
        ("recurrent", ["embedding"], False),
        ("recurrent", ["lstm"], True),
        ("recurrent", ["head"], True),
        ("tied", ["embedding"], False),
        ("tied", ["mixing"], True),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "patterns", "cached"), CASES)
def test_the_suffix_is_the_network_bit_for_bit(name, patterns, cached, networks):
    network = networks[name]
    suffix = Suffix(network, select(network, patterns))
    for size in (3, 2):  # the number of images is no part of the graph
        x = batch(name, size, seed=size)
        kept = x.clone()
        frontier = suffix.frontier(x)
        before = [tensor.clone() for tensor in frontier]
        for seed in range(2):
            state = moved(network, suffix.changed, seed)
            with torch.no_grad():
                logits = suffix(frontier, state)
            assert torch.equal(logits, loaded(network, state, x))
        assert torch.equal(x, kept)
        assert all(torch.equal(*pair) for pair in zip(frontier, before, strict=True))
        assert not any(tensor.requires_grad for tensor in frontier)
    assert suffix.cached is cached


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "mobilenet"])
def test_changed_running_statistics_count(name, networks):
    network = networks[name]
    for changed in (norm_statistics(network), norm_statistics(network)[-2:]):
        suffix = Suffix(network, changed)
        x = batch(name)
        state = moved(network, changed)
        with torch.no_grad():
            logits = suffix(suffix.frontier(x), state)
            assert not torch.allclose(logits, suffix(suffix.frontier(x), {}))
        assert torch.equal(logits, loaded(network, state, x))
        assert suffix.cached


def test_a_buffer_that_is_computed_with_before_it_meets_the_data_counts(networks):
    network = networks["residual"]
    suffix = Suffix(network, ["offset"])
    x = batch("residual")
    state = {"offset": torch.arange(8.0)}
    with torch.no_grad():
        assert torch.equal(suffix(suffix.frontier(x), state), loaded(network, state, x))
    assert suffix.cached


def test_a_state_of_some_of_the_tensors_leaves_the_others(networks):
    network = networks["resnet20"]
    suffix = Suffix(network, select(network, ["layer3", "head"]))
    x = batch("resnet20")
    frontier = suffix.frontier(x)
    state = moved(network, ["layer3.1.conv1.weight"])
    with torch.no_grad():
        assert torch.equal(suffix(frontier, state), loaded(network, state, x))
        assert torch.equal(suffix(frontier, {}), loaded(network, {}, x))


def test_nothing_of_the_frozen_part_runs_again(networks):
    network = networks["resnet18"]
    suffix = Suffix(network, select(network, ["head"]))
    frontier = suffix.frontier(batch("resnet18"))
    assert [tuple(tensor.shape) for tensor in frontier] == [(3, 512)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        suffix(frontier, {})
    assert counter.get_total_flops() == 2 * 3 * 512 * 1000


def test_sizes_are_read_from_what_is_kept(networks):
    """The input's size is read far behind it; no more than the input itself is kept for that."""
    network = networks["residual"]
    suffix = Suffix(network, select(network, ["head"]))
    shapes = sorted(tuple(tensor.shape) for tensor in suffix.frontier(batch("residual")))
    assert shapes == [(3, 8)]


def test_a_slice_does_not_keep_what_it_was_cut_from(networks):
    network = networks["recurrent"]
    suffix = Suffix(network, select(network, ["head"]))
    (hidden,) = suffix.frontier(batch("recurrent"))
    assert hidden.untyped_storage().nbytes() == 3 * 6 * 4


def test_tensors_under_their_other_names(networks):
    network = networks["tied"]
    x = batch("tied")
    for name in ("head.weight", "embedding.weight"):
        suffix = Suffix(network, [name])
        value = torch.rand(20, 8, generator=torch_generator(3, "tied"))
        with torch.no_grad():
            logits = suffix(suffix.frontier(x), {name: value})
        assert torch.equal(logits, loaded(network, {"head.weight": value, "embedding.weight": value}, x))


def test_a_tensor_the_network_never_reads_changes_nothing():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    network.unused = nn.Linear(2, 2)
    network.forward = lambda x: network[1](network[0](x))
    suffix = Suffix(network, ["unused.weight"])
    x = torch.randn(2, 3, generator=torch_generator(0, "x"))
    with torch.no_grad():
        assert torch.equal(suffix(suffix.frontier(x), {"unused.weight": torch.ones(2, 2)}), network(x))


def test_gradients_reach_the_state(networks):
    network = networks["digits"]
    suffix = Suffix(network, select(network, ["head"]))
    x = batch("digits")
    state = moved(network, suffix.changed)
    for tensor in state.values():
        tensor.requires_grad_()
    functional.cross_entropy(suffix(suffix.frontier(x), state), torch.tensor([0, 1, 2])).backward()
    other = copy.deepcopy(network).eval()
    other.load_state_dict({**other.state_dict(), **state})
    functional.cross_entropy(other(x), torch.tensor([0, 1, 2])).backward()
    torch.testing.assert_close(state["linear.weight"].grad, other.linear.weight.grad)


def test_the_network_keeps_its_modes_tensors_and_attributes(networks):
    for name in ("residual", "resnet20", "frozen"):
        network = networks[name]
        network.train()
        before, attributes = state_of(network), set(vars(network))
        counters = {n: b.clone() for n, b in network.named_buffers()}
        suffix = Suffix(network, select(network, ["head"]))
        suffix(suffix.frontier(batch(name)), moved(network, suffix.changed))
        assert all(module.training for module in network.modules())
        assert all(torch.equal(tensor, before[n]) for n, tensor in state_of(network).items())
        assert all(torch.equal(b, counters[n]) for n, b in network.named_buffers())
        assert set(vars(network)) == attributes


def test_it_works_in_inference_mode(networks):
    network = networks["resnet18"]
    suffix = Suffix(network, select(network, ["layer4.1.bn2"]))
    x = batch("resnet18")
    state = moved(network, suffix.changed)
    with torch.inference_mode():
        logits = suffix(suffix.frontier(x.clone()), state)
    assert suffix.cached
    assert torch.equal(logits, loaded(network, state, x))


def test_it_can_be_pickled(networks):
    network = networks["resnet20"]
    suffix = Suffix(network, select(network, ["head"]))
    x = batch("resnet20")
    state = moved(network, suffix.changed)
    copied = pickle.loads(pickle.dumps(suffix))  # noqa: S301
    with torch.no_grad():
        assert torch.equal(copied(copied.frontier(x), state), suffix(suffix.frontier(x), state))


def test_strange_tensors_are_refused(networks):
    network = networks["digits"]
    with pytest.raises(UsageError, match=r"no tensor 'linear\.wieght'"):
        Suffix(network, ["linear.wieght"])
    suffix = Suffix(network, ["linear.weight"])
    frontier = suffix.frontier(batch("digits"))
    with pytest.raises(UsageError, match=r"changes 'conv1\.weight'"):
        suffix(frontier, {"conv1.weight": network.conv1.weight})
