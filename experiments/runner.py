"""Running an experiment: search and controls for each seed, then one look at the test split."""

from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from pymoo.core.algorithm import Algorithm

from analysis.fronts import LOSSES, SPLITS, choose, front_hypervolume
from experiments.build import build_problem
from experiments.config import ExperimentConfig
from experiments.controls import assess_controls
from experiments.environment import environment
from experiments.pictures import draw
from experiments.result import Result, load_result
from experiments.run_folder import RunFolder
from moprune.algorithms import WITH_OPERATORS, RandomSearch, make
from moprune.log import EvaluationLog
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
            controls.append(assess_controls(config.controls, stages))
        front, control = pd.concat(fronts, ignore_index=True), pd.concat(controls, ignore_index=True)
        summary = _summary(config, problem, front, control, log)
    folder.write_table("front.csv", front)
    folder.write_table("controls.csv", control)
    result = Result(folder, config, front, control, summary)
    draw(result, folder.figures)
    folder.write_json("summary.json", summary)
    return result


def _search_seed(
    config: ExperimentConfig, problem: PruningProblem, log: EvaluationLog, watcher: Watcher
) -> dict[str, Run]:
    settings = config.search
    algorithm = _algorithm(config, problem)
    runs = {
        "search": search(
            problem, algorithm, n_eval=settings.n_eval, seed=problem.seed, log=log, observe=watcher.generation
        )
    }
    if "random" in config.controls:
        # As many as the search has asked for in the end, its last generation completed.
        runs["random"] = search(
            problem, RandomSearch(batch=settings.pop_size or 50), n_eval=log.count("search", problem.seed),
            seed=problem.seed, log=log, stage="random", observe=watcher.generation,
        )  # fmt: skip
    return runs


def _algorithm(config: ExperimentConfig, problem: PruningProblem) -> Algorithm:
    """Returns the algorithm; in the sound profile its operators know a ranking of the bits."""
    settings = config.search
    operators = settings.operators
    if operators is None and config.profile == "sound" and settings.algorithm in WITH_OPERATORS:
        operators = "sparse"
    scores = None
    if operators == "sparse" and settings.ranking != "none":
        scores = problem.ranking(settings.ranking or ("anova" if problem.encoding.layers == (0,) else "magnitude"))
    return make(
        settings.algorithm, problem, pop_size=settings.pop_size, n_offsprings=settings.n_offsprings,
        operators=operators, scores=scores,
    )  # fmt: skip


def _assessed(run: Run) -> pd.DataFrame:
    front = run.front(SPLITS)
    return front.assign(seed=run.seed)[["solution", "seed", *front.columns[1:]]].reset_index(drop=True)


def _summary(
    config: ExperimentConfig,
    problem: PruningProblem,
    front: pd.DataFrame,
    controls: pd.DataFrame,
    log: EvaluationLog,
) -> dict[str, Any]:
    names = [o.name for o in (*problem.objectives, *problem.reported)]
    images = problem.task.sizes()
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
        picks = {name: choose(points, images, budget=config.budget) for name, points in members.items()}
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
        "choice": f"least {next(loss for loss in LOSSES if loss in names)} on search and select, at most "
        f"{config.budget:.0%} of the units",
        "objectives": {o.name: {"unit": o.unit, "minimise": o.minimise, "worst": o.worst} for o in problem.objectives},
        "reported": [o.name for o in problem.reported],
        "images": images,
        "test_opened": log.meta("test_opened"),
        "seeds": seeds,
    }


def _row(points: pd.DataFrame, solution: str) -> pd.Series:
    return points[points["solution"] == solution].iloc[0]
