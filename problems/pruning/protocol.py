"""Which images a head learns from before it is scored on a split."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from moprune.data import Task
from moprune.errors import UsageError, not_one_of
from moprune.seeding import torch_generator

_USED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"search": ("train",), "select": ("train", "search"), "test": ("train", "search", "select")}
)
"""What has been used up by the time a split is scored."""

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

        Raises:
            UsageError: another split, more folds than images, or refitting where search or select are the test.
        """
        if split not in _USED:
            raise not_one_of("split to score on", split, _USED)
        if self.folds > len(task.search):
            raise UsageError(
                f"{self.folds} folds need as many images; split search has {len(task.search)}: give it more, or take "
                "fewer folds"
            )
        if self.refit and task.optimistic:
            raise UsageError(
                "where the test is searched, refit would train heads on what they are scored on; turn it off"
            )
        if split == "search" and self.folds > 1:
            return self._folds(task, seed)
        learnt = _USED[split] if self.refit else ("train",)
        return [Lesson("+".join(learnt), {each: torch.arange(len(task.split(each))) for each in learnt})]

    def _folds(self, task: Task, seed: int) -> list[Lesson]:
        labels = task.search.labels
        mixed = torch.randperm(len(labels), generator=torch_generator(seed, "folds of search"))
        by_class = mixed[labels[mixed].argsort(stable=True)]  # dealt out in turn: folds of a size, alike in classes
        parts = [by_class[k :: self.folds].sort().values for k in range(self.folds)]
        train = torch.arange(len(task.train))
        return [
            Lesson(
                f"fold {k + 1} of {self.folds}",
                {"train": train, "search": torch.cat([part for j, part in enumerate(parts) if j != k])},
                {"search": parts[k]},
            )
            for k in range(self.folds)
        ]
