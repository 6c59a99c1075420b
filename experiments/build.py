"""From a configuration to what every task is made of: the data, and the network with its preprocessing."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from experiments.config import DataConfig, NetworkConfig
from moprune.data import Source, SplitPlan, Task, open_digits, open_folder, open_tar, open_torchvision
from moprune.data.docstrings import open_docstrings
from moprune.data.features import open_features
from moprune.data.text import open_text, texts_of
from moprune.errors import UsageError, not_one_of
from moprune.networks import Preprocess, pretrained, pretrained_digits, published
from moprune.networks.given import AsGiven, GivenFeatures
from moprune.networks.lstm import Tokens
from moprune.networks.modes import evaluating
from moprune.networks.text import pretrained_text

Prepare = Callable[..., Tensor]
"""Makes the network's input of an item: a :class:`~moprune.networks.Preprocess`, or what stands for it with texts."""

EMBEDDED = ("digits", "digits10", "features", "lstm")
"""Networks made by moprune itself: trained on digits 0 to 4, all digits or a task's texts when they are first used, and
none at all where features are given."""


def build_task(data: DataConfig) -> Task:
    """Returns the task: the source's items in four splits, with OOD pools.

    Raises:
        UsageError: the data cannot be used; the message says why.
    """
    source = _open(data)
    for name in data.exclude:
        if name not in source.classes:
            raise not_one_of("data.exclude: class", name, source.classes)
    if data.exclude:
        source, _ = source.without(data.exclude)
    if data.corrupted is not None:
        source = source.corrupted(data.corrupted, data.split_seed)
    plan = None
    if data.splits is not None:
        plan = {split: SplitPlan(each.subset, each.share, each.limit) for split, each in data.splits}
    return Task.from_source(
        source,
        plan=plan,
        ood_search=data.ood.search,
        ood_test=data.ood.test,
        corrupt_search=data.corruptions.search,
        corrupt_test=data.corruptions.test,
        seed=data.split_seed,
        name=data.name or data.path or data.source,
    )


def build_network(network: NetworkConfig, task: Task) -> tuple[nn.Module, Prepare]:
    """Returns the pre-trained network, frozen, and how an item becomes its input.

    Args:
        network: which.
        task: its data, of which ``lstm`` learns the train split.

    Raises:
        UsageError: the network, its weights or its preprocessing cannot be used; the message says why.
    """
    if network.arch in EMBEDDED:
        own = ("weights", "preprocess", "features") if network.arch == "features" else ("weights", "preprocess")
        given = next((key for key in own if getattr(network, key) is not None), None)
        if given is not None:
            raise UsageError(f"network.{given}: {network.arch} is made here and has its own; remove this key")
        if network.arch == "features":
            return GivenFeatures(), AsGiven()
        if network.arch == "lstm":
            vocabulary = texts_of(task.train.inputs).vocabulary
            return pretrained_text(task.train), Tokens(len(vocabulary))
        known = range(10) if network.arch == "digits10" else range(5)
        return _reading(pretrained_digits(known), Preprocess(mode="L"), task)
    return _reading(pretrained(network.arch, network.weights), _preprocess(network), task)


@torch.no_grad()
def _reading(network: nn.Module, preprocess: Preprocess, task: Task) -> tuple[nn.Module, Preprocess]:
    """Returns both, or raises a UsageError where the network does not accept the task's images."""
    image = preprocess(task.train.inputs[0])
    try:
        with evaluating(network):
            network(image[None])
    except RuntimeError as error:
        reason = next(iter(str(error).splitlines()), "")
        raise UsageError(
            f"network.arch: {type(network).__name__} fails on images {tuple(image.shape)} ({reason}); check size and "
            "channels against what it was made for: network.preprocess has resize, crop and mode (L for grey)"
        ) from error
    return network, preprocess


def _preprocess(network: NetworkConfig) -> Preprocess:
    if network.preprocess is not None:
        return Preprocess(**network.preprocess.model_dump())
    own = ":" in network.arch or network.arch.startswith("cifar_") or network.weights in (None, "random")
    try:
        weights: Any = None if own else published(network.arch, str(network.weights))
    except UsageError:  # weights of a file: nothing says how its images were prepared
        weights = None
    if weights is None:
        raise UsageError(
            f"network.preprocess: say how images are prepared for {network.arch!r} (resize, crop, mean, std); only "
            "torchvision's published weights say it themselves"
        )
    return Preprocess.from_weights(weights)


def _open(data: DataConfig) -> Source:
    if data.source == "digits":
        return open_digits()
    if data.source == "docstrings":
        return open_docstrings()
    if data.source == "torchvision":
        if data.name is None:
            raise UsageError("data.name: name the torchvision data set, e.g. data.name=CIFAR10")
        return open_torchvision(data.name, data.root, download=data.download, mode=data.mode)
    if data.path is None:
        raise UsageError(f"data.path: give the path of the {data.source}, e.g. --set data.path=my_images")
    if data.source == "text":
        return open_text(data.path)
    if data.source == "features":
        return open_features(data.path)
    mode = data.mode or "RGB"
    return open_tar(data.path, mode) if data.source == "tar" else open_folder(data.path, mode)
