"""Sources: a data set as it is found (a folder, a tar, scikit-learn's digits) and how it becomes splits."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from moprune.data.corruptions import corrupted
from moprune.data.inputs import ImageFiles, Inputs, JoinedInputs, Mode, TarImages, TensorInputs
from moprune.data.splits import Split, limit, stratified
from moprune.data.tars import index_tar
from moprune.errors import UsageError, not_one_of
from moprune.seeding import derive

SPLITS = ("train", "search", "select", "test")
"""What images are for: fitting weights, the optimiser, choosing among its results, the final report."""

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
_SUBSETS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_ONE_SUBSET_SHARES = (0.5, 0.15, 0.15, 0.2)


@dataclass(frozen=True, eq=False)
class Source:
    """A labelled data set in the subsets that it came in.

    Args:
        classes: the class names; label ``i`` means ``classes[i]`` in every subset.
        subsets: by name, such as ``"all"``, or ``"train"`` and ``"test"``.
    """

    classes: tuple[str, ...]
    subsets: Mapping[str, Split]

    def subset(self, name: str) -> Split:
        """Returns one subset.

        Raises:
            UsageError: there is none of that name; the message lists those there are.
        """
        if name not in self.subsets:
            raise not_one_of("subset", name, self.subsets)
        return self.subsets[name]

    def without(self, class_names: Sequence[str], subset: str | None = None) -> tuple["Source", Inputs]:
        """Holds classes out, to be used as images of none of the classes left.

        Args:
            class_names: the classes to hold out.
            subset: where the pool's images come from; None means all subsets. They leave all in any case.

        Returns:
            The source without the classes, its labels renumbered, and the held-out images.

        Raises:
            UsageError: an unknown class or subset, none given, or fewer than two classes left.
        """
        for name in class_names:
            if name not in self.classes:
                raise not_one_of("class to hold out", name, self.classes)
        kept = tuple(name for name in self.classes if name not in class_names)
        if not class_names or len(kept) < 2:
            raise UsageError(
                f"holding out {len(set(class_names))} of {len(self.classes)} classes leaves {len(kept)}; "
                "hold out at least one and leave at least two"
            )
        renumber = torch.tensor([kept.index(name) if name in kept else -1 for name in self.classes])
        chosen = [self.subset(subset)] if subset is not None else list(self.subsets.values())
        pools = [part.inputs.subset((renumber[part.labels] < 0).nonzero().flatten().tolist()) for part in chosen]
        subsets = {}
        for name, part in self.subsets.items():
            stays = part.subset((renumber[part.labels] >= 0).nonzero().flatten().tolist())
            subsets[name] = Split(stays.inputs, renumber[stays.labels])
        return Source(kept, subsets), pools[0] if len(pools) == 1 else JoinedInputs(tuple(pools))

    def corrupted(self, name: str, seed: int = 0) -> "Source":
        """Returns the source with all its images under one corruption: a shift from what a network has learnt.

        Args:
            name: ``type@severity``, see :func:`moprune.data.corrupted`; of the strengths that suit the first image.
            seed: decides the noise.

        Raises:
            UsageError: an unknown corruption, or a subset without images.
        """
        subsets = {
            subset: Split(corrupted(part.inputs, name, seed=derive(seed, "corrupted", subset)), part.labels)
            for subset, part in self.subsets.items()
        }
        return Source(self.classes, subsets)


@dataclass(frozen=True)
class SplitPlan:
    """Where a split's images come from.

    Args:
        subset: the source's subset.
        share: the share of each of its classes, above 0 and at most 1.
        limit: the most images, picked with the same class shares; None for no limit.
    """

    subset: str
    share: float = 1.0
    limit: int | None = None


def default_plan(source: Source) -> dict[str, SplitPlan]:
    """Returns the plan for a source that none was given for.

    One subset: train 0.5, search 0.15, select 0.15, test 0.2. Train and test (or train and val): train 0.6,
    search 0.2, select 0.2 of train, and all of the other. Train, val and test: search and select halve val.

    Raises:
        UsageError: the subsets are none of these.
    """
    names = set(source.subsets)
    if len(names) == 1:
        (only,) = names
        return {split: SplitPlan(only, share) for split, share in zip(SPLITS, _ONE_SUBSET_SHARES, strict=True)}
    if names == {"train", "val", "test"}:
        halves = {split: SplitPlan("val", 0.5) for split in ("search", "select")}
        return {"train": SplitPlan("train"), **halves, "test": SplitPlan("test")}
    if len(names) == 2 and "train" in names and names <= {"train", "val", "test"}:
        (held_back,) = names - {"train"}
        fifths = {split: SplitPlan("train", 0.2) for split in ("search", "select")}
        return {"train": SplitPlan("train", 0.6), **fifths, "test": SplitPlan(held_back)}
    raise UsageError(
        f"no default division for subsets {', '.join(sorted(names))}; say which subset and share each of "
        f"{', '.join(SPLITS)} takes"
    )


def divide(source: Source, plan: Mapping[str, SplitPlan], seed: int) -> dict[str, Split]:
    """Draws the four splits; those from the same subset are disjoint, each with its share of every class.

    Args:
        source: where from.
        plan: for each of train, search, select and test, what it takes.
        seed: decides which images go where.

    Raises:
        UsageError: a split missing or unknown, an unknown subset, shares of a subset above 1 together, or a
            limit below the number of classes.
    """
    for split in plan:
        if split not in SPLITS:
            raise not_one_of("split", split, SPLITS)
    missing = [split for split in SPLITS if split not in plan]
    if missing:
        raise UsageError(f"no plan for split {missing[0]}; say which subset and share it takes")
    by_subset: dict[str, list[str]] = {}
    for split in SPLITS:
        by_subset.setdefault(plan[split].subset, []).append(split)
    result: dict[str, Split] = {}
    for subset, splits in by_subset.items():
        whole = source.subset(subset)
        shares = [plan[split].share for split in splits]
        if min(shares) <= 0 or sum(shares) > 1 + 1e-6:
            taken = ", ".join(f"{split} {share:g}" for split, share in zip(splits, shares, strict=True))
            raise UsageError(f"shares of subset {subset!r} ({taken}) must be above 0 and sum to 1 at most")
        for split, indices in zip(splits, stratified(whole.labels, shares, seed, f"subset {subset}"), strict=True):
            part, most = whole.subset(indices), plan[split].limit
            if most is not None:
                if most < len(source.classes):
                    raise UsageError(
                        f"limit {most} of split {split} is below one for each of "
                        f"{len(source.classes)} classes; raise it"
                    )
                part = part.subset(limit(part.labels, most, derive(seed, "limit of split", split)))
            result[split] = part
    return {split: result[split] for split in SPLITS}


def open_folder(path: str | Path, mode: Mode = "RGB") -> Source:
    """Opens ``DIR/<class>/*.jpg`` or ``DIR/{train,val,test}/<class>/*.jpg`` (PNG, WebP, ... too).

    Images may lie deeper below their class folder; hidden files and files of other kinds are left aside. One
    folder that holds all of this may come first.

    Raises:
        UsageError: no such folder, no images, images outside class folders, one class only, a class without
            images, or subsets that differ in their classes.
    """
    root = Path(path)
    if not root.is_dir():
        raise UsageError(f"no folder {root}; check the path")
    files: list[str] = []
    folders: list[str] = []
    for folder, below, names in os.walk(root, followlinks=True):
        here = Path(folder).relative_to(root)
        files.extend((here / name).as_posix() for name in names)
        folders.extend((here / name).as_posix() for name in below)
    return _arranged(f"folder {root}", files, folders, lambda chosen: ImageFiles(root, tuple(chosen), mode))


def open_tar(path: str | Path, mode: Mode = "RGB") -> Source:
    """Opens an uncompressed tar laid out as :func:`open_folder` says; nothing is extracted.

    Raises:
        UsageError: as :func:`open_folder`, and for a tar that cannot be read in place.
    """
    file = Path(path)
    index = index_tar(file)
    return _arranged(
        f"tar {file}",
        list(index.members),
        list(index.folders),
        lambda names: TarImages(file, tuple(names), mode, tuple(index.members[name] for name in names)),
    )


def open_images(path: str | Path, mode: Mode = "RGB") -> Inputs:
    """Opens all images below a folder or in an uncompressed tar, whatever their folders: an OOD pool, say.

    Raises:
        UsageError: nothing there, no images, or a tar that cannot be read in place.
    """
    root = Path(path)
    if root.is_file():
        index = index_tar(root)
        names = _images(list(index.members), f"tar {root}")
        return TarImages(root, names, mode, tuple(index.members[name] for name in names))
    if not root.is_dir():
        raise UsageError(f"no folder or tar {root}; check the path")
    files = [
        (Path(folder).relative_to(root) / name).as_posix()
        for folder, _, names in os.walk(root, followlinks=True)
        for name in names
    ]
    return ImageFiles(root, _images(files, f"folder {root}"), mode)


def _images(names: Sequence[str], where: str) -> tuple[str, ...]:
    kept = (name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES)
    images = tuple(sorted(name for name in kept if _visible(PurePosixPath(name).parts)))
    if not images:
        raise UsageError(f"{where} holds no images")
    return images


def open_digits() -> Source:
    """Opens scikit-learn's 1,797 digits: float tensors (1, 8, 8) in 0..1, ten classes, no download."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).div(16).unsqueeze(1)
    split = Split(TensorInputs(images), torch.tensor(digits.target, dtype=torch.int64))
    return Source(tuple(str(name) for name in digits.target_names), {"all": split})


def _arranged(where: str, files: Sequence[str], folders: Sequence[str], read: Callable[[list[str]], Inputs]) -> Source:
    """Returns the source that a list of files and folders (relative names with ``/``) describes."""
    images = sorted(
        parts
        for name in files
        if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and _visible(parts := PurePosixPath(name).parts)
    )
    if not images:
        raise UsageError(f"{where} holds no images; it needs one folder of images a class")
    kept = [parts for name in folders if _visible(parts := PurePosixPath(name).parts)]
    lead = 0
    tops = {parts[0] for parts in (*images, *kept)}
    if len(tops) == 1 and tops.isdisjoint(_SUBSETS) and all(len(parts) > 2 for parts in images):
        lead = 1  # one folder around everything, as archives often have
    depth = lead + _has_subsets(where, [parts[lead:] for parts in images])
    outside = [parts for parts in images if len(parts) < depth + 2]
    if outside:
        raise UsageError(f"image {'/'.join(outside[0])} in {where} lies in no class folder; move or remove it")
    found: dict[str, dict[str, list[str]]] = {}
    for parts in images:
        subset = _SUBSETS[parts[lead].lower()] if depth > lead else "all"
        found.setdefault(subset, {}).setdefault(parts[depth], []).append("/".join(parts))
    _check_folders(where, found, [parts[lead:] for parts in kept], depth - lead)
    return _labelled(where, found, read)


def _visible(parts: Sequence[str]) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _has_subsets(where: str, images: Sequence[tuple[str, ...]]) -> bool:
    """Returns whether the first folders are train, val or test; a class may have such a name too."""
    tops = {parts[0] for parts in images if len(parts) > 2 and parts[0].lower() in _SUBSETS}
    if not tops:
        return False
    strays = [parts for parts in images if parts[0] not in tops or len(parts) < 3]
    if strays:
        raise UsageError(
            f"{where} has subset folders ({', '.join(sorted(tops))}), but image {'/'.join(strays[0])} is in "
            "none of their class folders; move or remove it"
        )
    if len({_SUBSETS[top.lower()] for top in tops}) < len(tops):
        raise UsageError(f"{where} has two folders for one subset among {', '.join(sorted(tops))}; merge them")
    return True


def _check_folders(
    where: str,
    found: Mapping[str, Mapping[str, list[str]]],
    folders: Sequence[tuple[str, ...]],
    has_subsets: int,
) -> None:
    """Raises for a class or subset folder that no image lies below: likelier a lost class than a wish."""
    for parts in folders:
        if has_subsets and parts[:1] and parts[0].lower() not in _SUBSETS:
            continue
        subset = _SUBSETS[parts[0].lower()] if has_subsets and parts else "all"
        if has_subsets and len(parts) == 1 and subset not in found:
            raise UsageError(f"subset folder {parts[0]!r} in {where} holds no images; fill or remove it")
        if len(parts) == 1 + has_subsets and parts[-1] not in found.get(subset, {}):
            raise UsageError(
                f"class {parts[-1]!r} has no images (folder {'/'.join(parts)} in {where}); fill or remove it"
            )


def _labelled(where: str, found: Mapping[str, Mapping[str, list[str]]], read: Callable[[list[str]], Inputs]) -> Source:
    classes = tuple(sorted({name for by_class in found.values() for name in by_class}))
    if len(classes) < 2:
        raise UsageError(f"{where} has only one class ({classes[0]!r}); at least two are needed")
    for subset, by_class in found.items():
        lacking = [name for name in classes if name not in by_class]
        if lacking:
            raise UsageError(
                f"subsets of {where} have different classes: {subset!r} lacks {', '.join(lacking)}; "
                "give every subset the same class folders"
            )
    subsets = {}
    for subset in sorted(found):
        names = [name for label in classes for name in found[subset][label]]
        counts = torch.tensor([len(found[subset][label]) for label in classes])
        subsets[subset] = Split(read(names), torch.arange(len(classes)).repeat_interleave(counts))
    return Source(classes, subsets)
