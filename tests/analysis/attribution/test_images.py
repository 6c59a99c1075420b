import pytest
import torch
from torch import nn

from analysis.attribution.images import Explained, NoMapsError, enlarged
from moprune.errors import UsageError
from moprune.networks.assembly import with_head
from moprune.networks.digits import DigitsNet
from moprune.networks.features import FeatureExtractor
from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights


def head(features, kept=None, hidden=(), classes=3):
    spec = HeadSpec(features, hidden, classes)
    masks = spec.all_on()
    if kept is not None:
        masks = (torch.tensor([i in kept for i in range(features)]), *masks[1:])
    return TrainedHead(spec, masks[0].nonzero()[:, 0], initial_weights(spec, 0).compact(masks), 1).module()


class TwoChannels(nn.Module):
    """Two convolution channels, the image and its negative, averaged: each feature's map is known."""

    def __init__(self, inplace=False):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        self.relu = nn.ReLU(inplace=inplace)
        self.fc = nn.Linear(2, 5)

    def forward(self, x):
        return self.fc(self.relu(self.conv(x)).mean((2, 3)))


def spot():
    images = torch.zeros(2, 1, 6, 6)
    images[0, 0, 1, 4] = 1.0
    images[1, 0, 3, 2] = 2.0
    return images


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("features", [None, "relu"])
def test_a_feature_looks_where_its_channel_is_active(inplace, features):
    network = with_head(FeatureExtractor(TwoChannels(inplace), features=features), head(2))
    maps = Explained(network, spot()).units(spot(), 0, 0)
    # Grad-CAM by hand: the mean gradient of the mean over 36 active pixels, times the channel.
    on = (spot()[:, 0] > 0).float().mean((1, 2)) / 36
    torch.testing.assert_close(maps.values, spot()[:, 0] * on[:, None, None])


def test_units_are_counted_among_those_kept():
    network = with_head(FeatureExtractor(TwoChannels()), head(2, kept={1}))
    negative = -spot()
    maps = Explained(network, negative).units(negative, 0, 0)
    assert torch.equal(maps.values.flatten(1).argmax(1), spot().flatten(1).argmax(1))


def test_a_pruned_feature_leaves_no_trace_in_the_class_maps():
    network = with_head(FeatureExtractor(TwoChannels()), head(2, kept={1}))
    assert not Explained(network, spot()).classes(spot(), torch.tensor([0, 1])).values.any()


@pytest.mark.parametrize("features", [None, "relu3", "conv2"])
def test_digits_give_maps_of_the_size_of_their_images(features):
    extractor = FeatureExtractor(DigitsNet(4), features=features)
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    width = extractor(images).shape[1]
    explained = Explained(with_head(extractor, head(width, hidden=(6,))), images)
    assert explained.layer == {None: "conv3", "relu3": "backbone.conv3", "conv2": "backbone.conv2"}[features]
    for maps in (explained.classes(images), explained.units(images, 1, 2)):
        assert maps.values.shape == (3, 8, 8)
        assert maps.values.min() >= 0
        assert torch.equal(maps.values, enlarged(maps.cells, (8, 8)))
    assert explained.classes(images).values.any()


def test_the_network_given_is_left_alone():
    network = with_head(FeatureExtractor(TwoChannels(inplace=True)), head(2))
    before = torch.random.get_rng_state()
    first = Explained(network, spot()).classes(spot())
    assert network.relu.inplace
    assert not network.relu._forward_hooks
    assert torch.equal(first.values, Explained(network, spot()).classes(spot()).values)
    assert torch.equal(before, torch.random.get_rng_state())


def test_constant_images_give_finite_maps():
    network = with_head(FeatureExtractor(DigitsNet(4)), head(128))
    images = torch.full((2, 1, 8, 8), 0.5)
    assert Explained(network, images).classes(images).values.isfinite().all()


def test_a_network_without_convolution_is_refused():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, 3))
    with pytest.raises(NoMapsError, match="no convolution"):
        Explained(with_head(FeatureExtractor(network), head(10)), torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize(("layer", "message"), [("conv9", "conv3"), ("linear", "no maps"), ("linear.1", "no maps")])
def test_a_layer_without_maps_is_refused(layer, message):
    network = with_head(FeatureExtractor(DigitsNet(4)), head(128))
    with pytest.raises(UsageError, match=message):
        Explained(network, torch.rand(2, 1, 8, 8), layer=layer)


def test_images_it_does_not_take_are_refused():
    network = with_head(FeatureExtractor(DigitsNet(4)), head(128))
    with pytest.raises(UsageError, match="does not take images"):
        Explained(network, torch.rand(2, 3, 8, 8))


def test_gradients_reach_the_images_but_features_have_none():
    extractor = FeatureExtractor(DigitsNet(4), features="relu3")
    images = torch.rand(2, 1, 8, 8, requires_grad=True)
    with_head(extractor, head(32))(images).sum().backward()
    assert images.grad is not None
    assert images.grad.any()
    assert not extractor(images).requires_grad
