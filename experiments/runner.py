"""Running an experiment: search and controls for each seed, then one look at the test split."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from analysis.fronts import SPLITS, front_hypervolume
from experiments import factories
from experiments.config import ExperimentConfig
from experiments.controls import assess_controls
from experiments.environment import environment
from experiments.pictures import draw
from experiments.result import Result, load_result
from experiments.run_folder import RunFolder
from experiments.tasks import TaskKind, task_kind
from moprune.data import repetition
from moprune.executors import Executor
from moprune.log import EvaluationLog
from moprune.objectives import Objective
from moprune.search import Progress, Run, search

logger = logging.getLogger(__name__)


class Watcher(Protocol):
    """Is told how a run goes on."""

    def working(self, what: str, done: int, total: int, unit: str) -> None:
        """The problem is being prepared: features, members."""

    def generation(self, progress: Progress) -> None:
        """A generation was evaluated."""

    def assessing(self, what: str) -> None:
        """The last, unlogged part of the work: scoring front members and controls on every split."""


def run_experiment(config: ExperimentConfig, out: Path, watcher: Watcher, executor: Executor | None = None) -> Result:
    """Runs an experiment in a folder, goes on with an interrupted one, or loads a finished one.

    Args:
        config: the experiment.
        out: the run folder.
        watcher: is told how it goes on.
        executor: evaluates candidates of the search and the random control; by default this process does. It is not
            part of what the run is: an interrupted one may go on with another.

    Raises:
        UsageError: the folder holds another experiment, or the data or network cannot be used.
        MopruneError: something failed; what was logged is kept.
    """
    folder = RunFolder(out)
    folder.check(config)
    factories.named(config.network.arch)
    if folder.finished:
        return load_result(folder)
    kind = task_kind(config)
    problem = kind.problem(config.seeds[0], watcher.working)
    kind.check(problem)
    kind.algorithm(problem)  # what it refuses is refused before the folder is this experiment's
    folder.claim(config)
    with EvaluationLog(folder.log) as log:
        if folder.finished:  # by another process, while this one prepared
            return load_result(folder)
        log.claim({"config": config.model_dump(mode="json"), "problem": problem.fingerprint()})
        folder.write_json("environment.json", environment(kind, problem))
        warning = None if kind.optimistic else repetition(kind.task(problem))
        if warning is not None:
            logger.warning("%s", warning)  # now as well as in the end: whoever reads it may rather stop
        runs = {seed: _search_seed(kind, seed, log, watcher, executor) for seed in config.seeds}
        log.set_meta("test_opened", (log.meta("test_opened") or 0) + 1)
        fronts, controls = [], []
        for seed, stages in runs.items():
            watcher.assessing(f"seed {seed}")
            fronts.append(_assessed(stages))
            controls.append(assess_controls(kind, stages))
        front, control = pd.concat(fronts, ignore_index=True), pd.concat(controls, ignore_index=True)
        summary = _summary(kind, runs, front, control, warning)
        folder.write_table("front.csv", front)
        folder.write_table("controls.csv", control)
        result = Result(folder, config, front, control, summary)
        draw(result, folder.figures)
        folder.finish(summary)
    return result


def _search_seed(
    kind: TaskKind, seed: int, log: EvaluationLog, watcher: Watcher, executor: Executor | None
) -> dict[str, Run]:
    """Returns the stages of a seed by name: the search, what is made of it, and the random control."""
    problem = kind.problem(seed, watcher.working)
    run = search(
        problem, kind.algorithm(problem), n_eval=kind.config.search.n_eval, seed=seed, log=log,
        observe=watcher.generation, executor=executor,
    )  # fmt: skip
    stages = {"search": run}
    if (further := kind.after(run)) is not None:
        stages["after"] = further
    if "random" in kind.config.controls:
        stages["random"] = search(
            problem, kind.random_search(problem), n_eval=kind.random_evaluations(run),
            seed=seed, log=log, stage="random", observe=watcher.generation, executor=executor,
        )  # fmt: skip
    return stages


def _assessed(stages: Mapping[str, Run]) -> pd.DataFrame:
    """Returns what a search offers: its front and, after it, what was made of it."""
    run = stages["search"]
    tables = [run.front(SPLITS)]
    if "after" in stages:
        further = stages["after"]
        assessed = run.problem.assess(further.genomes(), SPLITS)
        tables.append(assessed.assign(solution=further.history()["solution"].to_numpy()))
    front = pd.concat(tables, ignore_index=True).assign(seed=run.seed)
    return front[["solution", "seed", *front.columns.difference(["solution", "seed"], sort=False)]]


def _summary(
    kind: TaskKind,
    runs: Mapping[int, Mapping[str, Run]],
    front: pd.DataFrame,
    controls: pd.DataFrame,
    warning: str | None,
) -> dict[str, Any]:
    first = next(iter(runs.values()))["search"]
    objectives, reported = first.problem.objectives, first.problem.reported
    images = kind.images(first.problem)
    return {
        "experiment": kind.config.description,
        "profile": kind.config.profile,
        "choice": kind.choice([o.name for o in (*objectives, *reported)]),
        "objectives": _described(objectives),
        "reported": _described(reported),
        "images": images,
        "test_opened": first.log.meta("test_opened"),
        **_noted(kind, runs, warning),
        "seeds": {
            str(seed): _entry(kind, stages, front[front["seed"] == seed], controls[controls["seed"] == seed], images)
            for seed, stages in runs.items()
        },
    }


def _noted(kind: TaskKind, runs: Mapping[int, Mapping[str, Run]], warning: str | None) -> dict[str, Any]:
    """Returns what the task has to say of the searches, each once, and what its items are unless they are images."""
    said = [] if warning is None else [f"Mind that {warning}."]
    said += dict.fromkeys(note for stages in runs.values() for note in kind.notes(stages["search"]))
    items = {} if kind.items == "images" else {"items": kind.items}
    return items | ({"notes": said} if said else {})


def _entry(
    kind: TaskKind, stages: Mapping[str, Run], front: pd.DataFrame, controls: pd.DataFrame, images: Mapping[str, int]
) -> dict[str, Any]:
    """Returns what the summary says of one seed."""
    run = stages["search"]
    measures = (*run.problem.objectives, *run.problem.reported)
    members = {"search": front, **{str(name): points for name, points in controls.groupby("control")}}
    picks = {name: kind.choose(points, images) for name, points in members.items()}
    if "after" in stages:
        picks["search"] = stages["after"].history()["solution"].iloc[0]
    return {
        "front_size": len(front),
        "evaluations": {stage: run.log.count(stage, run.seed) for stage in ("search", "random")},
        **_spent(kind, stages, controls),
        "hypervolume": {
            name: {split: front_hypervolume(points, run.problem.objectives, split) for split in SPLITS}
            for name, points in members.items()
        },
        "chosen": picks["search"],
        "test": {
            name: {
                "solution": picks[name],
                **{o.name: float(_row(points, picks[name])[f"{o.name}_test"]) for o in measures},
            }
            for name, points in members.items()
        },
    }


def _spent(kind: TaskKind, stages: Mapping[str, Run], controls: pd.DataFrame) -> dict[str, Any]:
    """Returns the forward-image equivalents of search and controls, where a task counts them."""
    run = stages["search"]
    if not run.images():
        return {}
    spent = {**kind.prepared(run.problem), "search": run.images()}
    if "random" in stages:
        spent[kind.random] = stages["random"].images()
    if "images" in controls:
        counted = controls.dropna(subset="images").groupby("control", sort=False)["images"].max()
        spent |= {str(name): int(images) for name, images in counted.items()}
    return {"forward_images": spent}


def _described(measures: Sequence[Objective]) -> dict[str, dict[str, Any]]:
    return {o.name: {"unit": o.unit, "minimise": o.minimise, "worst": o.worst} for o in measures}


def _row(points: pd.DataFrame, solution: str) -> pd.Series:
    return points[points["solution"] == solution].iloc[0]
