"""A small network trained here in seconds, for trying things out where there is no file and no network.

The images are scikit-learn's copy of the UCI "Optical Recognition of Handwritten Digits" test set (Alpaydin
and Kaynak 1998, CC BY 4.0): 1,797 grey images of 8 x 8 pixels, ten classes.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from moprune.errors import UsageError
from moprune.files import cache_folder
from moprune.networks.initial import he_normal
from moprune.networks.store import keep, kept
from moprune.networks.weights import fill
from moprune.seeding import torch_generator

# With classes and seed, what the kept file's name stands for; change RECIPE with the training loop.
RECIPE = "2026-1"
EPOCHS = 60
BATCH = 64
RATE = 3e-3


class DigitsNet(nn.Module):
    """Three 3 x 3 convolutions with batch normalisation, and a linear head on 8 x ``width`` features.

    Args:
        num_classes: outputs.
        width: channels of the first convolution; the others have twice as many.
        seed: of the initial weights.
    """

    def __init__(self, num_classes: int, width: int = 16, seed: int = 0) -> None:
        super().__init__()
        if num_classes < 1 or width < 1:
            raise UsageError(f"DigitsNet: num_classes {num_classes}, width {width}; give at least 1 of each")
        with torch.device("meta"):
            self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.relu1 = nn.ReLU()
            self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(2 * width)
            self.relu2 = nn.ReLU()
            self.pool1 = nn.MaxPool2d(2)
            self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
            self.bn3 = nn.BatchNorm2d(2 * width)
            self.relu3 = nn.ReLU()
            self.pool2 = nn.MaxPool2d(2)
            self.linear = nn.Linear(8 * width, num_classes)
        he_normal(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (n, 1, 8, 8) with values in [0, 1] to logits (n, num_classes)."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.pool1(self.relu2(self.bn2(self.conv2(out))))
        out = self.pool2(self.relu3(self.bn3(self.conv3(out))))
        logits: Tensor = self.linear(out.flatten(1))
        return logits


def digit_images(classes: Sequence[int], *, held_out: bool) -> tuple[Tensor, Tensor]:
    """Returns the images of some digits that `pretrained_digits` learns from, or those it never sees.

    Of each class every fifth image, in scikit-learn's order, is held out.

    Returns:
        Images, float32 (n, 1, 8, 8) in [0, 1], and labels, int64 (n,): positions in ``classes``.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows, labels = [], []
    for label, digit in enumerate(classes):
        of_class = np.flatnonzero(digits.target == digit)
        chosen = of_class[(np.arange(len(of_class)) % 5 == 4) == held_out]
        rows.append(chosen)
        labels.append(np.full(len(chosen), label))
    images = digits.images[np.concatenate(rows)] / 16
    return torch.from_numpy(images).float()[:, None], torch.from_numpy(np.concatenate(labels)).long()


def pretrained_digits(classes: Sequence[int] = (0, 1, 2, 3, 4), seed: int = 0, folder: Path | None = None) -> DigitsNet:
    """Returns a `DigitsNet` that knows some of the ten digits, trained once (seconds) and kept on disk.

    It has never seen the other digits, so that they are new classes for its features.

    Args:
        classes: two or more different digits, 0 to 9; output i stands for ``classes[i]``.
        seed: of the initial weights and the order of the batches.
        folder: where the weights are kept; None for ``networks`` in the user's cache folder. A file that is
            damaged is made again; a folder that cannot be written is a warning.

    Returns:
        The network, frozen and in evaluation mode.

    Raises:
        UsageError: the classes are not such digits.
    """
    classes = tuple(int(digit) for digit in classes)
    if len(set(classes)) != len(classes) or len(classes) < 2 or not set(classes) <= set(range(10)):
        raise UsageError(f"pretrained_digits: classes {classes}; give two or more different digits from 0 to 9")
    network = DigitsNet(len(classes), seed=seed)
    recipe = repr((RECIPE, EPOCHS, BATCH, RATE, classes, seed, network))
    folder = cache_folder() / "networks" if folder is None else folder
    path = folder / f"digits-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.safetensors"
    weights = kept(path)
    if weights is None:
        _train(network, *digit_images(classes, held_out=False), seed)
        keep(path, network.state_dict())
    else:
        fill(network, weights, str(path))
    return network.requires_grad_(False).eval()


def _train(network: nn.Module, images: Tensor, labels: Tensor, seed: int) -> None:
    """Trains on all images (n, 1, 8, 8) by AdamW under a one-cycle rate, batches shifted by up to a pixel."""
    threads = torch.get_num_threads()
    # One thread is as fast for layers this small, does not suffer from other work on the machine, and adds up
    # gradients in the same order whatever the number of cores.
    torch.set_num_threads(1)
    try:
        _descend(network, images, labels, seed)
    finally:
        torch.set_num_threads(threads)


def _descend(network: nn.Module, images: Tensor, labels: Tensor, seed: int) -> None:
    order_generator = torch_generator(seed, "batch order")
    shift_generator = torch_generator(seed, "shifts")
    steps = len(images) // BATCH  # the rest of a shuffled pass is left out: a batch of one has no variance
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * steps)
    network.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(images), generator=order_generator)
        for rows in order[: steps * BATCH].split(BATCH):
            down, right = torch.randint(3, (2,), generator=shift_generator).tolist()
            batch = functional.pad(images[rows], (1, 1, 1, 1))[:, :, down : down + 8, right : right + 8]
            optimiser.zero_grad()
            functional.cross_entropy(network(batch), labels[rows], label_smoothing=0.1).backward()
            optimiser.step()
            schedule.step()
