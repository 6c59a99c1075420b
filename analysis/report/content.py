"""What a report shows: numbers and words gathered from a finished run, no HTML."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.fronts import OPTIMISTIC, SPLITS, standard_error
from analysis.report import evidence, extras
from analysis.report.evidence import Curve, Difference, Frequency
from analysis.report.extras import Extra
from analysis.report.points import Layer, Point, points
from analysis.report.sources import SEARCH, FinishedFiles, in_words, shown
from analysis.report.tables import Cell, Column, Table

_FEW_IMAGES = 1000
_FEW_SEEDS = 5


@dataclass(frozen=True)
class Goal:
    """A measure for people: ``label`` is its name in words, ``searched`` whether it is an objective."""

    name: str
    label: str
    unit: str
    minimise: bool
    is_cost: bool
    searched: bool


@dataclass(frozen=True)
class Tile:
    """A figure to be seen first: the chosen members' mean, and the same of each control."""

    label: str
    value: str
    against: list[tuple[str, str]]


@dataclass(frozen=True)
class Content:
    """All that a report shows."""

    title: str
    folder: str
    quoted_folder: str
    findings: list[str]
    warnings: list[str]
    tiles: list[Tile]
    goals: list[Goal]
    splits: list[str]
    groups: list[str]
    baselines: list[str]
    seeds: list[int]
    layers: list[Layer]
    points: list[Point]
    evaluations: str
    curves: list[Curve]
    choice_rule: str
    choice: Table
    choice_by_seed: Table
    indicators: Table
    differences: list[Difference]
    verdicts: list[str]
    frequencies: list[Frequency]
    ensembles: Extra
    explanations: Extra
    attributions: dict[str, list[tuple[str, float]]]
    facts: Table
    versions: Table
    experiment: str
    repeat: str


def gather(run: FinishedFiles) -> Content:
    """Returns what the report of a finished run shows."""
    found, layers = points(run)
    differences, verdicts = evidence.comparisons(run)
    return Content(
        title=run.title,
        folder=str(run.folder),
        quoted_folder=shlex.quote(str(run.folder)),
        findings=list(run.findings),
        warnings=list(_warnings(run)),
        tiles=list(_tiles(run)),
        goals=[
            Goal(o.name, in_words(o.name), o.unit, o.minimise, o.is_cost, o in run.objectives) for o in run.measures
        ],
        splits=list(SPLITS),
        groups=run.compared,
        baselines=sorted(run.baselines),
        seeds=run.seeds,
        layers=layers,
        points=found,
        evaluations=run.evaluations["search"],
        curves=evidence.curves(run),
        choice_rule=str(run.summary["choice"]),
        choice=evidence.choice(run),
        choice_by_seed=evidence.choice_by_seed(run),
        indicators=evidence.indicator_table(run),
        differences=differences,
        verdicts=verdicts,
        frequencies=evidence.frequencies(found, layers),
        ensembles=extras.ensembles(run.folder, int(run.summary["images"]["test"])),
        explanations=extras.explanations(run.folder),
        attributions=extras.attributions(run.folder),
        facts=_facts(run),
        versions=_versions(run.environment),
        experiment=run.experiment,
        repeat=shlex.join(["moprune", "run", str(run.folder / "experiment.yaml"), "--out", f"{run.folder}-again"]),
    )


def _tiles(run: FinishedFiles) -> Iterator[Tile]:
    controls = run.compared[1:]
    for o in run.measures:
        means = {who: shown(float(np.mean(run.tested(who, o.name)))) for who in run.compared}
        label = in_words(o.name) + ("" if o.is_cost else " on test")
        yield Tile(label, means[SEARCH], [(who, means[who]) for who in controls])
    volumes = {who: shown(float(np.mean(run.volumes(who, "test")))) for who in run.searched}
    yield Tile("hypervolume on test", volumes.pop(SEARCH), list(volumes.items()))


def _warnings(run: FinishedFiles) -> Iterator[str]:
    summary, seeds = run.summary, len(run.seeds)
    if seeds < _FEW_SEEDS:
        few = "One seed is" if seeds == 1 else f"{seeds} seeds are"
        yield f"{few} too few to call a difference between the search and its controls; run ten (--seeds 1,2,...,10)."
    if run.optimistic:
        yield f"Mind that {OPTIMISTIC}."
    if summary["test_opened"] > 1:
        yield f"The test split was opened {summary['test_opened']} times; it is meant to be opened once."
    sizes = {split: int(summary["images"].get(split, 0)) for split in SPLITS}
    small = {split: count for split, count in sizes.items() if 0 < count < _FEW_IMAGES}
    if small:
        worth = ", ".join(f"{100 / count:.2g} on {split} ({count} images)" for split, count in small.items())
        yield f"Few images: one image is worth {worth} percentage points of error.{_test_error(run, sizes['test'])}"


def _test_error(run: FinishedFiles, images: int) -> str:
    """Returns how far sampling alone moves the chosen members' error on test."""
    if not images or "error" not in {o.name for o in run.measures}:
        return ""
    error = float(np.mean(run.tested(SEARCH, "error")))
    return (
        f" The chosen members' error of {error:.1%} on test has a standard error of "
        f"{100 * standard_error(error, images):.1f} points from the sample of images alone."
    )


def _facts(run: FinishedFiles) -> Table:
    summary = run.summary
    opened = "once" if summary["test_opened"] == 1 else f"{summary['test_opened']} times"
    rows: list[list[Cell]] = [
        ["run folder", str(run.folder)],
        ["profile", str(summary["profile"])],
        ["seeds", ", ".join(summary["seeds"])],
        ["test split opened", opened],
    ]
    rows += [[f"evaluations a seed, {stage}", count] for stage, count in run.evaluations.items() if count != "0"]
    rows += [[f"images, {split}", f"{count:,}"] for split, count in summary["images"].items()]
    rows += [[f"SHA-256 of the {name}", str(value)] for name, value in run.environment.get("digests", {}).items()]
    return _pairs("The run", rows)


def _versions(environment: Mapping[str, Any]) -> Table:
    rows: list[list[Cell]] = [["Python", str(environment.get("python", "unknown"))]]
    rows += [[name, str(version)] for name, version in environment.get("packages", {}).items()]
    machine = ("platform", "device", "cores", "threads")
    rows += [[name, str(environment[name])] for name in machine if name in environment]
    return _pairs("Environment", rows)


def _pairs(caption: str, rows: list[list[Cell]]) -> Table:
    return Table(caption, [Column("what", numeric=False), Column("value", numeric=False)], rows)
