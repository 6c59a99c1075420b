"""The controls of an experiment, scored beside the search by the same evaluator."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.fronts import SPLITS
from moprune.population import TrainingSet
from moprune.search import Run
from problems.pruning import PruningProblem
from problems.pruning.controls import Point, Setting, geometric_sizes, points

RANDOM = "random masks"
"""The control of as many random masks as the search evaluated."""

_LEADING = ("control", "solution", "seed")


def assess_controls(names: Sequence[str], problem: PruningProblem, random: Run | None = None) -> pd.DataFrame:
    """Returns the controls of one run seed, a row a point: ``control``, ``solution``, ``seed`` and what it scores.

    Args:
        names: of :data:`problems.pruning.controls.CONTROLS`; ``random`` stands for the finished search given.
        problem: the problem of that seed.
        random: as many random masks as the search evaluated.
    """
    tables = [_points(name, problem, problem.seed) for name in names if name != "random"]
    if random is not None:
        tables.append(random.front(SPLITS).assign(control=RANDOM, seed=problem.seed))
    if not tables:
        return pd.DataFrame(columns=list(_LEADING))
    table = pd.concat(tables, ignore_index=True)
    return table[[*_LEADING, *table.columns.difference(list(_LEADING), sort=False)]]


def _points(name: str, problem: PruningProblem, seed: int) -> pd.DataFrame:
    sizes = geometric_sizes(problem.encoding.length)
    if problem.encoding.length >= 2:  # the size that the recommended member may have at most, half by default
        sizes = tuple(sorted({*sizes, problem.encoding.length // 2}))
    setting = Setting(problem.encoding, _seen(problem), problem.training, seed, sizes)
    found = points(name, setting)
    genomes = [point for point in found if point.genome is not None]
    recipes = [point for point in found if point.fit is not None]
    tables = []
    if genomes:
        assessed = problem.assess(np.stack([point.genome for point in genomes if point.genome is not None]), SPLITS)
        tables.append(assessed.assign(solution=_ids(name, genomes, seed)))
    if recipes:
        outcomes = problem.outcomes_of([point.fit for point in recipes if point.fit is not None], SPLITS)
        tables.append(problem.table(outcomes, len(recipes), SPLITS).assign(solution=_ids(name, recipes, seed)))
    return pd.concat(tables, ignore_index=True).assign(control=name.replace("_", " "), seed=seed)


def _seen(problem: PruningProblem) -> TrainingSet:
    """Returns the images by which controls choose units: those of train, as the search's own ranking does."""
    return TrainingSet(problem.scorer.features("train"), problem.task.train.labels.to(problem.device))


def _ids(name: str, points: Sequence[Point], seed: int) -> list[str]:
    return [f"{seed}-{name}" if len(points) == 1 else f"{seed}-{name} {point.name}" for point in points]
