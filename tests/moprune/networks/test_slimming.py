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
        (lambda: cifar_resnet(20), 32, 32, "layer2"),
        (lambda: torchvision.models.mobilenet_v3_small(), 64, 1024, None),
    ],
    ids=["cifar", "basic", "bottleneck", "mobile", "named", "middle", "connected"],
)
def test_the_slimmed_network_is_smaller_and_equal(build, size, width, features):
    x = images(2, 3, size, size)
    network = pruned(randomise(build()), x, range(0, width, 7), features)
    smaller = slim(network, x)
    other = images(3, 3, size, size) * 2
    with torch.no_grad():
        torch.testing.assert_close(smaller(other), network(other), rtol=1e-4, atol=1e-4)
    # Each channel less is at least the weights of one 1 x 1 convolution less; of few inputs in these networks.
    assert parameters(smaller) <= parameters(network) - 32 * (width - len(range(0, width, 7)))


def test_flattened_maps_lose_the_channels_none_of_whose_pixels_is_read():
    x = images(2, 1, 8, 8)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(24, 2)
    )
    cut = slim(pruned(randomise(network), x, [0, 3, 9, 21]), x)  # channels 0, 2 and 5, four pixels each
    assert next(m for m in cut.modules() if isinstance(m, nn.Conv2d)).out_channels == 3
    with torch.no_grad():
        torch.testing.assert_close(cut(x), pruned(network, x, [0, 3, 9, 21])(x))


@pytest.mark.parametrize("features", ["5", "6", "8"], ids=["convolution", "normalisation", "pooled"])
def test_features_may_be_taken_from_any_module_past_the_layer(features):
    x = images(2, 1, 8, 8)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 1), nn.ReLU(),
        nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 2),
    )  # fmt: skip
    whole = pruned(randomise(network), x, [1, 4], features)
    smaller = slim(whole, x)
    assert smaller.get_submodule("backbone.5").out_channels == 2
    assert smaller.get_submodule("backbone.3").out_channels == 6
    with torch.no_grad():
        torch.testing.assert_close(smaller(x), whole(x))


def test_of_a_head_that_reads_nothing_one_channel_stays():
    x = images(2, 3, 32, 32)
    network = pruned(cifar_resnet(20), x, [])
    smaller = slim(network, x)
    assert parameters(smaller) == parameters(network) - 63 * (64 * 9 + 2)
    with torch.no_grad():
        torch.testing.assert_close(smaller(x), network(x))


def test_nothing_to_cut_leaves_an_equal_copy():
    x = images(2, 3, 32, 32)
    network = pruned(cifar_resnet(20), x, range(64))
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


def test_fully_connected_layers_lose_their_outputs():
    x = images(4, 1, 4, 4)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))
    whole = pruned(dense, x, [1, 3])
    assert parameters(whole) - parameters(slim(whole, x)) == 3 * (16 + 1 + 2)
    with torch.no_grad():
        torch.testing.assert_close(slim(whole, x)(x), whole(x))


def test_a_network_without_a_layer_before_its_head_or_without_a_pruned_head_is_left_alone():
    x = images(2, 1, 4, 4)
    bare = pruned(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), x, [1, 3])
    assert parameters(slim(bare, x)) == parameters(bare)
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)).eval()
    assert parameters(slim(plain, x)) == parameters(plain)


def test_the_network_that_was_given_stays_as_it_was():
    x = images(2, 3, 32, 32)
    network = pruned(cifar_resnet(20), x, [1, 2]).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    slim(network, x)
    assert network.training
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_head_whose_training_diverged_is_slimmed_like_any_other():
    x = images(2, 3, 32, 32)
    network = pruned(cifar_resnet(20), x, [1, 2])
    list(network.parameters())[-1].data.fill_(torch.nan)
    assert parameters(slim(network, x)) == parameters(network) - 62 * (64 * 9 + 2)
