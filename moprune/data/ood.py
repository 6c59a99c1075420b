"""Pools of images from outside a task, made on the fly: the same on every machine, nothing to download.

A pool takes the form of the item it is to look ``like``: a PIL image of a mode and size, or a tensor of a
shape and type (float in 0..1, uint8 in 0..255).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from moprune.data.inputs import GeneratedInputs, Inputs, Item, Mode
from moprune.errors import UsageError, not_one_of
from moprune.seeding import numpy_generator

POOLS: Mapping[str, str] = MappingProxyType(
    {
        "photographs": "random crops of scikit-learn's two sample photographs (a temple, a flower)",
        "noise": "uniform noise, every pixel and channel on its own",
        "jigsaw": "the task's own images with their patches shuffled",
        "digits": "scikit-learn's 1,797 handwritten digits, enlarged",
    }
)
"""The names of the built-in pools, each with a line that describes it."""

DIGITS = 1797
_PHOTOGRAPHS = ("china.jpg", "flower.jpg")
_SMALLEST_CROP = 0.2  # of the largest crop there is: below it a crop is mostly blur


@dataclass(frozen=True)
class _Form:
    """How a pool's items look: PIL images if ``dtype`` is None, else tensors (channels, height, width)."""

    width: int
    height: int
    mode: Mode
    dtype: torch.dtype | None = None

    @classmethod
    def of(cls, size: int, mode: Mode, like: Item | None) -> "_Form":
        if like is None:
            if size < 1 or mode not in ("RGB", "L"):
                raise UsageError(f"images of size {size} and mode {mode!r} cannot be made; use RGB or L, size >= 1")
            return cls(size, size, mode)
        if isinstance(like, Image.Image):
            return cls(*like.size, "L" if like.mode == "L" else "RGB")
        shape = tuple(like.shape)
        if len(shape) != 3 or shape[0] not in (1, 3) or not (like.is_floating_point() or like.dtype == torch.uint8):
            raise UsageError(
                f"no pool can be made like items of shape {shape} and type {like.dtype}; it takes "
                "float or uint8 images (1 or 3, height, width); give OOD tensors of your own"
            )
        return cls(shape[2], shape[1], "L" if shape[0] == 1 else "RGB", like.dtype)

    def render(self, image: Image.Image, box: tuple[float, float, float, float] | None = None) -> Item:
        image = image.convert(self.mode)
        if box is not None or image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling.BILINEAR, box=box)
        if self.dtype is None:
            return image
        pixels = np.array(image, dtype=np.uint8).reshape(self.height, self.width, -1).transpose(2, 0, 1)
        tensor = torch.from_numpy(np.ascontiguousarray(pixels))
        return tensor if self.dtype == torch.uint8 else tensor.to(self.dtype) / 255


@dataclass(frozen=True)
class _Photographs:
    form: _Form
    seed: int

    def __call__(self, number: int) -> Item:
        random = numpy_generator(self.seed, "photographs", number)
        photograph = _photograph(_PHOTOGRAPHS[int(random.integers(len(_PHOTOGRAPHS)))])
        form = self.form
        largest = min(photograph.width / form.width, photograph.height / form.height)
        # A crop is enlarged only where the photograph itself is too small.
        scale = random.uniform(min(largest, max(1.0, _SMALLEST_CROP * largest)), largest)
        width, height = scale * form.width, scale * form.height
        left = random.uniform(0, max(0.0, photograph.width - width))
        top = random.uniform(0, max(0.0, photograph.height - height))
        right, bottom = min(left + width, photograph.width), min(top + height, photograph.height)
        return form.render(photograph, (left, top, right, bottom))


@dataclass(frozen=True)
class _Noise:
    form: _Form
    seed: int

    def __call__(self, number: int) -> Item:
        random = numpy_generator(self.seed, "noise", number)
        shape = (self.form.height, self.form.width) + ((3,) if self.form.mode == "RGB" else ())
        return self.form.render(Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)))


@dataclass(frozen=True)
class _Digits:
    form: _Form

    def __call__(self, number: int) -> Item:
        return self.form.render(Image.fromarray(_digit_images()[number]))


@dataclass(frozen=True)
class _Jigsaw:
    inputs: Inputs
    order: tuple[int, ...]
    grid: int
    seed: int

    def __call__(self, number: int) -> Item:
        item = self.inputs[self.order[number % len(self.order)]]
        random = numpy_generator(self.seed, "jigsaw", number)
        if isinstance(item, Image.Image):
            rows, columns = _shuffled(item.height, item.width, self.grid, random)
            return Image.fromarray(np.asarray(item)[rows, columns])
        if item.ndim < 2:
            raise UsageError(f"items of shape {tuple(item.shape)} have no patches; jigsaw takes images")
        rows, columns = _shuffled(item.shape[-2], item.shape[-1], self.grid, random)
        shuffled: Tensor = item[..., torch.from_numpy(rows), torch.from_numpy(columns)]
        return shuffled


