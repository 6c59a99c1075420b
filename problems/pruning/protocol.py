"""Which images a head learns from before it is scored on a split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moprune.data import Task, stratified
from moprune.errors import UsageError

Rows = Mapping[str, Tensor]
"""Some images of a task: a split -> their places in it, int64."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a head learns from, and what it is scored on.

    Attributes:
        name: what tells its training images from those of other lessons of the same run seed.
        train: the images it learns from.
        scored: the images that stand for the split; None for all of it.
    """

    name: str
    train: Rows
    scored: Rows | None = None


@dataclass(frozen=True)
class Protocol:
    """How the splits of a task serve training and scoring.

    The default trains on ``train`` alone, whatever is scored. With ``folds`` the ``search`` split is cross-validated:
    each fold of it is scored by heads that learnt from ``train`` and the other folds. With ``refit`` what has been used
    up is trained on: heads scored on ``select`` learn from ``train`` and ``search``, those scored on ``test`` from all
    three. Whatever the protocol, no head is scored on an image it learnt from, and folds are common to all candidates.

    Attributes:
        folds: of the search split, >= 1; 1 holds it out as it is.
        refit: whether later splits are scored by heads that learnt from the earlier ones too.
    """

    folds: int = 1
    refit: bool = False

    def __post_init__(self) -> None:
        if self.folds < 1:
            raise UsageError(f"folds must be >= 1, not {self.folds}; 1 holds the search split out as it is")

    def lessons(self, task: Task, split: str, seed: int) -> list[Lesson]:
        """Returns what each head scored on a split learns from; one lesson, or one a fold.

        Args:
            task: the data.
            split: ``search``, ``select`` or ``test``.
            seed: the run seed, which decides the folds.
        """
        if split == "search" and self.folds > 1:
            return self._folds(task, seed)
        used = {"search": ("train",), "select": ("train", "search"), "test": ("train", "search", "select")}[split]
        learnt: Sequence[str] = used if self.refit else ("train",)
        return [Lesson("+".join(learnt), {each: torch.arange(len(task.split(each))) for each in learnt})]

    def _folds(self, task: Task, seed: int) -> list[Lesson]:
        labels = task.search.labels
        if self.folds > len(labels):
            raise UsageError(f"{self.folds} folds need as many images; split search has {len(labels)}")
        parts = [torch.tensor(p) for p in stratified(labels, [1 / self.folds] * self.folds, seed, "folds of search")]
        train = torch.arange(len(task.train))
        return [
            Lesson(
                f"fold {k + 1} of {self.folds}",
                {"train": train, "search": torch.cat([part for j, part in enumerate(parts) if j != k])},
                {"search": parts[k]},
            )
            for k in range(self.folds)
        ]
