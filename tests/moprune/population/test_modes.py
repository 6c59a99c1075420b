"""Start weights of the cheap modes, against autograd written out and plain masked forward passes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from moprune.errors import MopruneError
from moprune.networks.heads import ACTIVATIONS, Connections, HeadSpec, initial_weights
from moprune.population import Training, TrainingSet, fit_heads
from moprune.population.modes import abridged, dense_weights, masked_logits, shared_weights

SPECS = [
    HeadSpec(6, (), 3),
    HeadSpec(6, (5,), 3),
    HeadSpec(6, (5, 4), 3, "tanh", hidden_bias=True),
]


def blobs(spec, images=40):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % spec.classes
    centres = torch.randn(spec.classes, spec.features, generator=generator)
    return TrainingSet(centres[labels] + torch.randn(images, spec.features, generator=generator), labels)


def unit_masks(spec):
    return lambda generator: tuple(torch.rand(width, generator=generator) < 0.6 for width in spec.units)


def edge_masks(spec):
    shape = initial_weights(spec, 0).matrices[0].shape
    return lambda generator: Connections(spec, 0, torch.rand(shape, generator=generator) < 0.6)


def same(first, second):
    pairs = zip((*first.matrices, *first.biases), (*second.matrices, *second.biases), strict=True)
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("epochs", "expected"), [(0, 0), (1, 1), (5, 1), (6, 2), (30, 6), (60, 12), (600, 120)])
def test_a_fifth_of_the_epochs(epochs, expected):
    training = Training(epochs=epochs, learning_rate=0.3)
    assert abridged(training) == replace(training, epochs=expected)


@pytest.mark.parametrize("spec", SPECS)
def test_dense_weights_are_those_of_a_dense_module(spec):
    data, start = blobs(spec), initial_weights(spec, 1)
    training = Training(epochs=4, batch_size=7, learning_rate=0.1, weight_decay=0.0)
    layers = []
    for matrix, bias in zip(start.matrices, start.biases, strict=True):
        layer = nn.Linear(*matrix.shape, bias=bias is not None)
        layer.weight.data = matrix.T.clone()
        if bias is not None:
            layer.bias.data = bias.clone()
        layers += [layer, ACTIVATIONS[spec.activation]()]
    network = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for epoch in range(1, 5):
        for batch in training.batches(len(data.labels), epoch, 3, torch.device("cpu")):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(data.features[batch]), data.labels[batch]).backward()
            optimizer.step()
    for strategy in ("loop", "stacked"):
        weights = dense_weights(spec, data, start, training, seed=3, strategy=strategy)
        for found, layer in zip(weights.matrices, layers[::2], strict=True):
            assert torch.allclose(found, layer.weight.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [unit_masks, edge_masks])
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_shared_weights_without_training_predict_as_a_masked_forward_pass(strategy, spec, kind):
    data, draw = blobs(spec), kind(spec)
    weights = shared_weights(spec, draw, data, initial_weights(spec, 1), Training(epochs=3), seed=2)
    generator = torch.Generator().manual_seed(5)
    masks = [draw(generator) for _ in range(4)]
    fitted = fit_heads(
        spec, masks, data, weights, Training(epochs=0), then=lambda h: h.logits(data.features), seed=0,
        strategy=strategy,
    )  # fmt: skip
    activation = ACTIVATIONS[spec.activation]()
    for found, candidate in zip(fitted, masks, strict=True):
        y = data.features * candidate[0]
        for layer, (matrix, bias) in enumerate(zip(weights.matrices, weights.biases, strict=True)):
            matrix = matrix * candidate.on if isinstance(candidate, Connections) and layer == 0 else matrix
            y = y @ matrix + (0 if bias is None else bias)
            if layer + 1 < len(weights.matrices):
                y = activation(y) * candidate[layer + 1]
        assert torch.allclose(found, y, rtol=0, atol=1e-5)
        assert torch.allclose(masked_logits(spec, weights, candidate, data.features), y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_shared_weights_with_nothing_masked_are_dense_weights(nesterov):
    """Both halves of a step are then the same head; so is its rule of momentum, decay and weight decay."""
    spec = SPECS[2]
    training = Training(epochs=5, batch_size=7, learning_rate=0.1, nesterov=nesterov, decay=0.05, weight_decay=0.1)
    arguments = (blobs(spec), initial_weights(spec, 1), training)
    shared = shared_weights(spec, lambda _: spec.all_on(), *arguments, seed=3)
    dense = dense_weights(spec, *arguments, seed=3)
    for a, b in zip((*shared.matrices, *shared.biases), (*dense.matrices, *dense.biases), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-5)


def test_one_step_of_shared_weights_follows_the_mean_loss_of_the_whole_and_a_masked_head():
    """The gradient by central differences in double precision, for one full-batch step without momentum."""
    spec, on = HeadSpec(3, (), 2), (torch.tensor([True, False, True]),)
    data, start = blobs(spec, 10), initial_weights(spec, 1)
    training = Training(epochs=1, batch_size=10, learning_rate=0.5, momentum=0.0, weight_decay=0.0)
    weights = shared_weights(spec, lambda _: on, data, start, training, seed=0)
    x, matrix = data.features.double(), start.matrices[0].double()

    def loss(matrix):
        losses = [nn.functional.cross_entropy((x * m) @ matrix, data.labels) for m in (torch.ones(3), on[0])]
        return sum(losses) / 2

    for i in range(3):
        for j in range(2):
            step = torch.zeros(3, 2).double()
            step[i, j] = 1e-5
            slope = (loss(matrix + step) - loss(matrix - step)) / 2e-5
            assert float(weights.matrices[0][i, j]) == pytest.approx(float(matrix[i, j] - 0.5 * slope), abs=1e-5)


def test_shared_weights_repeat_themselves_and_follow_the_seed():
    spec = SPECS[1]
    data, start = blobs(spec), initial_weights(spec, 1)
    first, again, other = (
        shared_weights(spec, unit_masks(spec), data, start, Training(epochs=2), seed=seed) for seed in (1, 1, 2)
    )
    assert same(first, again)
    assert not same(first, other)
    assert same(start, initial_weights(spec, 1)), "the initial weights were changed"
    assert not any(m.requires_grad for m in first.matrices)


def test_weights_of_one_mode_can_start_the_other():
    """What comes out of training are inference tensors, which autograd refuses as they are."""
    spec = SPECS[1]
    data, training = blobs(spec), Training(epochs=2)
    dense = dense_weights(spec, data, initial_weights(spec, 1), training, seed=0)
    shared = shared_weights(spec, unit_masks(spec), data, dense, training, seed=0)
    assert not same(dense, shared)


def test_start_weights_that_diverged_are_an_error():
    spec = SPECS[1]
    arguments = (blobs(spec), initial_weights(spec, 1), Training(epochs=5, learning_rate=1e30))
    with pytest.raises(MopruneError, match="diverged"):
        dense_weights(spec, *arguments, seed=0)
    with pytest.raises(MopruneError, match="diverged"):
        shared_weights(spec, unit_masks(spec), *arguments, seed=0)