def photographs(count: int, size: int = 224, mode: Mode = "RGB", seed: int = 0, like: Item | None = None) -> Inputs:
    """Returns random crops of scikit-learn's two sample photographs, resized.

    Args:
        count: how many.
        size: the side of the square images.
        mode: RGB or L.
        seed: decides the crops.
        like: an item whose form (size, mode, tensor or image) is taken in place of ``size`` and ``mode``.

    Raises:
        UsageError: a form that no image has, or a negative count.
    """
    return _generated(_Photographs(_Form.of(size, mode, like), seed), count)


def noise(count: int, size: int = 224, mode: Mode = "RGB", seed: int = 0, like: Item | None = None) -> Inputs:
    """Returns images of uniform noise; the arguments are those of :func:`photographs`."""
    return _generated(_Noise(_Form.of(size, mode, like), seed), count)


def digits_pool(count: int, size: int = 224, mode: Mode = "RGB", like: Item | None = None) -> Inputs:
    """Returns the first ``count`` of scikit-learn's digits, white on black, enlarged; arguments as above.

    Raises:
        UsageError: as above, or ``count`` is above 1,797.
    """
    if count > DIGITS:
        raise UsageError(f"{count} digits were asked for and there are {DIGITS}; ask for fewer")
    return _generated(_Digits(_Form.of(size, mode, like)), count)


def jigsaw(inputs: Inputs, count: int, grid: int = 4, seed: int = 0) -> Inputs:
    """Returns images of a task, their ``grid`` x ``grid`` patches in another order, never the original one.

    Patches are equal; the pixels that are left over at the right and bottom stay where they are.

    Args:
        inputs: the images; each is used once before one is used again.
        count: how many.
        grid: patches a side, 2 or more; an image with fewer pixels a side has as many patches as pixels.
        seed: decides which images and the orders.

    Raises:
        UsageError: no inputs, or a grid below 2; on reading, an item with fewer than 2 pixels.
    """
    if grid < 2 or len(inputs) == 0:
        raise UsageError(f"no jigsaw of {len(inputs)} images in a grid of {grid}; give images and a grid of 2 or more")
    order = numpy_generator(seed, "jigsaw order").permutation(len(inputs))
    return _generated(_Jigsaw(inputs, tuple(order.tolist()), grid, seed), count)


def pool(name: str, count: int, inputs: Inputs, seed: int = 0) -> Inputs:
    """Returns the built-in pool of that name in the form of a task's images.

    Args:
        name: one of :data:`POOLS`.
        count: how many items (digits: at most the 1,797 there are).
        inputs: images of the task; their first one gives the form, and jigsaw shuffles them.
        seed: decides what is random.

    Raises:
        UsageError: an unknown name, or a form that the pool cannot take.
    """
    match name:
        case "photographs":
            return photographs(count, seed=seed, like=inputs[0])
        case "noise":
            return noise(count, seed=seed, like=inputs[0])
        case "digits":
            return digits_pool(min(count, DIGITS), like=inputs[0])
        case "jigsaw":
            return jigsaw(inputs, count, seed=seed)
    raise not_one_of("OOD pool", name, POOLS)


def _generated(make: "_Photographs | _Noise | _Digits | _Jigsaw", count: int) -> Inputs:
    if count < 1:
        raise UsageError(f"a pool of {count} images cannot be made; ask for at least one")
    return GeneratedInputs(make, range(count))


@cache
def _photograph(name: str) -> Image.Image:
    from sklearn.datasets import load_sample_image

    return Image.fromarray(load_sample_image(name))


@cache
def _digit_images() -> NDArray[np.uint8]:
    from sklearn.datasets import load_digits

    images: NDArray[Any] = load_digits().images  # (1797, 8, 8) in 0..16
    return np.rint(images * (255 / 16)).astype(np.uint8)


def _shuffled(
    height: int, width: int, grid: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns for each pixel (height, width) the row and the column it comes from."""
    down, across = min(grid, height), min(grid, width)
    if down * across < 2:
        raise UsageError(f"an image of {width} x {height} pixels has no patches to shuffle; leave jigsaw out")
    order = random.permutation(down * across)
    while (order == np.arange(len(order))).all():
        order = random.permutation(down * across)
    high, wide = height // down, width // across
    rows, columns = np.indices((height, width))
    for place, origin in enumerate(order.tolist()):
        top, left = place // across * high, place % across * wide
        patch = slice(top, top + high), slice(left, left + wide)
        rows[patch] += origin // across * high - top
        columns[patch] += origin % across * wide - left
    return rows, columns
