"""Running an experiment: search and controls for each seed, then one look at the test split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from pymoo.core.algorithm import Algorithm

from analysis.consensus import STAGE as CONSENSUS
from analysis.consensus import consensus_run
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
from moprune.objectives import Objective
from moprune.search import Progress, Run, search
from problems.pruning import PruningProblem
from problems.pruning.controls import geometric_sizes
from problems.pruning.rankings import Scores


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
            fronts.append(_assessed(stages))
            controls.append(assess_controls(config.controls, problem.reseeded(seed), stages.get("random")))
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
    if agrees(config):
        runs[CONSENSUS] = consensus_run(runs["search"], consensus_sizes(config, problem), _scores(config, problem))
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
    return make(
        settings.algorithm, problem, pop_size=settings.pop_size, n_offsprings=settings.n_offsprings,
        operators=operators, scores=_scores(config, problem) if operators == "sparse" else None,
    )  # fmt: skip


def _scores(config: ExperimentConfig, problem: PruningProblem) -> Scores | None:
    """Returns the ranking of the bits that guides the search, or None."""
    if config.search.ranking == "none":
        return None
    return problem.ranking(config.search.ranking or ("anova" if problem.encoding.layers == (0,) else "magnitude"))


def agrees(config: ExperimentConfig) -> bool:
    """Whether a run recommends the consensus of its front: in the sound profile, where units are a goal."""
    names = {each.name for each in config.objectives}
    return config.profile == "sound" and bool(names & {"active_fraction", "active_units"}) and len(names) > 1


def consensus_sizes(config: ExperimentConfig, problem: PruningProblem) -> list[int]:
    """Returns how many bits each consensus has on, the budget's first."""
    length = problem.encoding.length
    return [max(1, int(config.budget * length)), *geometric_sizes(length)]


def _assessed(stages: Mapping[str, Run]) -> pd.DataFrame:
    """Returns what a search offers: its front and, after it, the consensus members."""
    run = stages["search"]
    tables = [run.front(SPLITS)]
    if CONSENSUS in stages:
        agreed = stages[CONSENSUS]
        assessed = run.problem.assess(agreed.genomes(), SPLITS)
        tables.append(assessed.assign(solution=agreed.history()["solution"].to_numpy()))
    front = pd.concat(tables, ignore_index=True).assign(seed=run.seed)
    return front[["solution", "seed", *front.columns.difference(["solution", "seed"], sort=False)]]


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
        if agrees(config):
            picks["search"] = Run(problem.reseeded(seed), log, seed, CONSENSUS).history()["solution"].iloc[0]
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
        "choice": _rule(config, names),
        "objectives": _described(problem.objectives),
        "reported": _described(problem.reported),
        "images": images,
        "test_opened": log.meta("test_opened"),
        "seeds": seeds,
    }


def _rule(config: ExperimentConfig, names: Sequence[str]) -> str:
    """Returns in words how members are chosen, see :func:`analysis.fronts.choose`."""
    where = "on test, which is search and select too" if config.profile == "paper" else "on search and select"
    within = f", at most {config.budget:.0%} of the units" if "active_fraction" in names and config.budget < 1 else ""
    least = f"least {next(loss for loss in LOSSES if loss in names)} {where}{within}"
    agreed = f"consensus of the front at {config.budget:.0%} of the units (controls: {least})"
    return agreed if agrees(config) else least


def _described(measures: Sequence[Objective]) -> dict[str, dict[str, Any]]:
    return {o.name: {"unit": o.unit, "minimise": o.minimise, "worst": o.worst} for o in measures}


def _row(points: pd.DataFrame, solution: str) -> pd.Series:
    return points[points["solution"] == solution].iloc[0]
