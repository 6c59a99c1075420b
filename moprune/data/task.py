"""Task: a classification data set with the four splits that a search needs, and images from outside it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moprune.data.corruption_types import Table
from moprune.data.corruptions import corrupted_splits
from moprune.data.features import is_feature_folder, open_feature_pool
from moprune.data.inputs import Inputs, JoinedInputs, Mode, TensorInputs
from moprune.data.ood import POOLS, pool
from moprune.data.sources import (
    SPLITS,
    Source,
    SplitPlan,
    default_plan,
    divide,
    open_folder,
    open_images,
    open_tar,
)
from moprune.data.splits import Split, limit, stratified
from moprune.errors import UsageError, not_one_of
from moprune.seeding import derive

OOD_SPLITS = ("search", "select", "test")


@dataclass(frozen=True, eq=False)
class Task:
    """What a search works on.

    Args:
        name: for people; not part of the digest.
        classes: their names; label ``i`` means ``classes[i]``.
        train: fits weights.
        search: what the optimiser sees.
        select: chooses among what the optimiser found.
        test: opened once, at the end.
        ood: for search, select and test the named pools of images from outside the task. search and select
            have the same names with different images; test has other names.
        corruptions: for each split, its images under named corruptions (``type@severity``), in the order of its
            labels. search and select have the same names, train none or those too; test has other types.
        optimistic: whether search and select may be the test itself, as in :meth:`published`.

    Raises:
        UsageError: fewer than two classes or one named twice; a split that is empty, lacks a class or has a
            label out of range; OOD pools that are empty or named otherwise; corruptions likewise.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    search: Split
    select: Split
    test: Split
    ood: Mapping[str, Mapping[str, Inputs]] = field(default_factory=dict)
    corruptions: Mapping[str, Mapping[str, Inputs]] = field(default_factory=dict)
    optimistic: bool = False

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise UsageError(f"task {self.name!r} has {len(self.classes)} class; at least two are needed")
        if len(set(self.classes)) < len(self.classes):
            repeated = next(each for each in self.classes if self.classes.count(each) > 1)
            raise UsageError(f"task {self.name!r} names class {repeated!r} twice; rename one")
        for split in SPLITS:
            self._check_split(split, self.split(split).labels)
        self._check_ood()
        self._check_corruptions()
        if not self.optimistic:
            self._check_pools_apart()
            self._check_corruptions_apart()
        object.__setattr__(self, "ood", {split: dict(self.ood.get(split, {})) for split in OOD_SPLITS})
        object.__setattr__(self, "corruptions", {split: dict(self.corruptions.get(split, {})) for split in SPLITS})

    def _check_split(self, split: str, labels: Tensor) -> None:
        where = f"split {split!r} of task {self.name!r}"
        if len(labels) == 0:
            raise UsageError(f"{where} is empty; give it a larger share")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(self.classes):
            wrong = low if low < 0 else high
            raise UsageError(f"{where} has label {wrong}; labels are 0..{len(self.classes) - 1}, one a class")
        counts = torch.bincount(labels, minlength=len(self.classes))
        if int(counts.min()) == 0:
            lacking = self.classes[int(counts.argmin())]
            raise UsageError(f"class {lacking!r} has no images in {where}; add images or give a larger share")

    def _check_ood(self) -> None:
        for split, pools in self.ood.items():
            if split not in OOD_SPLITS:
                raise not_one_of("OOD split", split, OOD_SPLITS)
            for name, inputs in pools.items():
                if len(inputs) == 0:
                    raise UsageError(f"OOD pool {name!r} of {split} in task {self.name!r} is empty; add images")

    def _check_corruptions(self) -> None:
        for split, versions in self.corruptions.items():
            if split not in SPLITS:
                raise not_one_of("split of corruptions", split, SPLITS)
            for name, inputs in versions.items():
                if len(inputs) != len(self.split(split)) or name in self.ood.get(split, {}):
                    raise UsageError(
                        f"corruption {name!r} of {split} in task {self.name!r} must have a name of its own and all "
                        f"{len(self.split(split))} images of the split, not {len(inputs)}"
                    )

    def _check_pools_apart(self) -> None:
        search, select, test = (self.ood.get(split, {}) for split in OOD_SPLITS)
        if set(search) != set(select) or any(search[name] is select[name] for name in search):
            named = [", ".join(pools) or "none" for pools in (search, select)]
            raise UsageError(
                f"OOD pools of search ({named[0]}) and select ({named[1]}) in task {self.name!r} must have "
                "the same names and different images; divide each pool in two"
            )
        if shared := sorted(set(search) & set(test)):
            raise UsageError(
                f"OOD pool {shared[0]!r} of task {self.name!r} is in search and test; report on pools that "
                "the search did not see"
            )

    def _check_corruptions_apart(self) -> None:
        train, search, select, test = (set(self.corruptions.get(split, {})) for split in SPLITS)
        if search != select or train not in (set(), search):
            raise UsageError(
                f"corruptions of search in task {self.name!r} ({', '.join(sorted(search)) or 'none'}) must be those of "
                "select, and of train if it has any; give all three the same"
            )
        if shared := sorted({_type(name) for name in search} & {_type(name) for name in test}):
            raise UsageError(
                f"corruption {shared[0]!r} of task {self.name!r} is in search and test; report on types that the "
                "search did not see"
            )

    def split(self, name: str) -> Split:
        """Returns the split called train, search, select or test.

        Raises:
            UsageError: another name.
        """
        if name not in SPLITS:
            raise not_one_of("split", name, SPLITS)
        split: Split = getattr(self, name)
        return split

    def published(self) -> "Task":
        """Returns the task as EvoPruneDeepTL used it: all but the test is trained on, and the test is searched.

        Search, select and test are the same images, with the same OOD pools and corruptions. Whatever is chosen there
        looks better than it is; results have to say so.
        """
        learnt = [self.train, self.search, self.select]
        train = Split(JoinedInputs(tuple(each.inputs for each in learnt)), torch.cat([each.labels for each in learnt]))
        scored = ("search", "select", "test")
        return replace(
            self, train=train, search=self.test, select=self.test, optimistic=True,
            ood=dict.fromkeys(scored, self.ood["test"]),
            corruptions=dict.fromkeys(scored, self.corruptions["test"]),
        )  # fmt: skip

    def digest(self) -> str:
        """Returns the SHA-256 (hexadecimal) of classes, splits, OOD pools and corruptions; not of names or paths."""
        parts = {
            "classes": self.classes,
            "splits": {split: self.split(split).digest() for split in SPLITS},
            "ood": _digests(self.ood),
        }
        if any(self.corruptions.values()):  # else as it always was, so that finished runs still know their task
            parts["corruptions"] = _digests(self.corruptions)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def sizes(self) -> dict[str, int]:
        """Returns the number of images: of ``train``, ..., and of each OOD pool as ``ood/search/noise``."""
        sizes = {split: len(self.split(split)) for split in SPLITS}
        for split, pools in self.ood.items():
            sizes.update({f"ood/{split}/{name}": len(inputs) for name, inputs in pools.items()})
        return sizes

    @classmethod
    def from_tensors(
        cls,
        inputs: Tensor,
        labels: Tensor,
        *,
        classes: Sequence[str] | None = None,
        test: tuple[Tensor, Tensor] | None = None,
        ood: Mapping[str, Mapping[str, Tensor]] | None = None,
        shares: Sequence[float] | None = None,
        seed: int = 0,
        name: str = "tensors",
    ) -> "Task":
        """Makes a task of tensors.

        Args:
            inputs: (n, ...) items.
            labels: (n,) integers from 0.
            classes: their names; None numbers them.
            test: inputs and labels kept for the test; None takes a share of the others.
            ood: for ``"search"`` and ``"test"`` named pools (m, ...); those of search are halved for select.
            shares: of train, search, select and, unless ``test`` is given, test; None for .5 .15 .15 .2, or
                .6 .2 .2.
            seed: decides which items go where.
            name: for people.

        Raises:
            UsageError: shapes that differ, values that are not finite, shares that do not fit, and all that
                :class:`Task` refuses.
        """
        subsets = {"train" if test is not None else "all": _tensor_split("inputs", inputs, labels)}
        if test is not None:
            subsets["test"] = _tensor_split("test inputs", *test, like=inputs)
        if classes is None:
            top = max((int(split.labels.max()) for split in subsets.values() if len(split)), default=-1)
            classes = [str(label) for label in range(top + 1)]
        source = Source(tuple(classes), subsets)
        plan = default_plan(source)
        if shares is not None:
            divided = SPLITS if test is None else SPLITS[:3]
            if len(shares) != len(divided):
                raise UsageError(f"{len(shares)} shares were given; give one for each of {', '.join(divided)}")
            for split, share in zip(divided, shares, strict=True):
                plan[split] = SplitPlan(plan[split].subset, share)
        splits = divide(source, plan, seed)
        pools: dict[str, dict[str, Inputs]] = {split: {} for split in OOD_SPLITS}
        for split, given in (ood or {}).items():
            if split not in ("search", "test"):
                raise not_one_of("split for OOD tensors", split, ("search", "test"))
            for pool_name, tensor in given.items():
                whole = _tensor_inputs(f"OOD pool {pool_name!r}", tensor, inputs)
                _place(pools, split, pool_name, whole, seed)
        parts: dict[str, Any] = {**splits, "ood": pools}
        return cls(name, source.classes, **parts)

    @classmethod
    def from_source(
        cls,
        source: Source,
        *,
        plan: Mapping[str, SplitPlan] | None = None,
        ood_search: Sequence[str] = (),
        ood_test: Sequence[str] = (),
        corrupt_search: Sequence[str] = (),
        corrupt_test: Sequence[str] = (),
        table: Table | None = None,
        seed: int = 0,
        name: str = "task",
    ) -> "Task":
        """Makes a task of a source.

        Args:
            source: the labelled images.
            plan: what each split takes; None for :func:`moprune.data.sources.default_plan`.
            ood_search: pools for search and select, which get half of each: classes of the source to hold
                out, built-in pools (:data:`moprune.data.ood.POOLS`), or paths of folders or tars of images
                (as many are drawn as the splits have images). A class goes before a pool, a pool before a path.
            ood_test: pools for the test, likewise.
            corrupt_search: corruptions of search and select, and of train for whoever divides the two anew:
                ``gaussian_noise@3``, see :data:`moprune.data.CORRUPTIONS`.
            corrupt_test: corruptions of the test, of other types.
            table: the corruptions' strengths, ``cifar`` or ``imagenet``; None for cifar where the images have
                up to 64 pixels a side.
            seed: decides which images go where, the pools' contents and the corruptions' noise.
            name: for people.

        Raises:
            UsageError: an unknown pool or corruption, and all that dividing the source and :class:`Task` refuse.
        """
        asked = [*ood_search, *ood_test]
        if repeated := [each for each in asked if asked.count(each) > 1]:
            raise UsageError(f"OOD pool {repeated[0]!r} is asked for twice; give it to search or to test, once")
        held_out: dict[str, Inputs] = {}
        remaining = source
        for pool_name in asked:
            if pool_name in source.classes:
                remaining, held_out[pool_name] = remaining.without([pool_name])
            elif pool_name not in POOLS and not Path(pool_name).exists():
                raise not_one_of("OOD pool, class or existing path", pool_name, [*POOLS, *source.classes])
        splits = divide(remaining, default_plan(remaining) if plan is None else plan, seed)
        pools: dict[str, dict[str, Inputs]] = {split: {} for split in OOD_SPLITS}
        for split, names in (("search", ood_search), ("test", ood_test)):
            for pool_name in names:
                if pool_name in held_out:
                    _place(pools, split, pool_name, held_out[pool_name], seed)
                else:
                    _build(pools, split, pool_name, splits, seed)
        versions = corrupted_splits(splits, corrupt_search, corrupt_test, table, seed)
        parts: dict[str, Any] = {**splits, "ood": pools, "corruptions": versions}
        return cls(name, remaining.classes, **parts)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        *,
        ood_search: Sequence[str] = (),
        ood_test: Sequence[str] = (),
        corrupt_search: Sequence[str] = (),
        corrupt_test: Sequence[str] = (),
        seed: int = 0,
        mode: Mode = "RGB",
        plan: Mapping[str, SplitPlan] | None = None,
        name: str | None = None,
    ) -> "Task":
        """Makes a task of a folder, or an uncompressed tar, of images in one folder a class.

        Args:
            path: see :func:`moprune.data.sources.open_folder` for the layouts.
            ood_search: see :meth:`from_source`.
            ood_test: see :meth:`from_source`.
            corrupt_search: see :meth:`from_source`.
            corrupt_test: see :meth:`from_source`.
            seed: decides which images go where.
            mode: the mode that images are converted to.
            plan: see :meth:`from_source`.
            name: for people; None takes the folder's.

        Raises:
            UsageError: a folder or tar that cannot be used, and all that :meth:`from_source` refuses.
        """
        path = Path(path)
        source = open_tar(path, mode) if path.is_file() else open_folder(path, mode)
        label = path.resolve().stem if name is None else name
        return cls.from_source(
            source,
            plan=plan,
            ood_search=ood_search,
            ood_test=ood_test,
            corrupt_search=corrupt_search,
            corrupt_test=corrupt_test,
            seed=seed,
            name=label,
        )


