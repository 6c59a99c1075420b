"""How rates grow along one axis: more candidates, wider heads, more images, more cores."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from experiments.bench.rows import Row, Tell
from experiments.bench.suite import KINDS
from moprune.errors import UsageError, not_one_of

CORES = "cores"
"""The axis that every kind has."""


def bench_scaling(kind: str, axis: str, values: Sequence[int], *, rounds: int, progress: Tell) -> list[Row]:
    """Measures one kind at each value along an axis, its other sizes as in :data:`experiments.bench.suite.KINDS`.

    Args:
        kind: one of :data:`experiments.bench.suite.KINDS`.
        axis: one of the kind's axes, or :data:`CORES`.
        values: what to take, each >= 1; of cores no more than the machine has.
        rounds: times each way is measured; >= 2.
        progress: told about each step.

    Returns:
        A row a value.

    Raises:
        UsageError: an unknown kind or axis, or values out of range.
    """
    if kind not in KINDS:
        raise not_one_of("kind of benchmark", kind, KINDS)
    chosen = KINDS[kind]
    if axis not in (*chosen.axes, CORES):
        raise not_one_of(f"axis of {kind}", axis, [*chosen.axes, CORES])
    _check(axis, values)
    rows = []
    for value in values:
        progress(f"{axis} {value}")
        with threads(value if axis == CORES else torch.get_num_threads()):
            sizes = chosen.small if axis == CORES else {**chosen.small, chosen.axes[axis]: value}
            row = chosen.measure(**sizes, rounds=rounds, progress=progress)
        rows.append(replace(row, name=f"{kind}, {axis} {value}"))
    return rows


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Has torch use so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check(axis: str, values: Sequence[int]) -> None:
    if not values or min(values) < 1 or len(set(values)) < len(values):
        raise UsageError(
            f"--values {','.join(map(str, values))}: give different whole numbers of at least 1, as 4,8,16"
        )
    most = os.cpu_count() or 1
    if axis == CORES and max(values) > most:
        raise UsageError(f"--values: {max(values)} cores are asked for, and this machine has {most}")
