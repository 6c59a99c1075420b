"""The study of pruning: the sound search, the published one and every control, on several data sets and seeds.

    python -m experiments.studies.pruning --data FOLDER --out FOLDER [--sets NAME ...] [--seeds 10]

``--data`` holds the tars and the networks' weights; without it the embedded digits alone are studied. Every seed draws
its own division of a set's images. What is finished is not done again, so that an interrupted study goes on, and
several processes may share the work by taking different sets. The table is that of
:mod:`experiments.studies.pruning_table`.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray

from analysis.consensus import consensus_run
from analysis.fronts import choose, front_hypervolume
from experiments.studies.feature_sets import NAMES, FeatureSet, load
from experiments.tasks.pruning import control_points
from moprune.algorithms import RandomSearch, make
from moprune.data import Task
from moprune.files import write_text
from moprune.networks import FeatureExtractor
from moprune.objectives import objective, resolve
from moprune.population import Training
from moprune.search import Run, search
from problems.pruning import Protocol, PruningProblem
from problems.pruning.controls import geometric_sizes

EVALUATIONS = 200
BUDGET = 0.5
SOUND, PUBLISHED_ON_TEST = "sound search", "published, selected on test"
TRAINING = Training(epochs=30)
# A tenth of the published epochs at ten times the published rate: the same path in a tenth of the time.
PUBLISHED = Training(epochs=60, learning_rate=1e-2, weight_decay=0.0, patience=10, restore_best=True)
CONTROLS = ("unpruned", "magnitude", "magnitude_one_shot", "anova", "logistic_regression")
ESSENTIAL = ("unpruned", "magnitude")
COSTLY_CONTROLS = (
    "random_matched",
    "mutual_information",
    "width_grid",
    "magnitude_weights",
    "polynomial_decay",
    "lasso",
    "group_lasso",
)

_AUROC = objective("ood_auroc", detector="knn_features")
_AXES = resolve(["error", "active_fraction", _AUROC])
_REPORTED = ("ece", "head_parameters", objective("ood_fpr95", detector="knn_features"))


@dataclass(frozen=True)
class Cell:
    """One data set and seed of the study.

    Attributes:
        task: the seed's own division of the images.
        network: passes features on.
        hidden: width of the head's hidden layer.
        seed: the run seed.
        evaluations: of each search.
        out: the cell's folder.
    """

    task: Task
    network: FeatureExtractor
    hidden: int
    seed: int
    evaluations: int
    out: Path

    def problem(self, task: Task | None = None, **options: Any) -> PruningProblem:
        """Returns a pruning problem on the cell's task, plain heads by default."""
        plain: dict[str, Any] = {
            "training": TRAINING,
            "protocol": Protocol(4, refit=True),
            "objectives": _AXES,
            "reported": ("brier", *_REPORTED),
        }
        return PruningProblem(
            task or self.task, self.network, encoding="features", hidden=[self.hidden], seed=self.seed, device="cpu",
            **plain | options,
        )  # fmt: skip

    def searched(self, name: str, problem: PruningProblem, algorithm: Any) -> Run:
        """Searches, or goes on with it."""
        return search(problem, algorithm, n_eval=self.evaluations, seed=self.seed, out=self.out / name)


def run_cell(cell: Cell, controls: Sequence[str], *, published: bool = True) -> pd.DataFrame:
    """Returns a row for each arm: the member it recommends, on test, and the hypervolume of its front there."""
    arms = [*_sound(cell), *_random_plain(cell), *_controls(cell, controls)]
    return pd.DataFrame([*arms, *_published(cell)] if published else arms)


def _sound(cell: Cell, *, drawn: bool = True) -> list[dict[str, Any]]:
    """The sound search, with as many random masks scored in its way if asked for."""
    problem = cell.problem(
        members=8, mode="short", objectives=["brier", "active_fraction", _AUROC], reported=("error", *_REPORTED)
    )
    scores = problem.ranking("anova")
    began = time.perf_counter()
    run = cell.searched("sound", problem, make("nsga2", problem, pop_size=40, scores=scores))
    length = problem.encoding.length
    agreed = consensus_run(run, [int(BUDGET * length), *geometric_sizes(length)], scores)
    seconds = time.perf_counter() - began
    members = _assessed(agreed, np.arange(len(agreed.genomes())))
    front = pd.concat([_assessed(run, run.front_index()), members], ignore_index=True)
    searched = problem.assess(agreed.genomes()[:1], ["search"])["error_search"].iloc[0]
    arms = [
        _row(cell, SOUND, front, members["solution"].iloc[0], seconds=seconds) | {"error_search": float(searched)},
        _row(cell, "sound, best measured member", front, _chosen(cell, front)),
    ]
    if not drawn:
        return arms
    began = time.perf_counter()
    masks = cell.searched("random", problem, RandomSearch(batch=40))
    seconds = time.perf_counter() - began
    front = _assessed(masks, masks.front_index())
    arms.append(_row(cell, "random masks, sound evaluation", front, _chosen(cell, front), seconds=seconds))
    everything = problem.assess(np.ones((1, length), dtype=bool), ["test"]).assign(solution="all")
    return [*arms, _row(cell, "unpruned committee", everything, "all", volume=False)]