def _tensor_split(what: str, inputs: Tensor, labels: Tensor, like: Tensor | None = None) -> Split:
    return Split(_tensor_inputs(what, inputs, inputs if like is None else like), labels)


def _tensor_inputs(what: str, tensor: Tensor, like: Tensor) -> TensorInputs:
    if tensor.shape[1:] != like.shape[1:] or tensor.dtype != like.dtype:
        raise UsageError(
            f"{what} have items of shape {tuple(tensor.shape[1:])} and type {tensor.dtype}, the others "
            f"{tuple(like.shape[1:])} and {like.dtype}; make them the same"
        )
    if not bool(torch.isfinite(tensor).all()):
        raise UsageError(f"{what} contain values that are not finite; replace or remove them")
    return TensorInputs(tensor)


def _place(pools: dict[str, dict[str, Inputs]], split: str, name: str, whole: Inputs, seed: int) -> None:
    """Files a pool: one for the test as it is, one for the search in two random halves."""
    if split == "test":
        pools["test"][name] = whole
        return
    if len(whole) < 2:
        raise UsageError(f"OOD pool {name!r} has {len(whole)} image; search and select need one each")
    halves = stratified(torch.zeros(len(whole), dtype=torch.int64), (0.5, 0.5), seed, f"OOD pool {name}")
    pools["search"][name], pools["select"][name] = (whole.subset(half) for half in halves)


