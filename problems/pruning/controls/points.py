"""What a control is: points on the axes of the search, made by something else than the search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moprune.errors import UsageError
from moprune.networks.heads import TrainedHead
from moprune.population import Training, TrainingSet
from problems.pruning.encodings import Encoding

Recipe = Callable[[TrainingSet], TrainedHead]
"""Makes a head with weights of its own from whatever training set is in force: a fold, a split, everything.

It can be pickled, always makes the same of the same set, and leaves its head on the set's device. The head may be of
another shape than the search's (a linear one, say); it has the same features and classes.
"""


@dataclass(frozen=True, eq=False)
class Setting:
    """What a control may use.

    Attributes:
        encoding: what the bits of a genome switch.
        data: the training set a control may look at. What it takes from there into a genome it has seen; a genome
            scored by cross-validation over the same images is therefore scored too kindly, a recipe is not.
        training: how candidates are trained.
        seed: the run seed.
        sizes: units that controls with a choice keep, each in 1..length; see :func:`geometric_sizes`.
    """

    encoding: Encoding
    data: TrainingSet
    training: Training
    seed: int
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        length = self.encoding.length
        if not self.sizes or not all(1 <= size <= length for size in self.sizes):
            raise UsageError(f"sizes of controls must be in 1..{length} (the bits of a genome), not {list(self.sizes)}")


@dataclass(frozen=True, eq=False)
class Point:
    """One point of a control: a genome to be trained as any candidate, or a recipe that makes its own head.

    Attributes:
        name: what tells it from the control's other points.
        genome: ``(length,)``, or None.
        fit: the recipe, or None; exactly one of the two is given.
    """

    name: str
    genome: NDArray[np.bool_] | None = None
    fit: Recipe | None = None

    def __post_init__(self) -> None:
        if (self.genome is None) == (self.fit is None):
            raise UsageError(f"point {self.name!r} of a control needs either a genome or a recipe")


@dataclass(frozen=True)
class Control:
    """A way to choose or train heads that the search has to beat.

    Attributes:
        description: one line.
        points: makes its points.
        suits: whether it has any in the search space of an encoding.
    """

    description: str
    points: Callable[[Setting], list[Point]]
    suits: Callable[[Encoding], bool]


def any_encoding(_: Encoding) -> bool:
    """Suits every encoding."""
    return True


def features_alone(encoding: Encoding) -> bool:
    """Suits encodings whose bits switch features and nothing else."""
    return encoding.layers == (0,)


def geometric_sizes(length: int, count: int = 9, least: float = 0.01) -> tuple[int, ...]:
    """Returns ``count`` sizes at most, from ``least`` of ``length`` (at least 1) to all of it, by equal ratios."""
    grid = np.geomspace(max(1.0, least * length), length, count)
    return tuple(sorted({round(float(size)) for size in grid}))


def units(size: int) -> str:
    """Returns a point's name by its size."""
    return f"{size} unit" if size == 1 else f"{size} units"


def distinct(points: Sequence[Point]) -> list[Point]:
    """Returns the points without genomes that are empty or that an earlier point has."""
    seen, kept = set(), []
    for point in points:
        if point.genome is not None:
            key = point.genome.tobytes()
            if key in seen or not point.genome.any():
                continue
            seen.add(key)
        kept.append(point)
    return kept


def active_fraction(encoding: Encoding, head: TrainedHead) -> float:
    """Returns the share of the encoding's units that a head has, in 0..1: the axis of the genomes, for a recipe.

    Features count if the head reads them, neurons if its layer of the same number has them, connections if its matrix
    of the same number has them and they are not removed. A linear head in place of a deeper one has features alone.
    """
    same_depth = len(head.widths) == len(encoding.spec.units)
    if encoding.edges:
        (layer,) = encoding.layers
        return (head.weights.matrices[layer - 1].numel() - head.removed) / encoding.length if same_depth else 0.0
    return sum(head.widths[layer] for layer in encoding.layers if layer == 0 or same_depth) / encoding.length
