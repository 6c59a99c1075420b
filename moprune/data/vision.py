"""torchvision's classification data sets by name, as sources."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moprune.data.inputs import DatasetInputs, Labelled, Mode
from moprune.data.sources import Source
from moprune.data.splits import Split
from moprune.errors import MopruneError, UsageError, not_one_of

# By name, not by looking for subclasses: nothing in torchvision says which data sets have class labels.
TORCHVISION = (
    "CIFAR10",
    "CIFAR100",
    "CLEVRClassification",
    "Caltech101",
    "Caltech256",
    "Country211",
    "DTD",
    "EMNIST",
    "EuroSAT",
    "FER2013",
    "FGVCAircraft",
    "FakeData",
    "FashionMNIST",
    "Flowers102",
    "Food101",
    "GTSRB",
    "ImageNet",
    "Imagenette",
    "KMNIST",
    "LFWPeople",
    "MNIST",
    "OxfordIIITPet",
    "PCAM",
    "Places365",
    "QMNIST",
    "RenderedSST2",
    "SEMEION",
    "STL10",
    "SUN397",
    "SVHN",
    "StanfordCars",
    "USPS",
)
# Not for options: items must come raw.
_OURS = frozenset({"self", "kwargs", "transform", "target_transform", "transforms"})
_SPLIT_SPELLINGS = {
    "train": ("train", "trainval", "train-standard"),
    "val": ("val", "valid"),
    "test": ("test",),
}


def open_torchvision(
    name: str,
    root: str | Path | None = None,
    download: bool = False,
    *,
    mode: Mode | None = None,
    **options: Any,
) -> Source:
    """Opens a classification data set of torchvision with the subsets it has (train, val, test, or all).

    torchvision itself unpickles the CIFAR archives, after it has checked their MD5 against its own list.

    Args:
        name: one of :data:`TORCHVISION`.
        root: the folder that holds the data, or will; not needed for FakeData.
        download: whether torchvision may fetch what is missing.
        mode: the mode images are converted to; None keeps RGB and L and converts others to RGB.
        options: further arguments of the data set, such as EMNIST's ``split`` or FakeData's ``size``.

    Raises:
        UsageError: an unknown name or option, no root where one is needed, data that are not there, a Python
            package that is missing, or labels that are not class numbers.
        MopruneError: the download failed.
    """
    from torchvision import datasets

    known = [each for each in TORCHVISION if hasattr(datasets, each)]
    if name not in known:
        raise not_one_of("torchvision data set", name, known)
    kind = getattr(datasets, name)
    accepted = _parameters(kind)
    for option in options:
        if option not in accepted:
            raise not_one_of(f"option of {name}", option, set(accepted) - {"root", "download"})
    fixed = dict(options)
    if "root" in accepted:
        if root is None:
            raise UsageError(f"torchvision's {name} is kept in a folder; set root to it")
        fixed["root"] = str(root)
    if "download" in accepted:
        fixed["download"] = download
    opened: dict[str, Labelled] = {}
    for subset, choices in _choices(accepted, options):
        for choice in choices:
            dataset = _open(kind, {**fixed, **choice}, root, "download" in accepted and not download)
            if dataset is not None:
                opened[subset] = dataset
                break
    return _as_source(name, opened, mode)


def _parameters(kind: type) -> dict[str, inspect.Parameter]:
    """Returns a data set's arguments, with those of its bases where it hands ``**kwargs`` on to them."""
    found: dict[str, inspect.Parameter] = {}
    for each in kind.__mro__:
        if "__init__" not in vars(each):
            continue
        own = inspect.signature(vars(each)["__init__"]).parameters
        found = {**own, **found}
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in own.values()):
            break
    return {name: found[name] for name in found if name not in _OURS}


def _choices(accepted: dict[str, inspect.Parameter], options: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Returns for each subset the arguments that may select it, the first that works being meant."""
    if "train" in accepted and "train" not in options:
        return [("train", [{"train": True}]), ("test", [{"train": False}])]
    if "split" in accepted and "split" not in options:
        return [
            (subset, [{"split": spelling} for spelling in spellings]) for subset, spellings in _SPLIT_SPELLINGS.items()
        ]
    return [("all", [{}])]


def _open(kind: type, arguments: dict[str, Any], root: object, may_download: bool) -> Labelled | None:
    """Returns the data set, or None if it has no such split."""
    name = kind.__name__
    try:
        dataset: Labelled = kind(**arguments)
        return dataset
    except ImportError as error:
        raise UsageError(
            f"torchvision's {name} needs a package that is not installed ({error}); install it with pip"
        ) from error
    except (ValueError, TypeError) as error:
        if isinstance(error, ValueError) and f"Unknown value '{arguments.get('split')}' for argument split" in str(
            error
        ):
            return None
        raise UsageError(f"torchvision's {name} does not accept its options ({_line(error)}); change them") from error
    except (RuntimeError, OSError, EOFError) as error:
        if arguments.get("download"):
            raise MopruneError(
                f"cannot get torchvision's {name} into {root} ({_line(error)}); check the network and the folder"
            ) from error
        advice = "set download: true" if may_download else "put its files there by hand"
        raise UsageError(f"torchvision's {name} is not complete in {root} ({_line(error)}); {advice}") from error


def _as_source(name: str, opened: dict[str, Labelled], mode: Mode | None) -> Source:
    if not opened:
        raise UsageError(f"torchvision's {name} has no train, val or test split; name one with the option split")
    labels = {subset: _labels(name, dataset) for subset, dataset in opened.items()}
    # Some data sets number classes that none of their images have (EMNIST letters' "N/A"): those go.
    present = torch.cat(list(labels.values())).unique()
    names = _class_names(next(iter(opened.values())), int(present.max()) + 1)
    subsets = {
        subset: Split(DatasetInputs(dataset, range(len(dataset)), mode), torch.searchsorted(present, labels[subset]))
        for subset, dataset in opened.items()
    }
    return Source(tuple(names[label] for label in present.tolist()), subsets)


def _labels(name: str, dataset: Labelled) -> Tensor:
    """Returns the labels (n,) int64: from where data sets usually keep them, else by reading every item."""
    for attribute in ("targets", "labels", "_labels", "y", "_samples"):
        found = getattr(dataset, attribute, None)
        if attribute == "_samples" and found is not None:
            found = [sample[1] for sample in found]
        labels = _class_numbers(found, len(dataset))
        if labels is not None:
            return labels
    labels = _class_numbers([dataset[index][1] for index in range(len(dataset))], len(dataset))
    if labels is None:
        raise UsageError(f"torchvision's {name} has no class labels with these options; change them")
    return labels


def _class_numbers(found: Any, count: int) -> Tensor | None:
    """Returns ``found`` as (count,) int64 if that is what it can be, else None."""
    if found is None:
        return None
    try:
        labels = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError):
        return None
    numbers = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if labels.shape != (count,) or count == 0 or not numbers or int(labels.min()) < 0:
        return None
    return labels.to(torch.int64)


def _class_names(dataset: Labelled, count: int) -> Sequence[str]:
    """Returns ``count`` or more different names: the data set's, numbered where they repeat, or numbers."""
    given = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    if given is None or len(given) < count:
        return [str(label) for label in range(count)]
    names = [each if isinstance(each, str) else ", ".join(each) for each in given]
    return [each if names.count(each) == 1 else f"{each} ({label})" for label, each in enumerate(names)]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
