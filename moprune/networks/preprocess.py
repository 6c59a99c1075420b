"""From an image as it is stored to the tensor a network was trained on."""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import torch
from PIL.Image import Image
from torch import Tensor

from moprune.errors import UsageError, not_one_of

Interpolation = Literal["nearest", "nearest-exact", "bilinear", "bicubic"]
Mode = Literal["RGB", "L"]


@dataclass(frozen=True)
class Preprocess:
    """Maps a PIL image or a tensor to a float32 tensor (C, H, W): resize, crop, scale to [0, 1], normalise.

    The default changes nothing but the type. Its ``repr`` says all it does, the same on every machine, and is
    part of the digests under which features are kept.

    Attributes:
        resize: length in pixels of the shorter side after resizing, or None to keep the size.
        crop: side in pixels of the square cut from the centre after resizing, or None.
        mean: subtracted channel by channel (one value serves all); empty to leave the values as they are.
        std: what the difference is divided by, as many values as ``mean``.
        mode: PIL images are converted to it: "RGB" (3 channels) or "L" (grey, 1). Tensors keep theirs.
        interpolation: "bilinear", "bicubic", "nearest" or "nearest-exact"; the first two are antialiased.

    Raises:
        UsageError: a size below 1, a crop larger than the resized image, a std that is not positive, or an
            unknown mode or interpolation.
    """

    resize: int | None = None
    crop: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    mode: Mode = "RGB"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        # Lists, integers and numpy numbers become plain floats, so that equal settings have equal reprs.
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        for name, size in (("resize", self.resize), ("crop", self.crop)):
            if size is not None and size < 1:
                raise UsageError(f"preprocess: {name} is {size}; give at least 1 pixel, or None")
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise UsageError(f"preprocess: crop {self.crop} is larger than resize {self.resize}; make it smaller")
        if len(self.mean) != len(self.std):
            raise UsageError(f"preprocess: {len(self.mean)} means but {len(self.std)} stds; give as many of each")
        if not all(map(math.isfinite, self.mean)):
            raise UsageError(f"preprocess: mean {self.mean} is not finite; give numbers")
        if not all(math.isfinite(value) and value > 0 for value in self.std):
            raise UsageError(f"preprocess: std {self.std} must be positive; use 1 for a channel to leave unscaled")
        if self.mode not in get_args(Mode):
            raise not_one_of("image mode", self.mode, get_args(Mode))
        if self.interpolation not in get_args(Interpolation):
            raise not_one_of("interpolation", self.interpolation, get_args(Interpolation))

    @classmethod
    def from_weights(cls, weights: Any) -> Self:
        """Returns what torchvision applies for published weights (``ResNet18_Weights.IMAGENET1K_V1``).

        Args:
            weights: a member of a torchvision weights enum (``moprune.networks.published`` finds it by name).

        Raises:
            UsageError: not such a member, or one whose transform is not that of image classification.
        """
        preset = weights.transforms() if hasattr(weights, "transforms") else None
        names = ("resize_size", "crop_size", "mean", "std", "interpolation")
        if not all(hasattr(preset, name) for name in names):
            raise UsageError(f"{weights!r} has no image classification preprocessing; give a Preprocess instead")
        assert preset is not None
        return cls(
            resize=int(preset.resize_size[0]),
            crop=int(preset.crop_size[0]),
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            interpolation=preset.interpolation.value,
        )

    def __call__(self, image: Image | Tensor) -> Tensor:
        """Returns the network's input for one image.

        Args:
            image: a PIL image of any mode, or a tensor (C, H, W): uint8 is divided by 255, floats are taken
                as they are.

        Returns:
            A float32 tensor (C, H, W), not sharing memory with a uint8 or PIL image.

        Raises:
            UsageError: a tensor of another shape or type, an image smaller than the crop, or another number
                of channels than means.
        """
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as transforms

        if isinstance(image, Image):
            image = image.convert(self.mode)
        elif image.ndim != 3:
            raise UsageError(f"an image tensor has shape {tuple(image.shape)}; give (channels, height, width)")
        elif image.dtype != torch.uint8 and not image.is_floating_point():
            raise UsageError(f"an image tensor holds {image.dtype}; give uint8 or floating point values")
        if self.resize is not None:
            interpolation = InterpolationMode(self.interpolation)
            image = transforms.resize(image, [self.resize], interpolation=interpolation, antialias=True)
        if self.crop is not None:
            height, width = image.shape[-2:] if isinstance(image, Tensor) else (image.height, image.width)
            if min(height, width) < self.crop:  # torchvision would add a black border without a word
                raise UsageError(f"an image of {width} x {height} is smaller than crop {self.crop}; give resize")
            image = transforms.center_crop(image, [self.crop, self.crop])
        pixels = image if isinstance(image, Tensor) else transforms.pil_to_tensor(image)
        values = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()
        if not self.mean:
            return values
        if len(self.mean) not in (1, len(values)):
            raise UsageError(f"an image has {len(values)} channels but preprocess has {len(self.mean)} means")
        mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (self.mean, self.std))
        return (values - mean.to(values.device)) / std.to(values.device)