def _published(cell: Cell) -> list[dict[str, Any]]:
    """The published search as published (on test), and the same on a hold-out, refitted like everything else."""
    objectives = ["error", "active_fraction", objective("ood_auroc", detector="odin")]
    judge = cell.problem()
    arms = []
    for arm, task, protocol in (
        (PUBLISHED_ON_TEST, cell.task.published(), Protocol()),
        ("published, on a hold-out", cell.task, Protocol(1, refit=True)),
    ):
        problem = cell.problem(task, objectives=objectives, reported=(), training=PUBLISHED, protocol=protocol)
        began = time.perf_counter()
        run = cell.searched(arm, problem, make("nsga2_published", problem))
        seconds = time.perf_counter() - began
        kept = run.front_index()
        history = run.history().iloc[kept]
        # As published: the least error, ties to the fewest units.
        best = history.sort_values(["error_search", "active_fraction_search", "solution"])["solution"].iloc[0]
        front = judge.assess(run.genomes()[kept], ["test"]).assign(solution=history["solution"].to_numpy())
        claimed = history[history["solution"] == best].iloc[0]
        claims = {"claimed_error": claimed["error_search"], "error_search": claimed["error_search"]}
        row = _row(cell, arm, front, best, seconds=seconds) | claims
        if problem.task.optimistic:  # what was selected is what is reported
            row |= {"error_test": claimed["error_search"]}
        arms.append(row)
    return arms


def _random_plain(cell: Cell) -> list[dict[str, Any]]:
    """The best of as many random masks of plain heads, by the error on the hold-out."""
    problem = cell.problem(protocol=Protocol(1, refit=True))
    began = time.perf_counter()
    run = cell.searched("best of random masks", problem, RandomSearch(batch=40))
    seconds = time.perf_counter() - began
    front = _assessed(run, run.front_index(), ["test"])
    best = front.sort_values(["error_search", "active_fraction_search", "solution"])["solution"].iloc[0]
    return [_row(cell, "best of random masks", front, str(best), seconds=seconds)]


def _controls(cell: Cell, names: Sequence[str]) -> list[dict[str, Any]]:
    problem = cell.problem()
    arms = []
    for name in names:
        began = time.perf_counter()
        table = control_points(name, problem)
        seconds, single = time.perf_counter() - began, len(table) == 1
        chosen = _chosen(cell, table)
        arms.append(_row(cell, name.replace("_", " "), table, chosen, volume=not single, seconds=seconds))
    return arms


def _assessed(run: Run, rows: NDArray[np.int64], splits: Sequence[str] = ("select", "test")) -> pd.DataFrame:
    """Returns some evaluated genomes with what they scored while searching and, trained in full, on later splits."""
    history = run.history().iloc[rows].reset_index(drop=True)
    return pd.concat([history, run.problem.assess(run.genomes()[rows], splits)], axis=1)


def _chosen(cell: Cell, front: pd.DataFrame) -> str:
    return choose(front, cell.task.sizes(), budget=BUDGET)


def _row(
    cell: Cell, arm: str, front: pd.DataFrame, solution: str, *, volume: bool = True, seconds: float = float("nan")
) -> dict[str, Any]:
    member = front[front["solution"] == solution].iloc[0]
    measured = {name: float(member[name]) for name in member.index if str(name).endswith("_test")}
    volumes = {"hypervolume_test": front_hypervolume(front, _AXES, "test")} if volume else {}
    return {"arm": arm, "seed": cell.seed, **measured, **volumes, "members": len(front), "seconds": seconds}


def _cell(source: FeatureSet, seed: int, evaluations: int, out: Path) -> Cell:
    return Cell(source.task(seed), source.network(), source.hidden, seed, evaluations, out)


def main(
    out: Annotated[Path, typer.Option(help="Folder for results; what is there is not done again.")],
    data: Annotated[Path | None, typer.Option(help="Folder of tars and weights; none: digits alone.")] = None,
    sets: Annotated[list[str] | None, typer.Option(help=f"Of: {', '.join(NAMES)}.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 1, 2, ... each with its own division of the images.")] = 10,
    evaluations: Annotated[int, typer.Option(min=1, help="Evaluations of each search.")] = EVALUATIONS,
    profiles: Annotated[
        bool, typer.Option(help="Only the sound search and the published one, in a folder of their own, as --costly.")
    ] = False,
    costly: Annotated[
        bool, typer.Option(help="Only the controls that take longest, in a folder of their own; the table joins them.")
    ] = False,
    essential: Annotated[bool, typer.Option(help="Only what the search has to beat, for more seeds.")] = False,
) -> None:
    """Runs the study of pruning; one JSON file a data set and seed."""
    chosen = sets or (["digits"] if data is None else list(NAMES))
    sources = {name: load(name, data or Path()) for name in chosen}
    for seed in range(1, seeds + 1):
        for name, source in sources.items():
            path = out / name / f"{seed}.json"
            if path.is_file():
                continue
            began = time.perf_counter()
            cell = _cell(source, seed, evaluations, out / name / str(seed))
            if costly:
                table = pd.DataFrame(_controls(cell, COSTLY_CONTROLS))
            elif profiles:
                table = pd.DataFrame([*_sound(cell, drawn=False), *_published(cell)])
            else:
                table = run_cell(cell, ESSENTIAL if essential else CONTROLS, published=not essential)
            write_text(path, json.dumps(json.loads(table.to_json(orient="records")), indent=1) + "\n")
            typer.echo(f"{name}, seed {seed}: {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    typer.run(main)