def _build(pools: dict[str, dict[str, Inputs]], split: str, name: str, splits: Mapping[str, Split], seed: int) -> None:
    """Files a built-in pool with as many images as the splits that it is for."""
    if name == "jigsaw":
        # Made of each split's own images, so that those of select come from no image of search.
        for each in ("search", "select") if split == "search" else ("test",):
            inputs = splits[each].inputs
            pools[each][name] = pool(name, len(inputs), inputs, derive(seed, "OOD pool", name, each))
        return
    count = len(splits["test"]) if split == "test" else len(splits["search"]) + len(splits["select"])
    if name in POOLS:
        whole = pool(name, count, splits["train"].inputs, derive(seed, "OOD pool", name))
    else:
        found = open_feature_pool(name) if is_feature_folder(Path(name)) else open_images(name)
        drawn = limit(torch.zeros(len(found), dtype=torch.int64), min(count, len(found)), seed)
        whole = found.subset(drawn)
    _place(pools, split, name, whole, seed)


def _type(corruption: str) -> str:
    return corruption.partition("@")[0]


def _digests(parts: Mapping[str, Mapping[str, Inputs]]) -> dict[str, dict[str, str]]:
    return {split: {name: inputs.digest() for name, inputs in each.items()} for split, each in parts.items()}
