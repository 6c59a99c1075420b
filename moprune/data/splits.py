"""Splits: inputs with their labels, and how one set is divided into parts with the same class shares."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from moprune.data.inputs import Inputs
from moprune.errors import UsageError
from moprune.seeding import torch_generator


@dataclass(frozen=True, eq=False)
class Split:
    """Inputs and their labels.

    Args:
        inputs: n items.
        labels: (n,) integers, numbers of classes; kept as int64 on the CPU.

    Raises:
        UsageError: labels that are not n integers.
    """

    inputs: Inputs
    labels: Tensor

    def __post_init__(self) -> None:
        labels = self.labels
        if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
            raise UsageError(
                f"labels of shape {tuple(labels.shape)} and type {labels.dtype} are not class numbers; "
                "give a one-dimensional integer tensor"
            )
        if len(labels) != len(self.inputs):
            raise UsageError(f"{len(self.inputs)} inputs have {len(labels)} labels; give one label an input")
        object.__setattr__(self, "labels", labels.detach().to("cpu", torch.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int]) -> "Split":
        """Returns the items at ``indices`` with their labels, in that order."""
        return Split(self.inputs.subset(indices), self.labels[torch.as_tensor(indices, dtype=torch.int64)])

    def digest(self) -> str:
        """Returns the SHA-256 (hexadecimal) of inputs and labels."""
        whole = hashlib.sha256(self.inputs.digest().encode())
        whole.update(self.labels.contiguous().numpy().astype("<i8").tobytes())
        return whole.hexdigest()


def stratified(labels: Tensor, shares: Sequence[float], seed: int, purpose: str) -> list[list[int]]:
    """Divides items into disjoint random parts, each with its share of every class.

    A class is apportioned by largest remainder, so each part is within one item of its share, except that
    a class with at least as many items as there are parts has at least one item in each.

    Args:
        labels: (n,) integers.
        shares: one positive share a part, together at most 1; what is left over goes nowhere.
        seed: with ``purpose``, decides which items go where.
        purpose: what the parts are for.

    Returns:
        For each part the indices of its items, ascending.

    Raises:
        UsageError: no shares, one that is not positive, or more than 1 together.
    """
    exact = [Fraction(share).limit_denominator(10**9) for share in shares]
    total = sum(exact, Fraction(0))
    if not exact or min(exact) <= 0 or total > 1 + Fraction(1, 10**6):
        raise UsageError(
            f"shares {list(shares)} for {purpose} cannot be used; give positive ones that sum to 1 at most"
        )
    weights = [share / max(total, Fraction(1)) for share in exact]
    parts: list[list[int]] = [[] for _ in weights]
    weights.append(1 - sum(weights, Fraction(0)))
    for label in labels.unique().tolist():
        items = (labels == label).nonzero().flatten()
        mixed = items[torch.randperm(len(items), generator=torch_generator(seed, "stratified", purpose, label))]
        sizes = _apportion(len(items), weights, len(parts))
        for part, chunk in zip(parts, mixed.split(sizes), strict=False):
            part.extend(chunk.tolist())
    return [sorted(part) for part in parts]


def limit(labels: Tensor, count: int, seed: int) -> list[int]:
    """Picks ``count`` items at random with the same class shares as the whole (all if there are fewer).

    Args:
        labels: (n,) integers.
        count: how many items; every class present gets at least one.
        seed: decides which.

    Returns:
        The indices of the items, ascending.

    Raises:
        UsageError: ``count`` is smaller than the number of classes.
    """
    if count >= len(labels):
        return list(range(len(labels)))
    present, sizes = labels.unique(return_counts=True)
    if count < len(present):
        raise UsageError(f"a limit of {count} images is below one for each of {len(present)} classes; raise it")
    counts = _apportion(count, [Fraction(size, len(labels)) for size in sizes.tolist()], len(present))
    chosen: list[int] = []
    for label, wanted in zip(present.tolist(), counts, strict=True):
        items = (labels == label).nonzero().flatten()
        order = torch.randperm(len(items), generator=torch_generator(seed, "limit", label))
        chosen.extend(items[order[:wanted]].tolist())
    return sorted(chosen)


def _apportion(total: int, weights: Sequence[Fraction], needy: int) -> list[int]:
    """Divides ``total`` by largest remainder over weights that sum to 1.

    Where there is enough for all, each of the first ``needy`` parts gets at least one, from the largest part.
    """
    quotas = [total * weight for weight in weights]
    sizes = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda part: sizes[part] - quotas[part])
    for part in by_remainder[: total - sum(sizes)]:
        sizes[part] += 1
    if total >= needy:
        for part in range(needy):
            if sizes[part] == 0:
                # A part that none needs gives first: its items are used by nobody.
                spare = max(range(len(sizes)), key=lambda other: (other >= needy and sizes[other] > 0, sizes[other]))
                sizes[spare] -= 1
                sizes[part] += 1
    return sizes
