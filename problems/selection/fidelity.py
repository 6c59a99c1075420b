"""Cheaper ways to score a candidate: fewer epochs and images, and folds of the data."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from moprune.data import Split, limit
from moprune.errors import UsageError


@dataclass(frozen=True)
class Rung:
    """A cheaper fidelity: candidates are trained for part of the epochs, on part of the images.

    Attributes:
        epochs: share of the recipe's epochs, in (0, 1]; at least one is trained.
        images: share of the training images, class by class, in (0, 1]; at least one of each class is learnt from.

    Raises:
        UsageError: a share out of its range.
    """

    epochs: float = 1.0
    images: float = 1.0

    def __post_init__(self) -> None:
        for name, share in (("epochs", self.epochs), ("images", self.images)):
            if not 0 < share <= 1:
                raise UsageError(f"rung: {name} is {share}; give a share above 0 and up to 1")

    def trained(self, epochs: int) -> int:
        """Returns the epochs trained of a recipe's, rounded, at least 1."""
        return max(1, round(self.epochs * epochs))

    def chosen(self, labels: Tensor, seed: int) -> Tensor:
        """Returns the places of the images trained on, int64 (k,), ascending."""
        count = max(len(labels.unique()), round(self.images * len(labels)))
        return torch.as_tensor(limit(labels, count, seed), dtype=torch.int64)


def check_rungs(rungs: Sequence[Rung]) -> None:
    """Checks that each rung costs more than the one before, and the last less than everything.

    Raises:
        UsageError: it does not.
    """
    costs = [rung.epochs * rung.images for rung in rungs]
    for number, (cost, following) in enumerate(pairwise([*costs, 1.0])):
        if cost >= following:
            what = f"rung {number} costs {cost:.3g} of a full training and the next fidelity {following:.3g}"
            raise UsageError(f"rungs: {what}; give them in rising order, all below 1")


def check_folds(folds: int | None, *splits: Split) -> None:
    """Checks that every class of every split has an image in each fold.

    Raises:
        UsageError: a class has too few, or there is less than one fold.
    """
    if folds is None:
        return
    least = min(int(split.labels.unique(return_counts=True)[1].min()) for split in splits)
    if not 1 <= folds <= least:
        raise UsageError(f"folds is {folds}; give 1 to {least}, the images of the smallest class in train and search")


def fold_of(labels: Tensor, number: int, folds: int) -> Tensor:
    """Returns the places of the images of a fold: of each class a contiguous slice, as in BioTune's published code.

    Slices of one class differ by at most one image; those that do not come out even are longer in the first folds.

    Args:
        labels: (n,) int64.
        number: of the fold, >= 0, counted on from the first again behind the last.
        folds: how many there are, each class having as many images.

    Returns:
        int64 (k,), ascending.
    """
    slices = [(labels == label).nonzero().flatten().tensor_split(folds)[number % folds] for label in labels.unique()]
    return torch.cat(slices).sort().values
