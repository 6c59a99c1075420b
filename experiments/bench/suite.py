"""All kinds of evaluation at sizes of seconds, on data that comes with moprune, and what each can be scaled along."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from experiments.bench import trials
from experiments.bench.attribution import bench_attribution
from experiments.bench.heads import bench_heads
from experiments.bench.ood import bench_ood
from experiments.bench.rows import Row, Tell
from experiments.bench.selection import bench_selection
from experiments.bench.weights import bench_weights


@dataclass(frozen=True)
class Kind:
    """A kind of evaluation.

    Attributes:
        measure: takes sizes, ``rounds`` and ``progress`` by name; returns the row of the kind as a whole.
        small: sizes that take seconds.
        axes: what it can be scaled along -> the size that stands for it.
    """

    measure: Callable[..., Row]
    small: Mapping[str, int]
    axes: Mapping[str, str]


def _heads(*, candidates: int, **settings: Any) -> Row:
    return bench_heads(candidates=candidates, naive_candidates=min(4, candidates), **settings)


def _weights(*, images: int, **settings: Any) -> Row:
    return bench_weights(trials.digits(images), **settings)[0]


def _selection(*, candidates: int, epochs: int, **settings: Any) -> Row:
    from experiments.bench.generation import digits

    return bench_selection(digits(candidates, epochs), **settings)[0]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "heads": Kind(
            _heads,
            {"images": 720, "features": 128, "hidden": 64, "classes": 4, "candidates": 32, "epochs": 2},
            {"population": "candidates", "features": "features", "units": "hidden", "images": "images"},
        ),
        "weights": Kind(
            _weights,
            {"images": 355, "candidates": 8, "generations": 3},
            {"population": "candidates", "images": "images"},
        ),
        "selection": Kind(_selection, {"candidates": 6, "epochs": 1}, {"population": "candidates"}),
        "ood": Kind(bench_ood, {"candidates": 8, "hidden": 64}, {"population": "candidates", "units": "hidden"}),
        "attribution": Kind(
            bench_attribution,
            {"candidates": 4, "images": 60, "hidden": 64},
            {"population": "candidates", "images": "images", "units": "hidden"},
        ),
    }
)


def bench_all(rounds: int, progress: Tell) -> Iterator[Row]:
    """Yields a row a kind."""
    for kind in KINDS.values():
        yield kind.measure(**kind.small, rounds=rounds, progress=progress)
