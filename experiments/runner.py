"""Running an experiment: search and controls for each seed, then one look at the test split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from analysis.fronts import SPLITS, choose, front_hypervolume
from experiments.build import build_problem
from experiments.config import ExperimentConfig
from experiments.environment import environment
from experiments.pictures import draw
from experiments.run_folder import RunFolder
from moprune.algorithms import RandomSearch, make
from moprune.errors import MopruneError
from moprune.log import EvaluationLog
from moprune.objectives import Objective, resolve
from moprune.search import Progress, Run, search
from problems.pruning import PruningProblem


class Watcher(Protocol):
    """Is told how a run goes on."""

    def features(self, split: str, done: int, total: int) -> None:
        """Features of a split are being computed."""

    def generation(self, progress: Progress) -> None:
        """A generation was evaluated."""

    def assessing(self, what: str) -> None:
        """The last, unlogged part of the work: retraining and scoring front members."""


@dataclass(frozen=True)
class Result:
    """A finished run as it lies in its folder.

    Attributes:
        folder: the run folder.
        config: the experiment.
        front: all seeds' front members, a row each: ``solution``, ``seed``, each objective on each split.
        controls: the same columns for the controls, beside ``control``, their name.
        summary: what ``summary.json`` says.
    """

    folder: RunFolder
    config: ExperimentConfig
    front: pd.DataFrame
    controls: pd.DataFrame
    summary: Mapping[str, Any]

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives, with the spans that counts (units, parameters) had in the problem."""
        largest = {name: each["worst"] for name, each in self.summary["objectives"].items() if "worst" in each}
        return resolve(self.config.resolved_objectives(), largest)


def run_experiment(config: ExperimentConfig, out: Path, watcher: Watcher) -> Result:
    """Runs an experiment in a folder, goes on with an interrupted one, or loads a finished one.

    Raises:
        UsageError: the folder holds another experiment, or the data or network cannot be used.
        MopruneError: something failed; what was logged is kept.
    """
    folder = RunFolder(out)
    folder.check(config)
    if folder.finished:
        return load_result(folder)
    problem = build_problem(config, config.seeds[0], watcher.features)
    folder.claim(config)
    with EvaluationLog(folder.log) as log:
        log.claim({"config": config.model_dump(mode="json"), "problem": problem.fingerprint()})
        folder.write_json("environment.json", environment(problem, config.seeds))
        runs = {seed: _search_seed(config, problem.reseeded(seed), log, watcher) for seed in config.seeds}
        log.set_meta("test_opened", (log.meta("test_opened") or 0) + 1)
        fronts, controls = [], []
        for seed, stages in runs.items():
            watcher.assessing(f"seed {seed}")
            fronts.append(_assessed(stages["search"]))
            controls.append(_controls(config, stages))
        front, control = pd.concat(fronts, ignore_index=True), pd.concat(controls, ignore_index=True)
        summary = _summary(config, problem, front, control, log)
    folder.write_table("front.csv", front)
    folder.write_table("controls.csv", control)
    result = Result(folder, config, front, control, summary)
    draw(result, folder.figures)
    folder.write_json("summary.json", summary)
    return result


def load_result(folder: RunFolder) -> Result:
    """Returns the result of a finished run from its folder."""
    config = folder.config()
    if config is None:
        raise MopruneError(f"{folder.path} has no experiment.yaml")
    return Result(
        folder, config, folder.read_table("front.csv"), folder.read_table("controls.csv"),
        folder.read_json("summary.json"),
    )  # fmt: skip


def _search_seed(
    config: ExperimentConfig, problem: PruningProblem, log: EvaluationLog, watcher: Watcher
) -> dict[str, Run]:
    settings = config.search
    algorithm = make(settings.algorithm, problem, pop_size=settings.pop_size, n_offsprings=settings.n_offsprings)
    runs = {
        "search": search(
            problem, algorithm, n_eval=settings.n_eval, seed=problem.seed, log=log, observe=watcher.generation
        )
    }
    if "random" in config.controls:
        # As many as the search has asked for in the end, its last generation completed.
        runs["random"] = search(
            problem, RandomSearch(batch=settings.pop_size), n_eval=log.count("search", problem.seed),
            seed=problem.seed, log=log, stage="random", observe=watcher.generation,
        )  # fmt: skip
    return runs


def _assessed(run: Run) -> pd.DataFrame:
    front = run.front(SPLITS)
    return front.assign(seed=run.seed)[["solution", "seed", *front.columns[1:]]].reset_index(drop=True)


def _controls(config: ExperimentConfig, stages: Mapping[str, Run]) -> pd.DataFrame:
    run = stages["search"]
    tables = []
    if "unpruned" in config.controls:
        everything = run.problem.assess(np.ones((1, run.problem.n_var), dtype=bool), SPLITS)
        tables.append(everything.assign(control="unpruned", solution=f"{run.seed}-unpruned", seed=run.seed))
    if "random" in stages:
        random = _assessed(stages["random"])
        tables.append(random.assign(control="random masks"))
    if not tables:
        return pd.DataFrame(columns=["control", "solution", "seed"])
    table = pd.concat(tables, ignore_index=True)
    return table[
        [
            "control",
            "solution",
            "seed",
            *tables[0].columns.difference(["control", "solution", "seed"], sort=False),
        ]
    ]


def _summary(
    config: ExperimentConfig,
    problem: PruningProblem,
    front: pd.DataFrame,
    controls: pd.DataFrame,
    log: EvaluationLog,
) -> dict[str, Any]:
    names = [o.name for o in problem.objectives]
    ruled = {"error", "active_fraction"} <= set(names)
    select = len(problem.task.select)
    seeds = {}
    for seed in config.seeds:
        members = {"search": front[front["seed"] == seed]}
        for name, points in controls[controls["seed"] == seed].groupby("control"):
            members[str(name)] = points
        entry: dict[str, Any] = {
            "front_size": len(members["search"]),
            "evaluations": {stage: log.count(stage, seed) for stage in ("search", "random")},
            "hypervolume": {
                name: {split: front_hypervolume(points, problem.objectives, split) for split in SPLITS}
                for name, points in members.items()
            },
        }
        picks = {
            name: choose(points, select) if ruled else _least(points, names[0]) for name, points in members.items()
        }
        entry["chosen"] = picks["search"]
        entry["test"] = {
            name: {
                "solution": picks[name],
                **{o: float(_row(points, picks[name])[f"{o}_test"]) for o in names},
            }
            for name, points in members.items()
        }
        seeds[str(seed)] = entry
    return {
        "experiment": config.description,
        "profile": config.profile,
        "choice": "least active_fraction within one standard error of the least error on select"
        if ruled
        else f"least {names[0]} on select",
        "objectives": {o.name: {"unit": o.unit, "minimise": o.minimise, "worst": o.worst} for o in problem.objectives},
        "images": problem.task.sizes(),
        "test_opened": log.meta("test_opened"),
        "seeds": seeds,
    }


def _least(points: pd.DataFrame, name: str) -> str:
    return str(points.sort_values([f"{name}_select", "solution"])["solution"].iloc[0])


def _row(points: pd.DataFrame, solution: str) -> pd.Series:
    return points[points["solution"] == solution].iloc[0]
