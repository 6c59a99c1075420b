"""Corrupted images: a split's own images under the corruptions of CIFAR-10-C and ImageNet-C.

What the types do, and which are left out, is in :mod:`moprune.data.corruption_types`. An image is corrupted at the size
it is stored in, before any preprocessing: ImageNet-C's strengths are meant for 224 x 224 pixels, so that on larger
images blur and pixelation weigh less.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from moprune.data.corruption_types import CORRUPTIONS, Pixels, Table, corrupt, picture, pixels_of
from moprune.data.inputs import GeneratedInputs, Inputs, Item
from moprune.data.splits import Split
from moprune.errors import UsageError, not_one_of
from moprune.seeding import derive, numpy_generator

SEVERITIES = 5
SMALL = 64  # pixels: images up to this side take the strengths of CIFAR-10-C
_FORMAT = 1  # part of every digest; a change in what is computed needs another number


def corrupted_splits(
    splits: Mapping[str, Split], search: Sequence[str], test: Sequence[str], table: Table | None, seed: int
) -> dict[str, dict[str, Inputs]]:
    """Returns each split's corrupted images by name, as :class:`moprune.data.Task` holds them.

    Args:
        splits: train, search, select and test.
        search: names for the first three, each with noise of its own.
        test: names for the test.
        table: the strengths; None for :func:`table_for` the first image of train.
        seed: decides the noise.

    Raises:
        UsageError: a name given twice, and all that :func:`corrupted` refuses.
    """
    if not search and not test:
        return {}
    for name in (*search, *test):
        parse(name)
    for names in (search, test):
        if repeated := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"corruption {repeated[0]!r} is asked for twice; give it once")
    table = table or table_for(splits["train"].inputs[0])
    return {
        split: {
            name: corrupted(splits[split].inputs, name, table=table, seed=derive(seed, "corruptions", split))
            for name in (test if split == "test" else search)
        }
        for split in splits
    }


def corrupted(inputs: Inputs, name: str, *, table: Table | None = None, seed: int = 0) -> Inputs:
    """Returns the same images, corrupted when they are read.

    Args:
        inputs: n >= 1 PIL images, or tensors (1 or 3, H, W): uint8, or float within 0..1. jpeg_compression and
            pixelate round floats to 256 levels.
        name: ``type@severity``, a type of :data:`moprune.data.CORRUPTIONS` and a severity from 1 to 5, such as
            ``gaussian_noise@3``.
        table: the strengths; None for :func:`table_for` the first image.
        seed: with type and position of an image decides its noise, which is one draw scaled by the severity.

    Raises:
        UsageError: an unknown type, severity or table, no images, or images that cannot be corrupted so.
    """
    kind, severity = parse(name)
    if len(inputs) == 0:
        raise UsageError(f"corruption {name!r} was given no images; give at least one")
    table = table or table_for(inputs[0])
    if table not in ("cifar", "imagenet"):
        raise not_one_of("table of corruptions", table, ("cifar", "imagenet"))
    if kind == "saturate" and _pixels(inputs[0]).shape[2] == 1:
        raise UsageError("corruption 'saturate' is for colour images and these are grey; leave it out")
    return CorruptedInputs(_Corrupt(inputs, kind, severity, table, seed), range(len(inputs)))


def parse(name: str) -> tuple[str, int]:
    """Returns type and severity of a name such as ``gaussian_noise@3``.

    Raises:
        UsageError: an unknown type, or a severity that is not 1 to 5.
    """
    kind, _, severity = name.partition("@")
    if kind not in CORRUPTIONS:
        raise not_one_of("corruption", kind, CORRUPTIONS)
    if severity not in map(str, range(1, SEVERITIES + 1)):
        raise UsageError(f"corruption {name!r} lacks a severity from 1 to {SEVERITIES}; write e.g. {kind}@3")
    return kind, int(severity)


def table_for(item: Item) -> Table:
    """Returns ``cifar`` for an image of at most 64 pixels a side, else ``imagenet``."""
    size = item.size if isinstance(item, Image.Image) else item.shape[-2:]
    return "cifar" if max(size) <= SMALL else "imagenet"


@dataclass(frozen=True)
class _Corrupt:
    inputs: Inputs
    kind: str
    severity: int
    table: Table
    seed: int

    def __call__(self, number: int) -> Item:
        item = self.inputs[number]
        random = numpy_generator(self.seed, "corruption", self.kind, number)
        return _like(item, corrupt(_pixels(item), self.kind, self.severity, self.table, random))

    def digest(self, number: int) -> str:
        rule = f"corruption {_FORMAT} {self.kind} {self.severity} {self.table} {self.seed} {number}\n"
        return hashlib.sha256((rule + self.inputs.item_digest(number)).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class CorruptedInputs(GeneratedInputs):
    """Images corrupted when they are read, see :func:`corrupted`."""

    make: _Corrupt

    def item_digest(self, index: int) -> str:
        """Returns a digest of the image before and of what is done to it; nothing is corrupted for it."""
        return self.make.digest(self.numbers[index])


def _pixels(item: Item) -> Pixels:
    if isinstance(item, Image.Image):
        return pixels_of(item)
    shape = tuple(item.shape)
    if len(shape) != 3 or shape[0] not in (1, 3) or not (item.is_floating_point() or item.dtype == torch.uint8):
        raise UsageError(
            f"items of shape {shape} and type {item.dtype} cannot be corrupted; give float or uint8 images "
            "(1 or 3, height, width)"
        )
    pixels: Pixels = item.permute(1, 2, 0).double().numpy() / (255 if item.dtype == torch.uint8 else 1)
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise UsageError(
            f"an image to corrupt has values from {pixels.min():.3g} to {pixels.max():.3g}; give values in 0..1 and "
            "let the preprocessing normalise them"
        )
    return pixels


def _like(item: Item, pixels: Pixels) -> Item:
    if isinstance(item, Image.Image):
        return picture(pixels)
    if item.dtype == torch.uint8:
        pixels = np.rint(pixels * 255)
    tensor: Tensor = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().to(item.dtype)
    return tensor
