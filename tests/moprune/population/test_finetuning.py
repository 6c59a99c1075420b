"""Fine-tuning against gradients and updates written out, at the edges, and as a law."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from moprune.errors import UsageError
from moprune.networks.selection import state_of
from moprune.population.finetuning import Recipe, finetune, flip_crop
from moprune.seeding import torch_generator

PLAIN = Recipe(learning_rate=0.1, weight_decay=0.01, epochs=4, batch_size=100)


def linear(features=3, classes=3):
    network = nn.Sequential(nn.Linear(features, classes))
    with torch.no_grad():
        network[0].weight.copy_(torch.linspace(-1, 1, features * classes).reshape(classes, features))
        network[0].bias.copy_(torch.linspace(0.5, -0.5, classes))
    return network


def points(count=12, features=3, classes=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, features, generator=generator), torch.arange(count) % classes


def with_norms():
    """Convolutions, each with batch normalisation, and a head behind dropout."""
    generator = torch.Generator().manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3),
    )  # fmt: skip
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval()


def small_images(count=10):
    return torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(2)), torch.arange(count) % 3


def descend_by_hand(inputs, labels, recipe, rates):
    """Full-batch descent of softmax regression by formulas, momentum and decay as torch defines them."""
    network = linear()
    weight, bias = network[0].weight.detach().double(), network[0].bias.detach().double()
    speeds = [torch.zeros_like(weight), torch.zeros_like(bias)]
    truth = functional.one_hot(labels, 3).double() * (1 - recipe.label_smoothing) + recipe.label_smoothing / 3
    for rate in rates:
        residual = ((inputs.double() @ weight.T + bias).softmax(1) - truth) / len(labels)
        slopes = [residual.T @ inputs.double(), residual.sum(0)]
        for i, (tensor, slope) in enumerate(zip((weight, bias), slopes, strict=True)):
            speeds[i] = recipe.momentum * speeds[i] + slope + recipe.weight_decay * tensor
        weight, bias = weight - rate * speeds[0], bias - rate * speeds[1]
    return weight, bias


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0]),
        ("cosine", [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        ("triangle", [0.01, 0.505, 1.0, 0.505]),
    ],
)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_steps_are_those_of_the_formulas(schedule, factors, smoothing):
    inputs, labels = points()
    recipe = replace(PLAIN, schedule=schedule, label_smoothing=smoothing)
    (state,) = finetune(linear(), inputs, labels, recipe, seed=0)
    weight, bias = descend_by_hand(inputs, labels, recipe, [0.1 * factor for factor in factors])
    torch.testing.assert_close(state["0.weight"].double(), weight, atol=1e-6, rtol=0)
    torch.testing.assert_close(state["0.bias"].double(), bias, atol=1e-6, rtol=0)


def test_checkpoints_are_the_last_epochs():
    inputs, labels = points()
    recipe = replace(PLAIN, schedule="constant")
    last = finetune(linear(), inputs, labels, recipe, seed=0, checkpoints=3)
    assert len(last) == 3
    for epochs, state in zip((2, 3, 4), last, strict=True):
        (alone,) = finetune(linear(), inputs, labels, replace(recipe, epochs=epochs), seed=0)
        assert all(torch.equal(alone[name], state[name]) for name in alone)


def test_neither_the_network_nor_the_global_generator_is_touched():
    network, (inputs, labels) = with_norms().requires_grad_(False), small_images()
    before, random_state = state_of(network), torch.get_rng_state()
    (first,) = finetune(network, inputs, labels, replace(PLAIN, batch_size=4), seed=5)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in state_of(network).items())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    (again,) = finetune(network, inputs, labels, replace(PLAIN, batch_size=4), seed=5)
    (other,) = finetune(network, inputs, labels, replace(PLAIN, batch_size=4), seed=6)
    assert first.keys() == again.keys() == other.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("trained", "moving"),
    [
        (["7.weight", "7.bias"], set()),
        (["3.weight"], {"4.running_mean", "4.running_var"}),
        (["4.weight"], {"4.running_mean", "4.running_var"}),
        (["0.bias"], {"1.running_mean", "1.running_var", "4.running_mean", "4.running_var"}),
    ],
)
def test_only_what_is_trained_changes_and_statistics_behind_it(trained, moving):
    (state,) = finetune(with_norms(), *small_images(), PLAIN, trainable=trained, seed=0)
    assert state.keys() == {*trained, *moving}


def test_a_step_in_batch_statistics_is_that_of_autograd():
    network, (inputs, labels) = with_norms(), small_images()
    (state,) = finetune(network, inputs, labels, replace(PLAIN, epochs=1, weight_decay=0), seed=0)
    expected = copy.deepcopy(network).train()
    expected[6].eval()  # dropout
    slopes = torch.autograd.grad(functional.cross_entropy(expected(inputs), labels), list(expected.parameters()))
    for (name, parameter), slope in zip(expected.named_parameters(), slopes, strict=True):
        # A bias before a normalisation has no gradient, and may not have changed.
        assert torch.allclose(state.get(name, parameter), parameter - 0.1 * slope, atol=1e-5)
    for name in ("1.running_mean", "4.running_var"):
        torch.testing.assert_close(state[name], expected.state_dict()[name])


def test_mixup_is_the_loss_of_mixed_images_by_their_shares():
    """With alpha so large that every share is a half, and two images, the two mixed ones are the same."""
    inputs, labels = points(2)
    for seed in range(8):
        (state,) = finetune(linear(), inputs, labels, replace(PLAIN, epochs=1, weight_decay=0, mixup=1e12), seed=seed)
        start = linear()
        plain = functional.cross_entropy(start(inputs), labels)
        mean = inputs.mean(0, keepdim=True).repeat(2, 1)
        mixed = (
            functional.cross_entropy(start(mean), labels) + functional.cross_entropy(start(mean), labels.flip(0))
        ) / 2
        steps = []
        for loss in (plain, mixed):
            (slope,) = torch.autograd.grad(loss, start[0].weight, retain_graph=True)
            steps.append((state["0.weight"] - (start[0].weight - 0.1 * slope)).abs().max().item())
        assert min(steps) < 1e-5  # the partner is oneself, or the other
        if steps[1] < 1e-5:
            return
    pytest.fail("no two images were ever mixed")


def test_tokens_and_recurrent_layers_train():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(5, 4)
            self.lstm = nn.LSTM(4, 4, num_layers=2, dropout=0.5, batch_first=True)
            self.linear = nn.Linear(4, 2)

        def forward(self, x):
            return self.linear(self.lstm(self.embedding(x))[1][0][-1])

    network = Words()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    tokens = torch.randint(5, (40, 6), generator=generator)
    labels = (tokens[:, -1] > 2).long()
    recipe = Recipe(learning_rate=0.3, epochs=30, batch_size=10)
    (state,) = finetune(network, tokens, labels, recipe, seed=0)
    (again,) = finetune(network, tokens, labels, recipe, seed=0)
    assert all(torch.equal(state[name], again[name]) for name in state)
    before = functional.cross_entropy(network.eval()(tokens), labels)
    network.load_state_dict(state)
    assert functional.cross_entropy(network(tokens), labels) < before / 3
    with pytest.raises(UsageError, match="set mixup to 0"):
        finetune(network, tokens, labels, replace(recipe, mixup=0.2), seed=0)
    with pytest.raises(UsageError, match="set augment to none"):
        finetune(network, tokens, labels, replace(recipe, augment="flip_crop"), seed=0)


@given(count=st.integers(1, 6), height=st.integers(1, 24), width=st.integers(1, 24), seed=st.integers(0, 99))
def test_flip_crop_is_padding_slicing_and_mirroring(count, height, width, seed):
    images = torch.rand(count, 2, height, width, generator=torch.Generator().manual_seed(seed)) + 1
    found = flip_crop(images, torch_generator(seed))
    down, right = height // 8, width // 8
    padded = functional.pad(images, (right, right, down, down))
    for image, result in zip(padded, found, strict=True):
        possible = [
            image[:, i : i + height, j : j + width] for i in range(2 * down + 1) for j in range(2 * right + 1)
        ]  # fmt: skip
        possible += [crop.flip(2) for crop in possible]
        assert any(torch.equal(result, crop) for crop in possible)


def test_flip_crop_draws_every_shift_and_flip_alike():
    image = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8)
    found = flip_crop(image.expand(9000, 1, 8, 8), torch_generator(0))
    _, counts = found.flatten(1).unique(dim=0, return_counts=True)
    assert len(counts) == 2 * 3 * 3
    # Each of 18 outcomes has 500 expected; five standard deviations are 109.
    assert counts.min() > 391
    assert counts.max() < 609


def test_every_image_is_seen_once_an_epoch_in_batches_of_even_size():
    sizes, seen = [], []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 2)

        def forward(self, x):
            if self.linear.weight.requires_grad:
                sizes.append(len(x))
                seen.append(x.detach().flatten())
            return self.linear(x)

    network = Spy()
    inputs = torch.arange(11.0).reshape(11, 1) / 11
    finetune(network, inputs, torch.arange(11) % 2, replace(PLAIN, epochs=2, batch_size=5), seed=0)
    assert sizes == [4, 4, 3] * 2
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    assert torch.equal(first.sort().values, inputs.flatten())
    assert torch.equal(second.sort().values, inputs.flatten())
    assert not torch.equal(first, second)


def test_epochs_are_reported():
    heard = []
    finetune(linear(), *points(), PLAIN, seed=0, on_epoch=lambda done, of: heard.append((done, of)))
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(5, dtype=torch.int64)}, "12 inputs with 5 labels"),
        ({"checkpoints": 5}, "5 checkpoints of 4 epochs"),
        ({"checkpoints": 0}, "0 checkpoints of 4 epochs"),
        ({"trainable": ["0.wieght"]}, "no parameter '0.wieght'"),
        ({"trainable": []}, "no parameter is to be trained"),
        ({"recipe": replace(PLAIN, augment="flip_crop")}, "flip_crop is for images"),
        ({"recipe": replace(PLAIN, learning_rate=1e30, epochs=9)}, "diverged in epoch .*; use a smaller one"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    inputs, labels = points()
    given = {"network": linear(), "inputs": inputs, "labels": labels, "recipe": PLAIN, "seed": 0, **change}
    with pytest.raises(UsageError, match=message):
        finetune(**given)
