"""Attacks against FGSM, PGD and ODIN's perturbation written out with autograd, and against captum's own PGD."""

import warnings

import pytest
import torch
from captum.robust import PGD
from torch import nn
from torch.nn import functional

from moprune.errors import UsageError
from moprune.networks.attacks import Attack, fgsm, from_pixels, odin_perturbation, pgd, pixels
from moprune.networks.preprocess import Preprocess


def net(scale=1.0, seed=0):
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3))
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data = scale * torch.randn(parameter.shape, generator=generator)
    return network.eval().requires_grad_(False)


def batch(n=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 2, 5, 5, generator=generator)
    images[0], images[1] = 0, 1  # at the borders of what is allowed
    return images, torch.arange(n) % 3


def gradient(network, images, labels, temperature=1.0):
    x = images.double().requires_grad_()
    loss = functional.cross_entropy(network(x) / temperature, labels, reduction="sum")
    (found,) = torch.autograd.grad(loss, x)
    return found.sign().float()


def by_hand(images, labels, epsilon, steps, step):
    network = net().double()
    x = images
    for _ in range(steps):
        x = x + step * gradient(network, x, labels)
        x = torch.minimum(torch.maximum(x, images - epsilon), images + epsilon).clamp(0, 1)
    return x


@pytest.mark.parametrize("epsilon", [0.001, 8 / 255, 0.5])
def test_fgsm_is_one_step_along_the_sign(epsilon):
    images, labels = batch(40)  # more than one batch
    found = fgsm(net(), images, labels, epsilon=epsilon)
    assert torch.allclose(found, by_hand(images, labels, epsilon, 1, epsilon), atol=1e-6)
    assert not found.requires_grad


@pytest.mark.parametrize(("steps", "step"), [(1, 0.1), (4, 0.02), (7, 0.05)])
def test_pgd_is_that_written_out_and_captums(steps, step):
    images, labels = batch(40)
    found = pgd(net(), images, labels, epsilon=0.06, steps=steps, step=step)
    assert torch.allclose(found, by_hand(images, labels, 0.06, steps, step), atol=1e-6)
    loss = nn.CrossEntropyLoss(reduction="none")
    captums = PGD(net(), loss, lower_bound=0, upper_bound=1)
    captums.fgsm.zero_thresh = 0
    expected = captums.perturb(images, radius=0.06, step_size=step, step_num=steps, target=labels)
    assert torch.allclose(found, expected, atol=1e-6)


def test_attacks_stay_near_and_in_range_and_raise_the_loss():
    images, labels = batch(30)
    network = net()

    def loss(x):
        return float(functional.cross_entropy(network(x), labels))

    one, ten = (Attack(method, epsilon=0.05)(network, images, labels) for method in ("fgsm", "pgd"))
    for found in (one, ten):
        assert float((found - images).abs().max()) <= 0.05 + 1e-6
        assert float(found.min()) >= 0
        assert float(found.max()) <= 1
    assert loss(images) < loss(one)
    assert loss(images) < loss(ten)
    assert torch.equal(ten, Attack("pgd", epsilon=0.05)(network, images, labels))


def test_certain_predictions_are_attacked_too():
    """Their gradients are far below 1e-6, which captum by itself takes for none."""
    network = net(scale=3)
    images, _ = batch(20)
    labels = network(images).argmax(1)
    certain = network(images).softmax(1).amax(1) > 1 - 1e-6
    assert certain.any()
    moved = (fgsm(network, images, labels, epsilon=0.01) - images).abs().flatten(1).amax(1)
    assert (moved[certain] > 0.009).all()


@pytest.mark.parametrize(("epsilon", "temperature"), [(0.0014, 1000.0), (0.05, 1.0)])
def test_odins_perturbation_is_that_written_out(epsilon, temperature):
    images, _ = batch(40)
    network = net().double()
    x = images.double().requires_grad_()
    certainty = functional.log_softmax(network(x) / temperature, 1).amax(1).sum()
    (slope,) = torch.autograd.grad(certainty, x)
    expected = images + epsilon * slope.sign().float()
    found = odin_perturbation(net(), images, epsilon=epsilon, temperature=temperature)
    assert torch.allclose(found, expected, atol=1e-6)
    before, after = (functional.log_softmax(net()(x) / temperature, 1).amax(1).double() for x in (images, found))
    assert after.mean() > before.mean()
    assert float(found.max()) > 1, "as published, nothing is clamped"


def test_pixels_then_normalised_are_the_preprocessed_image():
    preprocess = Preprocess(resize=6, crop=5, mean=(0.4, 0.5), std=(0.2, 0.3))
    image = torch.rand(2, 9, 8, generator=torch.Generator().manual_seed(0))
    raw = pixels(image, preprocess)
    assert raw.shape == (2, 5, 5)
    assert 0 <= raw.min() < raw.max() <= 1
    network = net()
    assert torch.allclose(from_pixels(network, preprocess)(raw[None]), network(preprocess(image)[None]), atol=1e-6)
    assert from_pixels(network, Preprocess()) is network


def test_epsilon_is_in_pixel_values_whatever_the_normalisation():
    images, labels = batch()
    wide = from_pixels(net(), Preprocess(mean=(0.0, 0.0), std=(0.01, 5.0)))
    moved = (fgsm(wide, images, labels, epsilon=0.03) - images).abs()
    assert float(moved[2:].amax()) == pytest.approx(0.03, abs=1e-6)


def test_nothing_is_left_behind():
    """No warning, no gradient on the images given or on the network, and the same random state."""
    images, labels = batch()
    network, state = net(), torch.get_rng_state()
    kept = images.clone()
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("error")
        for found in (Attack()(network, images, labels), odin_perturbation(network, images)):
            assert not found.requires_grad
    assert torch.equal(images, kept)
    assert not images.requires_grad
    assert all(p.grad is None for p in network.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_what_makes_no_sense_is_refused():
    images, labels = batch()
    for attack in (Attack("fgsm"), Attack("pgd")):
        with pytest.raises(UsageError, match="values from 0 to 2"):
            attack(net(), 2 * images, labels)
    for options, message in (
        ({"method": "pdg"}, "attack 'pdg' is not known; did you mean 'pgd'"),
        ({"epsilon": 0}, "epsilon 0 must be"),
        ({"epsilon": 8}, "epsilon 8 must be"),
        ({"steps": 0}, "steps 0 at least 1"),
    ):
        with pytest.raises(UsageError, match=message):
            Attack(**options)
