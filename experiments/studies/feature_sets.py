"""The data sets of the pruning study as frozen features: computed once, divided anew for every seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from moprune.data import SPLITS, Inputs, Split, Task, TensorInputs, limit, open_digits, open_tar, pool, stratified
from moprune.errors import not_one_of
from moprune.networks import FeatureExtractor, Preprocess, pretrained, pretrained_digits
from moprune.networks.feature_cache import cached_features
from moprune.seeding import derive

SHARES = (0.25, 0.3, 0.15, 0.3)
"""Of train, search, select and test; every seed draws its own division of all images of a set."""

IMAGES, TEST_IMAGES = 800, 2000
"""At most so many images in train, search and select together, and in test; half of the former for trashnet6."""

_POOL = 150
_MOBILENET = Preprocess(resize=184, crop=161, mean=(0.5,) * 3, std=(0.5,) * 3)
_CIFAR = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_TARS = ("riceleaf3", "ants_bees", "braintumor2", "trashnet6")
NAMES: tuple[str, ...] = ("digits", *_TARS, "cifar10_jpeg")


@dataclass(frozen=True)
class FeatureSet:
    """The features of a data set and of pools from outside it.

    Attributes:
        name: of the data set.
        features: ``(n, D)`` float32.
        labels: ``(n,)`` int64.
        pools: features of OOD pools: those of the search and, other ones, of the test.
        hidden: width of the head's hidden layer before pruning.
    """

    name: str
    features: Tensor
    labels: Tensor
    pools: Mapping[str, Mapping[str, Tensor]]
    hidden: int

    def task(self, seed: int) -> Task:
        """Returns the task of a seed: its own division of the images, class by class."""
        parts = stratified(self.labels, SHARES, seed, f"division of {self.name}")
        most = IMAGES // 2 if self.name == "trashnet6" else IMAGES
        counts = [round(most * share / sum(SHARES[:3])) for share in SHARES[:3]] + [TEST_IMAGES]
        places = {
            split: torch.tensor(part)[limit(self.labels[part], count, seed)]
            for split, part, count in zip(SPLITS, parts, counts, strict=True)
        }
        # As images of one pixel and D channels, which is what tasks are made of.
        pools = {s: {name: _pixels(each) for name, each in pools.items()} for s, pools in self.pools.items()}
        whole = Task.from_tensors(_pixels(self.features), self.labels, ood=pools, seed=seed, name=self.name)
        splits = {s: Split(TensorInputs(_pixels(self.features[rows])), self.labels[rows]) for s, rows in places.items()}
        return Task(whole.name, whole.classes, **splits, ood=whole.ood)  # type: ignore[arg-type]

    def network(self) -> FeatureExtractor:
        """Returns the network on the features: none, they are passed on to the head."""
        classifier = nn.Linear(self.features.shape[1], 2)
        nn.init.zeros_(classifier.weight)  # the log knows the network by its weights
        nn.init.zeros_(classifier.bias)
        return FeatureExtractor(nn.Sequential(nn.Flatten(), classifier))


def load(name: str, data: Path) -> FeatureSet:
    """Returns a data set's features, computed now or found in the cache.

    Args:
        name: one of :data:`NAMES`.
        data: the folder that holds the tars and the networks' weights; not needed for the digits.
    """
    if name not in NAMES:
        raise not_one_of("data set", name, NAMES)
    if name == "digits":
        return _digits()
    return _cifar(data) if name == "cifar10_jpeg" else _photographs(name, data)


def _photographs(name: str, data: Path) -> FeatureSet:
    """MobileNetV2 at 161 pixels; training and test images together. Test pools: photographs, the other data sets."""
    weights = str(data / "mobilenet_v2_imagenet.pth")
    network = FeatureExtractor(pretrained("mobilenet_v2", weights), preprocess=_MOBILENET)
    features, labels = [], []
    for subset in ("train", "test"):
        split = open_tar(data / f"{name}.tar").subsets[subset]
        features.append(_features(network, split.inputs))
        labels.append(split.labels)
    like = open_tar(data / f"{name}.tar").subsets["train"].inputs
    outside = {"photographs": _features(network, pool("photographs", _POOL, like, 1))}
    for other in _TARS:
        if other != name:
            split = open_tar(data / f"{other}.tar").subsets["test"]
            outside[other] = _features(network, split.inputs)[limit(split.labels, _POOL, 0)]
    pools = {"search": _made(network, like), "test": outside}
    return FeatureSet(name, torch.cat(features), torch.cat(labels), MappingProxyType(pools), hidden=512)


def _cifar(data: Path) -> FeatureSet:
    """ResNet-20 on the test images alone: the network was trained on the originals of the others."""
    network = FeatureExtractor(pretrained("cifar_resnet20", str(data / "resnet20_cifar10.pth")), preprocess=_CIFAR)
    split = open_tar(data / "cifar10_jpeg.tar").subsets["test"]
    outside = {each: _features(network, pool(each, _POOL, split.inputs, 1)) for each in ("photographs", "digits")}
    pools = {"search": _made(network, split.inputs), "test": outside}
    features = _features(network, split.inputs)
    return FeatureSet("cifar10_jpeg", features, split.labels, MappingProxyType(pools), hidden=64)


def _digits() -> FeatureSet:
    """The small network trained on the digits 0-4, transferred to 5-8; the search's pool is the digit 9."""
    network = FeatureExtractor(pretrained_digits())
    source, _ = open_digits().without(list("01234"))
    source, nines = source.without(["9"])
    (split,) = source.subsets.values()
    outside = {"photographs": _features(network, pool("photographs", _POOL, split.inputs, 1))}
    pools = {"search": {"9": _features(network, nines)}, "test": outside}
    return FeatureSet("digits", _features(network, split.inputs), split.labels, MappingProxyType(pools), hidden=64)


def _made(network: FeatureExtractor, like: Inputs) -> dict[str, Tensor]:
    """Returns the pools of the search, made of noise and of the images' own patches."""
    return {each: _features(network, pool(each, 2 * _POOL, like, derive(1, each))) for each in ("noise", "jigsaw")}


def _features(network: FeatureExtractor, inputs: Inputs) -> Tensor:
    return cached_features(network, inputs, device=torch.device("cpu")).clone()


def _pixels(features: Tensor) -> Tensor:
    return features[:, :, None, None]
