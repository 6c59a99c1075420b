"""What corruption does to pixels: types and strengths of CIFAR-10-C and ImageNet-C (Hendrycks & Dietterich 2019).

The two benchmarks share the definitions and differ in the strengths, hence two tables. Eleven of the nineteen types
are here. Left out: motion_blur and snow (ImageMagick's motion blur), frost (photographs of frost), spatter and
elastic_transform (OpenCV's edges and warps), zoom_blur, fog and glass_blur (they assume square images of one size;
the last moves pixel after pixel).

Strengths in pixels are meant for the size of the benchmark: 32 x 32, and 224 x 224 for ImageNet-C. The published images
were cut down to whole grey levels; these are rounded, where the image has levels at all.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Table: TypeAlias = Literal["cifar", "imagenet"]
Pixels: TypeAlias = NDArray[np.float64]  # (height, width, 1 or 3) in 0..1


def corrupt(pixels: Pixels, kind: str, severity: int, table: Table, random: np.random.Generator) -> Pixels:
    """Returns one corrupted image.

    Args:
        pixels: (height, width, 1 or 3) in 0..1; saturate takes 3 channels.
        kind: a type of :data:`CORRUPTIONS`.
        severity: 1 to 5.
        table: the strengths.
        random: where noise is drawn from.
    """
    corruption = CORRUPTIONS[kind]
    strength = (corruption.cifar if table == "cifar" else corruption.imagenet)[severity - 1]
    return np.clip(corruption.apply(pixels, strength, random), 0, 1)


def picture(pixels: Pixels) -> Image.Image:
    """Returns pixels as an image of 256 levels, in mode RGB or L."""
    levels = np.rint(pixels * 255).astype(np.uint8)
    return Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)


def pixels_of(image: Image.Image) -> Pixels:
    """Returns the pixels of an image in mode RGB or L."""
    return np.asarray(image, dtype=np.float64).reshape(image.height, image.width, -1) / 255


# The types; values beyond 0..1 are clipped by `corrupt`.


def _gaussian_noise(pixels: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    return pixels + deviation * random.standard_normal(pixels.shape)


def _shot_noise(pixels: Pixels, photons: float, random: np.random.Generator) -> Pixels:
    return random.poisson(pixels * photons) / photons


def _impulse_noise(pixels: Pixels, share: float, random: np.random.Generator) -> Pixels:
    hit, salt = random.random(pixels.shape) < share, random.random(pixels.shape) < 0.5
    return np.where(hit, salt, pixels)


def _speckle_noise(pixels: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    return pixels * (1 + deviation * random.standard_normal(pixels.shape))


def _gaussian_blur(pixels: Pixels, sigma: float, _: np.random.Generator) -> Pixels:
    blurred: Pixels = ndimage.gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest", truncate=4.0)
    return blurred


def _defocus_blur(pixels: Pixels, lens: tuple[float, float], _: np.random.Generator) -> Pixels:
    blurred: Pixels = ndimage.correlate(pixels, disk(*lens)[:, :, None], mode="mirror")
    return blurred


def disk(radius: float, blur: float) -> Pixels:
    """Returns the kernel of defocus blur: a disk smoothed by a small Gaussian.

    It sums to 1, and to 1.01 for the radii 8 and 10 of ImageNet-C: there the disk touches the kernel's border, at which
    the smoothing mirrors it, as published.

    Args:
        radius: of the disk, pixels.
        blur: standard deviation of the Gaussian, pixels; it has 3 taps, or 5 for radii above 8.
    """
    reach, taps = (8, 3) if radius <= 8 else (int(radius), 5)
    across = np.arange(-reach, reach + 1)
    inside = (across[:, None] ** 2 + across**2 <= radius**2).astype(np.float64)
    bell = np.exp(-((np.arange(taps) - taps // 2) ** 2) / (2 * blur**2))
    kernel = inside / inside.sum()
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, bell / bell.sum(), axis=axis, mode="mirror")
    smoothed: Pixels = kernel
    return smoothed


def _brightness(pixels: Pixels, more: float, _: np.random.Generator) -> Pixels:
    # The value of HSV is the largest channel; with hue and saturation kept, all channels scale with it.
    value = pixels.max(2, keepdims=True)
    raised = np.minimum(value + more, 1)
    brighter: Pixels = np.where(value > 0, pixels * (raised / np.where(value > 0, value, 1)), raised)
    return brighter


def _saturate(pixels: Pixels, change: tuple[float, float], _: np.random.Generator) -> Pixels:
    # A channel is value * (1 - saturation * depth) with a depth that hue alone decides; a grey pixel counts as red.
    value = pixels.max(2, keepdims=True)
    chroma = value - pixels.min(2, keepdims=True)
    depth = np.where(chroma > 0, (value - pixels) / np.where(chroma > 0, chroma, 1), np.array([0.0, 1.0, 1.0]))
    saturation = chroma / np.where(value > 0, value, 1)
    saturated: Pixels = value * (1 - np.clip(saturation * change[0] + change[1], 0, 1) * depth)
    return saturated


def _contrast(pixels: Pixels, factor: float, _: np.random.Generator) -> Pixels:
    mean = pixels.mean((0, 1))
    flatter: Pixels = (pixels - mean) * factor + mean
    return flatter


def _jpeg_compression(pixels: Pixels, quality: int, _: np.random.Generator) -> Pixels:
    file = io.BytesIO()
    picture(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return pixels_of(image)


def _pixelate(pixels: Pixels, scale: float, _: np.random.Generator) -> Pixels:
    image = picture(pixels)
    small = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))), Image.Resampling.BOX)
    return pixels_of(small.resize(image.size, Image.Resampling.BOX))


@dataclass(frozen=True)
class Corruption:
    """A type: what it does to pixels, and its strengths at severities 1 to 5 in the two tables."""

    apply: Callable[[Pixels, Any, np.random.Generator], Pixels]
    cifar: tuple[Any, ...]
    imagenet: tuple[Any, ...]


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        # Standard deviation of what is added, pixel values.
        "gaussian_noise": Corruption(_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
        # Photons of a white pixel.
        "shot_noise": Corruption(_shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
        # Share of channel values that become 0 or 1.
        "impulse_noise": Corruption(_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)),
        # Standard deviation of what is added, shares of the value.
        "speckle_noise": Corruption(_speckle_noise, (0.06, 0.1, 0.12, 0.16, 0.2), (0.15, 0.2, 0.35, 0.45, 0.6)),
        # Standard deviation, pixels.
        "gaussian_blur": Corruption(_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1), (1, 2, 3, 4, 6)),
        # Radius of the disk and standard deviation of its smoothing, pixels.
        "defocus_blur": Corruption(
            _defocus_blur,
            ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
            ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        ),
        # Added to the value of HSV.
        "brightness": Corruption(_brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
        # Factor on the distance to the mean of the channel.
        "contrast": Corruption(_contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
        # Factor on the saturation of HSV, and what is added: paler in 1 and 2, richer from 3.
        "saturate": Corruption(
            _saturate,
            ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
            ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        ),
        # Pillow's quality.
        "jpeg_compression": Corruption(_jpeg_compression, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
        # Share of the side that is left.
        "pixelate": Corruption(_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
    }
)
"""The types by name."""
