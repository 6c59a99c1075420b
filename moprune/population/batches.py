"""Images made ready for scoring many weights: read once, on the device, up to where candidates differ."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from moprune.data.inputs import Inputs, Item
from moprune.errors import UsageError
from moprune.networks.modes import device_of
from moprune.networks.suffix import Suffix

PerImage = Callable[[Tensor, Tensor], Tensor]
"""Logits (b, C) float32 and labels (b,) int64, both on the CPU, to what each image adds: float64 (b,), >= 0."""


@dataclass(frozen=True, eq=False)
class Batches:
    """The images of a split in fixed batches, as `batches` makes them.

    Args:
        frontiers: for each batch what `Suffix.frontier` returned, on the network's device.
        labels: for each batch its labels, int64 (b,), on the CPU.
        order: (n,) int64; the i-th image here is number ``order[i]`` of the split.
    """

    frontiers: tuple[tuple[Tensor, ...], ...]
    labels: tuple[Tensor, ...]
    order: Tensor

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        return zip(self.frontiers, self.labels, strict=True)

    def in_order(self, values: Tensor) -> Tensor:
        """Returns rows (n, ...) that follow the batches in the order of the split."""
        sorted_back = torch.empty_like(values)
        sorted_back[self.order] = values
        return sorted_back


def batches(
    suffix: Suffix,
    inputs: Inputs,
    labels: Tensor,
    preprocess: Callable[[Item], Tensor],
    batch_size: int,
    *,
    hardest_first: PerImage | None = None,
) -> Batches:
    """Reads and preprocesses images, and runs what of the network comes before the suffix, once for all candidates.

    Args:
        suffix: decides what is kept of each image; the work is done on its network's device, where the result stays.
        inputs: n >= 1 items.
        labels: (n,) class numbers.
        preprocess: an item to the network's input; all of the same shape.
        batch_size: images at once, >= 1; early rejection looks at its bound once a batch.
        hardest_first: puts the images on which the network itself does worst, by this measure, first. A candidate that
            fails then fails early. It decides nothing: sums are taken in the same order whether or not they stop.

    Raises:
        UsageError: there are no images, not one label for each, they differ in shape, or the network rejects them.
    """
    if len(inputs) == 0 or len(labels) != len(inputs):
        raise UsageError(f"{len(inputs)} images have {len(labels)} labels; give at least one image, a label for each")
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; give at least 1")
    images, labels = preprocessed(inputs, preprocess), labels.to("cpu", torch.int64)
    place = device_of(suffix.network)
    order = torch.arange(len(images))
    if hardest_first is not None:
        terms = [
            hardest_first(_logits(suffix, images[rows].to(place)), labels[rows]) for rows in order.split(batch_size)
        ]
        order = torch.cat(terms).argsort(descending=True, stable=True)
    else:
        _logits(suffix, images[:1].to(place))  # for its error, if it has one
    parts = order.split(batch_size)
    frontiers = tuple(tuple(map(laid_out, suffix.frontier(images[rows].to(place)))) for rows in parts)
    return Batches(frontiers, tuple(labels[rows] for rows in parts), order)


def preprocessed(inputs: Inputs, preprocess: Callable[[Item], Tensor]) -> Tensor:
    """Returns what the network expects of n >= 1 items as one tensor (n, ...) on the CPU, read by several threads.

    Raises:
        UsageError: they differ in shape or type.
    """

    def read(index: int) -> Tensor:
        return preprocess(inputs[index])

    first = read(0)
    result = first.new_empty((len(inputs), *first.shape))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="moprune-images") as pool:
        for index, item in enumerate(pool.map(read, range(len(inputs)))):
            if item.shape != first.shape or item.dtype != first.dtype:
                raise UsageError(
                    f"item {index} is {item.dtype} {tuple(item.shape)}, item 0 {first.dtype} {tuple(first.shape)}; "
                    "give a preprocessing that makes them the same (resize and crop)"
                )
            result[index] = item
    return result


def laid_out(tensor: Tensor) -> Tensor:
    """Returns images, maps or convolution weights (4-D) in the channels-last layout, anything else as it is.

    It is the layout that convolutions are fastest in: on one core a ResNet-20 takes 0.7 to 0.95 of the time,
    MobileNetV2 and `DigitsNet` 0.5 to 0.9. A network whose weights have it hands it on from layer to layer.
    """
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


@torch.no_grad()
def _logits(suffix: Suffix, x: Tensor) -> Tensor:
    """Returns the network's own logits of a batch, float32 on the CPU."""
    try:
        logits = suffix(suffix.frontier(x), {})
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        kind, reason = type(suffix.network).__name__, next(iter(str(error).splitlines()), "")
        advice = "check the images' size and channels against what it was made for"
        raise UsageError(f"{kind} fails on images {tuple(x.shape)} ({reason}); {advice}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
        raise UsageError(f"{type(suffix.network).__name__} does not give logits (n, classes); give a classifier")
    return logits.float().cpu()
