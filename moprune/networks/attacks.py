"""Adversarial images, and the input perturbation of ODIN: what gradients of a whole network do to images.

All functions take a network from pixel values 0..1 to logits (see :func:`from_pixels`), frozen and in evaluation mode,
and images ``(n, C, H, W)``; they return new images on the network's device, without gradients. Strengths are in units
of pixel values. The gradient step is captum's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from moprune.data.inputs import Item
from moprune.errors import UsageError, not_one_of
from moprune.networks.modes import device_of
from moprune.networks.preprocess import Preprocess

_BATCH = 32  # images whose gradients are held at once

Method = Literal["fgsm", "pgd"]


@dataclass(frozen=True)
class Attack:
    """An untargeted attack within a distance (largest change of a pixel value).

    Attributes:
        method: ``fgsm``, one step (Goodfellow et al. 2015), or ``pgd``, several with a projection after each (Madry et
            al. 2018), from the image itself rather than a random point near it, so that results repeat.
        epsilon: the distance, > 0; 8/255 is usual for CIFAR-10, 4/255 for ImageNet.
        steps: of ``pgd``, >= 1; each is 2.5 epsilon / steps long, so that the border can be reached.

    Raises:
        UsageError: an unknown method, or a value out of range.
    """

    method: Method = "pgd"
    epsilon: float = 8 / 255
    steps: int = 10

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise not_one_of("attack", self.method, get_args(Method))
        if not 0 < self.epsilon <= 1 or self.steps < 1:
            raise UsageError(
                f"attack: epsilon {self.epsilon} must be within 0..1 (not 0), and steps {self.steps} at least 1"
            )

    def __call__(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Returns the attacked images; labels ``(n,)`` are the classes to lead away from."""
        if self.method == "fgsm":
            return fgsm(network, images, labels, epsilon=self.epsilon)
        step = 2.5 * self.epsilon / self.steps
        return pgd(network, images, labels, epsilon=self.epsilon, steps=self.steps, step=step)


def fgsm(network: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float) -> Tensor:
    """Returns ``images + epsilon * sign(gradient of the cross-entropy)``, clamped to 0..1 (Goodfellow et al. 2015).

    Raises:
        UsageError: an image has values outside 0..1.
    """
    _check_range(images)

    def attack(batch: Tensor, target: Tensor) -> Tensor:
        return _moved(network, batch, epsilon, target).clamp(0, 1)

    return _in_batches(attack, network, images, labels)


def pgd(network: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float, steps: int, step: float) -> Tensor:
    """Returns the images after ``steps`` steps of FGSM, each projected to the distance ``epsilon`` and to 0..1.

    Madry et al. 2018 without a random start (also known as BIM, Kurakin et al. 2017).

    Raises:
        UsageError: an image has values outside 0..1.
    """
    _check_range(images)

    def attack(batch: Tensor, target: Tensor) -> Tensor:
        lowest, highest = (batch - epsilon).clamp_min(0), (batch + epsilon).clamp_max(1)
        moved = batch
        for _ in range(steps):
            moved = torch.clamp(_moved(network, moved, step, target), lowest, highest)
        return moved

    return _in_batches(attack, network, images, labels)


def odin_perturbation(
    network: nn.Module, images: Tensor, *, epsilon: float = 0.0014, temperature: float = 1000.0
) -> Tensor:
    """Returns images made a little more certain: ``x + epsilon * sign(gradient of the largest log-softmax)``.

    Liang et al. 2018, equation 2, with their epsilon and temperature; as there, nothing is clamped. Images inside the
    distribution gain more certainty than others.
    """

    def perturb(batch: Tensor, _: Tensor) -> Tensor:
        with torch.no_grad():
            predicted = network(batch).argmax(1)
        return _moved(network, batch, -epsilon, predicted, temperature)

    return _in_batches(perturb, network, images, torch.zeros(len(images)))


class _FromPixels(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        for name, numbers in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(numbers).view(-1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network((pixels - self.mean) / self.std)
        return logits


def from_pixels(network: nn.Module, preprocess: Preprocess) -> nn.Module:
    """Returns a network of pixel values from one of preprocessed images: it normalises them itself."""
    return _FromPixels(network, preprocess.mean, preprocess.std) if preprocess.mean else network


def pixels(image: Item, preprocess: Preprocess) -> Tensor:
    """Returns an image ``(C, H, W)`` float32 resized and cropped as for the network, but not normalised."""
    return replace(preprocess, mean=(), std=())(image)


def _moved(network: nn.Module, images: Tensor, step: float, target: Tensor, temperature: float = 1.0) -> Tensor:
    """Returns ``images + step * sign(gradient of the cross-entropy of target)``."""
    from captum.robust import FGSM

    def loss(logits: Tensor, classes: Tensor) -> Tensor:
        # Doubles, lest the gradient of a certain prediction is rounded to nothing.
        return functional.cross_entropy(logits.double() / temperature, classes, reduction="none")

    method: Any = FGSM(network, loss)
    method.zero_thresh = 0.0  # else captum leaves alone what has a gradient below 1e-6: images predicted with certainty
    moved: Tensor = method.perturb(images.detach().requires_grad_(), step, target)
    return moved.detach()


def _in_batches(
    change: Callable[[Tensor, Tensor], Tensor], network: nn.Module, images: Tensor, labels: Tensor
) -> Tensor:
    device = device_of(network)
    pairs = zip(images.to(device).split(_BATCH), labels.to(device).split(_BATCH), strict=True)
    return torch.cat([change(batch, target) for batch, target in pairs])


def _check_range(images: Tensor) -> None:
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise UsageError(
            f"an image to attack has values from {float(images.min()):.3g} to {float(images.max()):.3g}; give values "
            "in 0..1 and let the preprocessing normalise them"
        )
