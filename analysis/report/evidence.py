"""What a report's figures and tables say about the whole run: convergence, choice, indicators, tests, frequencies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis import histories, statistics
from analysis.attribution import frequency
from analysis.fronts import SPLITS
from analysis.indicators import indicators, over_seeds
from analysis.report.points import Layer, Point
from analysis.report.sources import SEARCH, STAGES, FinishedFiles, called, in_words, spread, with_deviation
from analysis.report.tables import Cell, Column, Table

_CURVE_POINTS = 200
_INDICATORS: Mapping[str, str] = {
    "hypervolume": "hypervolume (more is better)",
    "igd_plus": "IGD+ (less is better)",
    "spacing": "spacing (less is more even)",
    "spread": "spread",
    "nondominated": "share still non-dominated",
}


@dataclass(frozen=True)
class Curve:
    """Hypervolume on the search split over evaluations: median and range over the seeds."""

    group: str
    evaluations: list[int]
    median: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Difference:
    """Two groups compared over the seeds, for a figure: per-seed differences and what the test says of them.

    ``verdict`` is that of :class:`analysis.statistics.Comparison`: of the search, as ``better``.
    """

    label: str
    against: str
    minimise: bool
    values: list[float]
    median: float
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True)
class Frequency:
    """How often the fronts kept each unit of a layer, most often first.

    Attributes:
        layer: the layer's name.
        units: number of each unit within its layer, from 0.
        frequency: mean over seeds of the share of members that keep it.
        chance: what unrelated masks of the same sizes would show, (low, high).
        kin: what relatives would show if units did not matter, (low, high).
        recurring: units whose frequency kinship does not explain (q < 0.05); empty where it was not tested.
        tested: whether it was.
    """

    layer: str
    units: list[int]
    frequency: list[float]
    chance: tuple[float, float]
    kin: tuple[float, float]
    recurring: list[int]
    tested: bool


def curves(run: FinishedFiles) -> list[Curve]:
    """Returns the convergence of the search and of the random control."""
    found = []
    for group in run.searched:
        tables = [histories.read(run.log, STAGES[group], seed, run.objectives) for seed in run.seeds]
        band = histories.band([histories.progress(table, run.objectives) for table in tables], "hypervolume")
        band = band[band["seeds"] == len(run.seeds)]
        band = band.iloc[np.unique(np.linspace(0, len(band) - 1, _CURVE_POINTS).round().astype(int))]
        median, low, high = (band[name].round(6).tolist() for name in ("median", "low", "high"))
        found.append(Curve(group, band["evaluations"].tolist(), median, low, high))
    return found


def choice(run: FinishedFiles) -> Table:
    """Returns what the chosen of the search and of each control reach on test, over the seeds."""
    rows: list[list[Cell]] = []
    for who in run.compared:
        volume = None if who in run.baselines else spread(run.volumes(who, "test"))
        rows.append([called(who), *(spread(run.tested(who, o.name)) for o in run.measures), volume])
    columns = [Column("chosen from", numeric=False), *_measures(run)]
    over = ", mean ± standard deviation over the seeds" if len(run.seeds) > 1 else ""
    return Table(f"On the test split{over}", columns, rows)


def choice_by_seed(run: FinishedFiles) -> Table:
    """Returns the chosen of each seed on test, a row for each seed and group."""
    columns = [Column("seed", numeric=True), Column("chosen from", numeric=False), Column("solution", numeric=False)]
    columns += _measures(run)
    rows: list[list[Cell]] = []
    for i, (seed, entry) in enumerate(run.summary["seeds"].items()):
        for who in run.compared:
            values = entry["test"][who]
            volume = None if who in run.baselines else run.volumes(who, "test")[i]
            cells = [float(values[o.name]) for o in run.measures]
            rows.append([int(seed), called(who), values["solution"], *cells, volume])
    return Table("Seed by seed, on the test split", columns, rows)


def _measures(run: FinishedFiles) -> list[Column]:
    names = [*(in_words(o.name) for o in run.measures), "hypervolume of its front"]
    return [Column(name, numeric=True) for name in names]


def indicator_table(run: FinishedFiles) -> Table:
    """Returns the indicators of each front on each split, mean and standard deviation over the seeds."""
    controls = run.controls[~run.controls["control"].isin(run.baselines)]  # one point spans no front
    table = over_seeds(indicators(run.front, controls, run.objectives, reported=run.reported))
    columns = [Column("indicator", numeric=False), Column("front", numeric=False)]
    columns += [Column(f"on {split}", numeric=True) for split in SPLITS]
    columns.append(Column("search to test", numeric=True))
    shifts = {f"shift_{o.name}": f"shift of {in_words(o.name)}" for o in run.measures if not o.is_cost}
    rows: list[list[Cell]] = []
    for name, label in {**_INDICATORS, **shifts}.items():
        for i, group in enumerate(table.index.unique("source")):
            cells: list[Cell] = ["" if i else label, called(str(group))]
            for split in SPLITS:
                mean, deviation = (float(table.loc[(group, split), (name, part)]) for part in ("mean", "std"))
                cells.append(with_deviation(mean, deviation))
            change = table.loc[(group, "test"), (name, "mean")] - table.loc[(group, "search"), (name, "mean")]
            cells.append(f"{change:+.3f}")
            rows.append(cells)
    return Table("Mean ± standard deviation over the seeds", columns, rows)


def comparisons(run: FinishedFiles) -> tuple[list[Difference], list[str]]:
    """Returns the search against each control on test, paired by seed, and a sentence for each comparison."""
    asked = list(_asked(run))
    tested = [statistics.compare(table, {label: minimise})[0][0] for label, _, minimise, table in asked]
    adjusted = statistics.holm([each.p for each in tested])
    tested = [replace(each, p_holm=float(p), family=len(tested)) for each, p in zip(tested, adjusted, strict=True)]
    differences = []
    for each, (label, against, minimise, table) in zip(tested, asked, strict=True):
        wide = table.pivot(index="seed", columns="run", values="value")
        low, high = (value if np.isfinite(value) else None for value in (each.low, each.high))
        differences.append(
            Difference(
                label, against, minimise, (wide[SEARCH] - wide[against]).tolist(), each.difference, low, high,
                each.verdict,
            )
        )  # fmt: skip
    return differences, [each.sentence() for each in tested]


def _asked(run: FinishedFiles) -> Iterator[tuple[str, str, bool, pd.DataFrame]]:
    """Yields what is compared: measure, control, whether less is better, measurements.

    What a baseline, as the unpruned network, keeps, and that one point spans less than a front, needs no test.
    """
    for against in run.compared[1:]:
        for o in run.measures:
            if not (o.is_cost and against in run.baselines):
                values = {who: run.tested(who, o.name) for who in (SEARCH, against)}
                yield in_words(o.name), against, o.minimise, _measurements(run, in_words(o.name), values)
        if against not in run.baselines:
            values = {who: run.volumes(who, "test") for who in (SEARCH, against)}
            yield "hypervolume", against, False, _measurements(run, "hypervolume", values)


def _measurements(run: FinishedFiles, measure: str, values: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    rows = [
        (who, "", seed, measure, value)
        for who, each in values.items()
        for seed, value in zip(run.seeds, each, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(statistics.COLUMNS))


def frequencies(points: Sequence[Point], layers: Sequence[Layer]) -> list[Frequency]:
    """Returns how often the fronts kept each unit, a layer each; none where genomes are not masks."""
    if not layers:
        return []
    length = sum(layer.width for layer in layers)
    masks: dict[int, list[frequency.Masks]] = {}
    for point in points:
        if point.group == SEARCH and point.generation is not None:
            masks.setdefault(point.seed, []).append(point.bits(length))
    number = [i for i, layer in enumerate(layers) for _ in range(layer.width)]
    table = frequency.over_seeds(
        {seed: np.stack(rows) for seed, rows in masks.items()}, [str(i) for i in range(length)], number,
        same=[layers[i].shared for i in number],
    )  # fmt: skip
    found = []
    for i, layer in enumerate(layers):
        part = table[table["layer"] == i].reset_index(drop=True)
        ranked = part.sort_values("frequency", ascending=False, kind="stable")
        first = part.iloc[0]
        found.append(
            Frequency(
                layer.name, ranked.index.tolist(), ranked["frequency"].round(4).tolist(),
                (float(first["low"]), float(first["high"])), (float(first["kin_low"]), float(first["kin_high"])),
                part.index[part["q"] < 0.05].tolist(), bool(part["q"].notna().any()),
            )
        )  # fmt: skip
    return found
