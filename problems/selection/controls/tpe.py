"""Tree-structured Parzen estimators over the search's own genome, by Optuna."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moprune.optional import quiet_optuna
from moprune.seeding import derive
from problems.selection.controls.plans import Plan, plan_points
from problems.selection.controls.points import Point, Setting
from problems.selection.genomes import Genotype, Graded


def tpe(setting: Setting) -> list[Point]:
    """Returns the best candidate of those that TPE (Bergstra et al. 2011, NeurIPS) tries, by the first objective.

    One after another, and up to half of them from where the search may start. A genome that selects nothing counts, and
    has the worst value.

    Raises:
        UsageError: Optuna is not installed.
    """
    problem, genotype, count = setting.problem, setting.problem.genotype, setting.affordable
    found: list[tuple[float, Point]] = []
    spent = 0.0
    with quiet_optuna() as optuna:
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=derive(setting.seed, "tpe") % 2**32))
        for genome in problem.first_population(max(1, count // 2)):
            study.enqueue_trial(values_of(genotype, genome))
        for number in range(1, count + 1):
            trial = study.ask(_distributions(optuna, genotype))
            tuning, loss = genotype.decode(genome_of(genotype, trial.params)), problem.objectives[0].reference
            if any(tuning.rates.values()):
                (point,) = plan_points(setting, [Plan(f"evaluation {number}", ((tuning, problem.recipe.epochs),))])
                (loss,) = problem.losses([point.fitted])
                spent += point.images
                found = [min([*found, (loss, point)], key=lambda each: each[0])]
            study.tell(trial, loss)
    return [replace(point, images=spent) for _, point in found]


def values_of(genotype: Genotype, genome: NDArray[np.float64]) -> dict[str, float]:
    """Returns the value of each gene of a genome by its name; grades as whole numbers."""
    sizes = _sizes(genotype)
    named = dict(zip(genotype.names(), genome.tolist(), strict=True))
    return {name: min(int(gene), sizes[name] - 1) if name in sizes else gene for name, gene in named.items()}


def genome_of(genotype: Genotype, values: Mapping[str, float]) -> NDArray[np.float64]:
    """Returns the genome of some values, grades in the middle of their ranges."""
    sizes = _sizes(genotype)
    return np.array([values[name] + 0.5 if name in sizes else values[name] for name in genotype.names()])


def _sizes(genotype: Genotype) -> dict[str, int]:
    """Returns how many grades each gene of a grade chooses from."""
    offered = genotype.grades.values() if isinstance(genotype, Graded) else ()
    return {name: len(grades) for name, grades in zip(genotype.names(), offered, strict=False)}


def _distributions(optuna: Any, genotype: Genotype) -> dict[str, Any]:
    sizes, make = _sizes(genotype), optuna.distributions
    bounds = zip(genotype.names(), genotype.lower.tolist(), genotype.upper.tolist(), strict=True)
    return {
        name: make.IntDistribution(0, sizes[name] - 1) if name in sizes else make.FloatDistribution(low, high)
        for name, low, high in bounds
    }
