"""The data sets of the study of layer selection, divided anew for every seed, and the network that meets each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from experiments.studies.refinement import divided
from moprune.data import SPLITS, JoinedInputs, Split, Task, TensorInputs, corrupted, limit, open_tar, stratified
from moprune.errors import UsageError, not_one_of
from moprune.networks import Preprocess, pretrained, pretrained_digits
from moprune.networks.digits import digit_images
from moprune.networks.units import Unit, units
from moprune.seeding import derive

COUNTS: Mapping[str, int] = MappingProxyType({"train": 120, "search": 90, "select": 60, "test": 500})
"""At most so many images in each split."""

SHARES = (0.4, 0.2, 0.1, 0.3)
"""Of all images of a small set, in each split."""

_TARS = ("trashnet6", "riceleaf3", "braintumor2", "ants_bees")
EMBEDDED = ("digits_blur", "digits_new")
NAMES: tuple[str, ...] = (*EMBEDDED, "cifar10_jpeg", *_TARS)

_BLUR = "gaussian_blur@5"
_CIFAR = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True, eq=False)
class SelectionSet:
    """A data set as one seed divides it, and the network that is to be tuned for it.

    Attributes:
        task: the images.
        network: pre-trained.
        preprocess: an item to what the network reads.
        head: ``kept``, or ``new`` where the network knows other classes.
        units: that may be tuned: stages, of the small network for digits blocks.
    """

    task: Task
    network: nn.Module
    preprocess: Preprocess
    head: str
    units: tuple[Unit, ...]


def opened(name: str, data: Path | None, seed: int) -> SelectionSet:
    """Returns a data set.

    Args:
        name: one of :data:`NAMES`.
        data: the folder that holds the tars and the network's weights; not needed for the digits.
        seed: decides which images are in which split.

    Raises:
        UsageError: there is no such set, or it needs a folder.
    """
    if name not in NAMES:
        raise not_one_of("data set", name, NAMES)
    if name == "digits_blur":
        network: nn.Module = pretrained_digits(range(10))
        return SelectionSet(_digits(seed), network, Preprocess(), "kept", units(network, "block"))
    if name == "digits_new":
        network = pretrained_digits(range(5))
        return SelectionSet(_new_digits(seed), network, Preprocess(), "new", units(network, "block"))
    if data is None:
        raise UsageError(f"{name} is not embedded; give the folder with {name}.tar: --data FOLDER")
    network = pretrained("cifar_resnet20", str(data / "resnet20_cifar10.pth"))
    if name == "cifar10_jpeg":
        whole = divided(data, seed, COUNTS["train"], COUNTS["search"])
        task = _limited(name, whole.classes, {split: whole.split(split) for split in SPLITS}, seed)
        return SelectionSet(task, network, _CIFAR, "kept", units(network))
    small = Preprocess(resize=32, crop=32, mean=_CIFAR.mean, std=_CIFAR.std)
    return SelectionSet(_photographs(name, data, seed), network, small, "new", units(network))


def _digits(seed: int) -> Task:
    """Blurred digits: train has images that the network has learnt from sharp, the other splits those it never saw."""
    seen, unseen = (_blurred(held_out) for held_out in (False, True))
    shares = [share / sum(SHARES[1:]) for share in SHARES[1:]]
    parts = [unseen.subset(part) for part in stratified(unseen.labels, shares, seed, "division of digits")]
    return _limited("digits_blur", tuple(map(str, range(10))), dict(zip(SPLITS, [seen, *parts], strict=True)), seed)


def _new_digits(seed: int) -> Task:
    """Digits 5 to 9 for a network that knows 0 to 4; it has seen none of them."""
    halves = [digit_images(range(5, 10), held_out=held_out) for held_out in (False, True)]
    images, labels = (torch.cat(each) for each in zip(*halves, strict=True))
    whole = Split(TensorInputs(images), labels)
    parts = stratified(labels, SHARES, seed, "division of digits_new")
    splits = {split: whole.subset(part) for split, part in zip(SPLITS, parts, strict=True)}
    return _limited("digits_new", tuple(map(str, range(5, 10))), splits, seed)


def _blurred(held_out: bool) -> Split:
    images, labels = digit_images(range(10), held_out=held_out)
    blurred = corrupted(TensorInputs(images), _BLUR)
    return Split(TensorInputs(torch.stack([blurred[i] for i in range(len(blurred))])), labels)  # type: ignore[misc]


def _photographs(name: str, data: Path, seed: int) -> Task:
    """All images of a tar, divided by :data:`SHARES`."""
    source = open_tar(data / f"{name}.tar")
    subsets = [source.subsets[subset] for subset in ("train", "test")]
    whole = Split(JoinedInputs(tuple(each.inputs for each in subsets)), torch.cat([each.labels for each in subsets]))
    parts = stratified(whole.labels, SHARES, seed, f"division of {name}")
    splits = {split: whole.subset(part) for split, part in zip(SPLITS, parts, strict=True)}
    return _limited(name, source.classes, splits, seed)


def _limited(name: str, classes: tuple[str, ...], splits: Mapping[str, Split], seed: int) -> Task:
    """Returns a task with at most :data:`COUNTS` images, class by class."""
    parts: dict[str, Any] = {
        split: each.subset(limit(each.labels, COUNTS[split], derive(seed, "limit", split)))
        for split, each in splits.items()
    }
    return Task(name, classes, **parts)
