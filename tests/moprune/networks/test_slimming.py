import logging

import pytest
import torch
import torchvision
from torch import nn

from moprune.networks import FeatureExtractor, cifar_resnet, parameters
from moprune.networks.assembly import with_head
from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights
from moprune.networks.slimming import slim
from moprune.seeding import torch_generator


def pruned(network, example, keep, features=None):
    """A network with an untrained head that reads the features ``keep`` alone."""
    extractor = FeatureExtractor(network.eval(), features=features)
    width = extractor(example).shape[1]
    spec = HeadSpec(width, (8,), 3)
    mask = torch.zeros(width, dtype=torch.bool)
    mask[torch.as_tensor(keep, dtype=torch.int64)] = True
    weights = initial_weights(spec, 0).compact((mask, torch.ones(8, dtype=torch.bool)))
    return with_head(extractor, TrainedHead(spec, mask.nonzero()[:, 0], weights, 0).module())


def images(*shape):
    return torch.randn(*shape, generator=torch_generator(0, "images"))


def randomise(network):
    """Batch normalisations that do nothing would hide a cut in the wrong place."""
    generator = torch_generator(1, "normalisation")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network


@pytest.mark.parametrize(
    ("build", "size", "width", "features"),
    [
        (lambda: cifar_resnet(20), 32, 64, None),
        (lambda: torchvision.models.resnet18(), 64, 512, None),
        (lambda: torchvision.models.resnet50(), 64, 2048, None),
        (lambda: torchvision.models.mobilenet_v2(), 64, 1280, None),
        (lambda: torchvision.models.mobilenet_v2(), 64, 1280, "features"),
    ],
    ids=["cifar", "basic", "bottleneck", "mobile", "named"],
)
def test_the_slimmed_network_is_smaller_and_equal(build, size, width, features):
    x = images(2, 3, size, size)
    network = pruned(randomise(build()), x, range(0, width, 7), features)
    smaller = slim(network, x)
    other = images(3, 3, size, size) * 2
    with torch.no_grad():
        torch.testing.assert_close(smaller(other), network(other), rtol=1e-4, atol=1e-4)
    last = [m for m in network.modules() if isinstance(m, nn.Conv2d)][-1]
    assert parameters(smaller) <= parameters(network) - last.weight[0].numel() * (width - len(range(0, width, 7)))


def test_flattened_maps_lose_the_channels_none_of_whose_pixels_is_read():
    x = images(2, 1, 8, 8)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(24, 2)
    )
    cut = slim(pruned(randomise(network), x, [0, 3, 9, 21]), x)  # channels 0, 2 and 5, four pixels each
    assert next(m for m in cut.modules() if isinstance(m, nn.Conv2d)).out_channels == 3
    with torch.no_grad():
        torch.testing.assert_close(cut(x), pruned(network, x, [0, 3, 9, 21])(x))


@pytest.mark.parametrize("keep", [[], list(range(64))], ids=["none", "all"])
def test_nothing_to_cut_leaves_an_equal_copy(keep):
    x = images(2, 3, 32, 32)
    network = pruned(cifar_resnet(20), x, keep)
    same = slim(network, x)
    assert same is not network
    assert parameters(same) == parameters(network)
    with torch.no_grad():
        torch.testing.assert_close(same(x), network(x))


def test_a_structure_it_does_not_know_is_found_out_and_left_whole(caplog):
    x = images(2, 3, 64, 64)
    network = pruned(torchvision.models.regnet_y_400mf(), x, range(0, 440, 5))
    with caplog.at_level(logging.WARNING):
        same = slim(network, x)
    assert "stays whole" in caplog.text
    assert parameters(same) == parameters(network)
    with torch.no_grad():
        torch.testing.assert_close(same(x), network(x))


def test_a_network_without_convolution_or_without_a_pruned_head_is_left_alone():
    x = images(2, 1, 4, 4)
    dense = pruned(nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 2)), x, [1, 3])
    assert parameters(slim(dense, x)) == parameters(dense)
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)).eval()
    assert parameters(slim(plain, x)) == parameters(plain)
