import pickle

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from moprune.errors import UsageError
from moprune.networks import FeatureExtractor, SlimmedCosts, cifar_resnet, flops, latency, parameters
from moprune.networks.assembly import with_head
from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights
from moprune.networks.slimming import slim
from moprune.seeding import torch_generator


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


def vgg_flattened() -> nn.Module:
    """512 maps of 2 x 2 pixels, flattened: four features a channel."""
    return nn.Sequential(torchvision.models.vgg11().features, nn.Flatten(), nn.Linear(2048, 10))


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 7, 3, stride=2), nn.Tanh(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(7, 4),
    )  # fmt: skip


def narrow_vgg() -> nn.Module:
    """vgg11 with a smaller fully connected end, from which its features come."""
    network = torchvision.models.vgg11()
    network.classifier = nn.Sequential(nn.Linear(25088, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4))
    return network


CASES = {
    "cifar": (lambda: cifar_resnet(20), 32, None),
    "mobile": (torchvision.models.mobilenet_v2, 32, None),
    "resnet18": (torchvision.models.resnet18, 32, None),
    "flattened": (vgg_flattened, 64, None),
    "connected": (narrow_vgg, 32, None),
    "plain": (plain, 16, None),
    "named": (lambda: cifar_resnet(20), 32, "layer2"),
    "unknown": (lambda: torchvision.models.regnet_y_400mf(), 32, None),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[FeatureExtractor, HeadSpec, torch.Tensor, SlimmedCosts]:
    build, size, features = CASES[request.param]
    extractor = FeatureExtractor(build().eval(), features=features)
    example = torch.randn(2, 3, size, size, generator=torch_generator(0, "images"))
    spec = HeadSpec(extractor(example).shape[1], (6, 4), 3, hidden_bias=True)
    return extractor, spec, example, SlimmedCosts.of(extractor, spec, example)


def masks_of(spec: HeadSpec, density: float, seed: int) -> tuple[torch.Tensor, ...]:
    generator = torch_generator(seed, "masks")
    return tuple(torch.rand(width, generator=generator) < density for width in spec.units)


@pytest.mark.parametrize("density", [0.0, 0.002, 0.05, 0.4, 1.0])
def test_costs_are_those_of_networks_that_are_really_slimmed(case, density) -> None:
    extractor, spec, example, costs = case
    masks = masks_of(spec, density, seed=3)
    kept = masks[0].nonzero()[:, 0]
    head = TrainedHead(spec, kept, initial_weights(spec, 0).compact(masks), 0)
    slimmed = slim(with_head(extractor, head.module()), example)
    expected = {"parameters": parameters(slimmed), "flops": flops(slimmed, example)}
    assert costs.costs(kept, head.widths) == expected
    if density == 1:
        assert costs.largest == expected


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), density=st.floats(0, 1), thinner=st.floats(0, 1))
def test_a_head_that_reads_less_never_costs_more(seed: int, density: float, thinner: float) -> None:
    costs = SlimmedCosts(HeadSpec(24, (5,), 3), 4, {"parameters": 100, "flops": 700}, {"parameters": 9, "flops": 11})
    more = masks_of(costs.spec, density, seed)
    less = tuple(a & b for a, b in zip(more, masks_of(costs.spec, thinner, seed + 1), strict=True))
    of_more, of_less = (costs.costs(m[0].nonzero()[:, 0], [int(each.sum()) for each in m]) for m in (more, less))
    assert all(of_less[name] <= of_more[name] <= costs.largest[name] for name in of_more)


def test_the_costs_can_be_kept_with_the_problem_they_belong_to() -> None:
    costs = SlimmedCosts(HeadSpec(4, (), 2), 1, {"parameters": 1, "flops": 2}, {"parameters": 3, "flops": 4})
    assert pickle.loads(pickle.dumps(costs)) == costs  # noqa: S301


class Uneven(nn.Module):
    """Its last layer is read in pairs, which the cut of a half respects and the cut to one channel does not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x.mean((2, 3)))
        return torch.as_tensor(self.head(torch.cat([y[:, :2] * 1.0, y[:, 2:]], 1) if y.shape[1] > 1 else y[:, :0]))


def test_costs_that_do_not_grow_evenly_are_refused() -> None:
    extractor = FeatureExtractor(Uneven().eval())
    with pytest.raises(UsageError, match="leave out the objectives parameters and flops"):
        SlimmedCosts.of(extractor, HeadSpec(8, (4,), 2), torch.randn(2, 3, 4, 4))


def test_latency_counts_the_timed_passes_on_one_thread_and_leaves_no_trace() -> None:
    seen = []

    class Watched(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((self.training, torch.get_num_threads(), torch.is_inference_mode_enabled(), len(x)))
            return x

    network = Watched().train()
    torch.set_num_threads(2)
    assert latency(network, torch.zeros(5, 1), repeats=4) > 0
    assert len(seen) > 4
    assert set(seen) == {(False, 1, True, 5)}
    assert (network.training, torch.get_num_threads()) == (True, 2)


def test_latency_wants_a_repeat() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        latency(nn.Flatten(), torch.zeros(1, 1), repeats=0)
