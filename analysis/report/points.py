"""The points of a report: front members and controls with their values, their masks, and when they were found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.consensus import STAGE as CONSENSUS
from analysis.fronts import SPLITS, matrix
from analysis.indicators import sources
from analysis.report.sources import SEARCH, STAGES, UNPRUNED, FinishedFiles
from moprune.errors import MopruneError
from moprune.fronts import nondominated
from moprune.log import EvaluationLog
from moprune.networks.heads import HeadSpec
from problems.pruning.encodings import Encoding


@dataclass(frozen=True)
class Layer:
    """A layer of units that the genome covers.

    Attributes:
        name: in words.
        width: its units.
        shared: whether a unit is the same thing in every seed: features are, hidden neurons start from each seed's
            own weights.
    """

    name: str
    width: int
    shared: bool


@dataclass(frozen=True)
class Point:
    """A member of a front, or a control.

    Attributes:
        id: the solution id.
        seed: its run seed.
        group: ``search``, or the name of a control.
        generation: the generation it was found in, from 0; None where it was not searched for.
        evaluation: how many evaluations had been asked for when it was found, itself included.
        mask: its bits in hexadecimal, see :func:`hex_of`; None where the genome is not a mask.
        kept: units kept in each layer.
        values: split -> measures in order (the objectives first), natural units.
        chosen: whether the rule of choice takes it; there is no choice where there is one point.
        holds: whether it is still non-dominated among its front on the test split.
    """

    id: str
    seed: int
    group: str
    generation: int | None
    evaluation: int | None
    mask: str | None
    kept: list[int]
    values: dict[str, list[float]]
    chosen: bool
    holds: bool

    def bits(self, length: int) -> NDArray[np.bool_]:
        """Returns the mask as so many bits; the inverse of :func:`hex_of`."""
        packed = np.frombuffer(bytes.fromhex(self.mask or ""), dtype=np.uint8)
        return np.unpackbits(packed, count=length).astype(bool)


def hex_of(mask: NDArray[np.bool_]) -> str:
    """Returns a mask's bits in hexadecimal, the first bit most significant, filled up with zeros to whole bytes."""
    return np.packbits(mask).tobytes().hex()


def points(run: FinishedFiles) -> tuple[list[Point], list[Layer]]:
    """Returns every point of the run and the layers their masks cover (none where genomes are not masks)."""
    chosen = {values["solution"] for entry in run.summary["seeds"].values() for values in entry["test"].values()}
    layers: list[Layer] = []
    found: list[Point] = []
    genome: NDArray[Any] | None
    baselines = run.baselines
    for group, table in sources(run.front, run.controls).items():
        for seed in run.seeds:
            rows = table[table["seed"] == seed]
            places = _places(run.log, group, seed, rows["solution"])
            layers = layers or _layers(run.log, places)
            for row, held in zip(rows.to_dict("records"), _undominated(rows, run), strict=True):
                generation, evaluation, genome = places.get(row["solution"], _NOWHERE)
                if group == UNPRUNED:
                    genome = np.ones(sum(layer.width for layer in layers), dtype=bool)
                mask = genome if layers else None
                values = {split: [float(row[f"{o.name}_{split}"]) for o in run.measures] for split in SPLITS}
                found.append(
                    Point(
                        id=row["solution"], seed=seed, group=group, generation=generation, evaluation=evaluation,
                        mask=None if mask is None else hex_of(mask), kept=[] if mask is None else _kept(mask, layers),
                        values=values, chosen=row["solution"] in chosen and group not in baselines, holds=bool(held),
                    )
                )  # fmt: skip
    return found, layers


def _undominated(rows: pd.DataFrame, run: FinishedFiles) -> list[bool]:
    """Returns which rows no other of them dominates on test; equal rows do not dominate each other."""
    F = matrix(rows, run.objectives, "test")
    best = {row.tobytes() for row in F[nondominated(F)]}
    return [row.tobytes() in best for row in F]


_MOST_BITS = 20_000

Place = tuple[int | None, int | None, NDArray[Any]]
"""Generation, evaluation and genome of a solution."""


_NOWHERE = (None, None, None)


def _places(log: EvaluationLog, group: str, seed: int, wanted: pd.Series) -> dict[str, Place]:
    """Returns where solutions lie in the log, by their id, which ends in their position there.

    What the front's members agree on was made after the search: it has a genome, but no generation.
    """
    if group not in STAGES:
        return {}
    places: dict[str, Place] = {}
    for stage in (STAGES[group], CONSENSUS) if group == SEARCH else (STAGES[group],):
        history, genomes = log.history(stage, seed)
        prefix = "" if stage == "search" else stage[0]
        for position, generation, genome in zip(history["position"], history["generation"], genomes, strict=True):
            found = (None, None) if stage == CONSENSUS else (int(generation), int(position) + 1)
            places[f"{prefix}{seed}-{position}"] = (*found, genome)
    if missing := [solution for solution in wanted if solution not in places]:
        raise MopruneError(f"{log.path} does not hold {missing[0]!r}, which {group} has; bring the run's own log back")
    return {solution: places[solution] for solution in wanted}


def _layers(log: EvaluationLog, places: dict[str, Place]) -> list[Layer]:
    """Returns the layers a mask covers: as the log's problem says, else one of the genome's length.

    None where there are too many bits for a page, as the connections of a wide head are.
    """
    genome = next((genome for _, _, genome in places.values()), None)
    if genome is None or genome.dtype != np.bool_ or len(genome) > _MOST_BITS:
        return []
    encoding = _encoding(log)
    if encoding is None:
        return [Layer("genome", len(genome), shared=True)]
    if sum(encoding.widths) != len(genome):
        raise MopruneError(f"{log.path}: genomes of {len(genome)} bits are not those of its problem")
    return [
        Layer(_named(layer, encoding), width, shared=layer == 0)
        for layer, width in zip(encoding.layers, encoding.widths, strict=True)
    ]


def _encoding(log: EvaluationLog) -> Encoding | None:
    """Returns how the log's problem says its bits are laid out, if it does."""
    try:
        problem = (log.meta("fingerprint") or {}).get("problem", {})
        if not {"head", "layers", "edges"} <= problem.keys():
            return None
        spec = HeadSpec(**{**problem["head"], "hidden": tuple(problem["head"]["hidden"])})
        return Encoding(spec, tuple(problem["layers"]), problem["edges"])
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise MopruneError(f"{log.path}: its problem describes no head ({error})") from error


def _named(layer: int, encoding: Encoding) -> str:
    name = "features" if layer == 0 else f"hidden layer {layer}"
    if encoding.edges:
        return f"connections into {'the classes' if layer > len(encoding.spec.hidden) else name}"
    return name


def _kept(genome: NDArray[np.bool_], layers: Sequence[Layer]) -> list[int]:
    ends = np.cumsum([layer.width for layer in layers])[:-1]
    return [int(part.sum()) for part in np.split(genome, ends)]
