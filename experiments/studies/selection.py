"""The study of layer selection: searches and baselines on seven data sets, with equal training for all.

    python -m experiments.studies.selection --out FOLDER --data FOLDER [--seeds 1,2,3,4,5] [--tasks a,b]

Every arm may spend what BioTune's 140 evaluations cost: three trainings each on half of the images, with a look at half
of the search images after each epoch. An evaluation of the others is the mean over three trainings on all images, so
that TPE has about 86 and random search 80. The promoting search has cheaper requests too, and so many that it spends
about as much. What an arm ends with is trained on ``train`` from three seeds, and scored on search, select and test.

What is finished is not done again, an arm at a time; two processes may share the work by ``--tasks``. A file holds the
front of an arm on search; which point is taken of it is the business of :mod:`experiments.studies.selection_table`.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from pymoo.operators.sampling.rnd import FloatRandomSampling

from analysis.fronts import SPLITS
from experiments.studies.selection_sets import EMBEDDED, NAMES, SelectionSet, opened
from moprune.algorithms import GivenGenomes, RandomSearch, make
from moprune.files import write_text
from moprune.fronts import nondominated
from moprune.population.tuning import TuningRecipe
from moprune.problem import Genomes
from moprune.search import Run, search
from problems.selection import Genotype, Graded, Importances
from problems.selection.controls import Setting, points
from problems.selection.problem import Rung, SelectionProblem

RECIPE = TuningRecipe(learning_rate=3e-3, epochs=3, batch_size=12)
"""Of all arms. The base rate is three times BioTune's, which has up to thirty epochs; here there are three."""

BIOTUNE = replace(RECIPE, horizon=100, patience=3, statistics="all")
"""BioTune's own: a rate that hardly falls, the best epoch on search, running statistics of all layers that move."""

TRAININGS, EVALUATIONS, FOLDS = 3, 140, 2
REQUESTS = 400
"""Of the promoting search: most of them on its rung, a sixth of a training each."""

POPULATION = 20
ARMS = ("biotune", "sound", "random", "linear_probe", "full", "auto_rgn", "lora", "subtuning", "tpe")
EXTRAS = ("l2_sp", "gradual_last")
REPORTED = ("error", "trainable_share", "backward_flops")


@dataclass(frozen=True, eq=False)
class Cell:
    """One data set with one run seed: of its division, of every search and of the training seeds.

    Attributes:
        source: the data set as this seed divides it.
        seed: the run seed.
    """

    source: SelectionSet
    seed: int

    def problem(self, genotype: Genotype, **options: Any) -> SelectionProblem:
        """Returns the problem of a genotype."""
        told = {"preprocess": self.source.preprocess, "head": self.source.head, "seed": self.seed, "device": "cpu"}
        usual = {"recipe": RECIPE, "seeds": TRAININGS, "reported": REPORTED}
        return SelectionProblem(self.source.task, self.source.network, genotype, **(told | usual | options))  # type: ignore[arg-type]

    @cached_property
    def graded(self) -> SelectionProblem:
        """What the sound search, random search and the controls work on, one of them in each cell."""
        return self.problem(Graded(self.source.network, self.source.units), rungs=[Rung(0.34, 0.5)])

    @cached_property
    def setting(self) -> Setting:
        """What controls may use: as much as BioTune's evaluations cost if none stops early."""
        train, scored = (len(split) // FOLDS for split in (self.source.task.train, self.source.task.search))
        training = BIOTUNE.images(train) + BIOTUNE.epochs * scored
        return Setting(self.graded, EVALUATIONS * TRAININGS * (training + scored), self.seed)


@dataclass(frozen=True, eq=False)
class Result:
    """What an arm came to.

    Attributes:
        points: ``point`` (a name) and what each scores on search, select and test.
        images: forward-image equivalents of the search.
    """

    points: pd.DataFrame
    images: float


Arm = Callable[[Cell], Result]


def sound_search(problem: SelectionProblem, requests: int, seed: int) -> Run:
    """Returns a finished search as experiment ``mo-selection`` does it: promoting NSGA-II from well-known tunings.

    Args:
        problem: with rungs and training seeds.
        requests: evaluations, those on rungs and those of single training seeds included.
        seed: of the search.
    """
    algorithm = make(
        "nsga2_promoting", problem, pop_size=POPULATION, first=problem.first_population(POPULATION),
        choices=problem.genotype.choices,
    )  # fmt: skip
    return search(problem, algorithm, n_eval=requests, seed=seed)


def _sound(cell: Cell) -> Result:
    return _searched(sound_search(cell.graded, REQUESTS, cell.seed))


def _random(cell: Cell) -> Result:
    first: Genomes = cell.graded.first_population(POPULATION)
    algorithm = RandomSearch(FloatRandomSampling(), batch=POPULATION, first=GivenGenomes(first))
    batches = max(1, cell.setting.affordable // POPULATION)  # the last one is not to exceed the budget
    return _searched(search(cell.graded, algorithm, n_eval=batches * POPULATION, seed=cell.seed))


def _searched(run: Run) -> Result:
    return Result(run.front(SPLITS).rename(columns={"solution": "point"}), run.images())


def _biotune(cell: Cell) -> Result:
    """Returns the best of the last population on all search images, trained as published and as the others are."""
    genotype = Importances(cell.source.units)
    measured: dict[str, Any] = {"objectives": ["macro_error"], "reported": ["trainable_parameters", *REPORTED]}
    problem = cell.problem(genotype, recipe=BIOTUNE, folds=FOLDS, **measured)
    algorithm = make("biotune_faithful", problem, pop_size=10)
    run = search(problem, algorithm, n_eval=EVALUATIONS, seed=cell.seed)
    best = run.genomes(run.front_index()[:1])
    kinds = {"published training": problem, "common training": cell.problem(genotype, **measured)}
    tables = [each.assess(best, SPLITS).assign(point=name) for name, each in kinds.items()]
    return Result(pd.concat(tables, ignore_index=True), run.images())


def _control(cell: Cell, *, name: str) -> Result:
    """Returns those of a control's points that are non-dominated on search; the others are not opened on test."""
    problem = cell.graded
    found = points(name, cell.setting)
    scored = problem.table(problem.outcomes_of([each.fitted for each in found], ["search"]), len(found), ["search"])
    columns = [f"{objective.name}_search" for objective in problem.objectives]
    kept = [found[row] for row in nondominated(problem.minimised(scored[columns].to_numpy()))]
    table = problem.table(problem.outcomes_of([each.fitted for each in kept], SPLITS), len(kept), SPLITS)
    return Result(table.assign(point=[each.name for each in kept]), sum(each.images for each in found))


def arm(name: str) -> Arm:
    """Returns what runs an arm of :data:`ARMS` or :data:`EXTRAS`."""
    own: dict[str, Arm] = {"biotune": _biotune, "sound": _sound, "random": _random}
    return own[name] if name in own else partial(_control, name=name)


def record(cell: Cell, name: str) -> dict[str, Any]:
    """Returns an arm's result as it is written: its points, and what search and final training cost."""
    began = time.perf_counter()
    result = arm(name)(cell)
    task = cell.source.task
    return {
        "task": task.name,
        "seed": cell.seed,
        "arm": name,
        "images": float(result.images),
        "final_images": float(TRAININGS * RECIPE.images(len(task.train))),
        "seconds": time.perf_counter() - began,
        "sizes": task.sizes(),
        "points": json.loads(result.points.replace(np.nan, None).to_json(orient="records")),
    }


def run(tasks: Sequence[str], seeds: Sequence[int], arms: Sequence[str], out: Path, data: Path | None) -> None:
    """Runs what is not there yet, and writes a file for each task, seed and arm."""
    for seed in seeds:
        for task in tasks:
            paths = {name: out / task / str(seed) / f"{name}.json" for name in arms}
            missing = {name: path for name, path in paths.items() if not path.is_file()}
            if not missing:
                continue
            source = opened(task, data, seed)
            for name, path in missing.items():
                found = record(Cell(source, seed), name)  # a cell of its own, lest one arm remember another's work
                write_text(path, json.dumps(found, indent=1) + "\n")
                spent = f"{found['seconds']:.0f} s, {found['images'] / 1000:.0f}k images"
                typer.echo(f"{task}, seed {seed}, {name}: {spent}")


def main(
    out: Annotated[Path, typer.Option(help="Folder for results; what is there is not done again.")],
    data: Annotated[Path | None, typer.Option(help="Folder of tars and resnet20_cifar10.pth; none: digits.")] = None,
    seeds: Annotated[str, typer.Option(help="Run seeds, e.g. 1,2,3.")] = "1,2,3,4,5",
    tasks: Annotated[str, typer.Option(help=f"Of: {', '.join(NAMES)}; all that --data allows.")] = "",
    only: Annotated[str, typer.Option(help=f"Arms, of: {', '.join((*ARMS, *EXTRAS))}.")] = "",
    everything: Annotated[bool, typer.Option("--all", help=f"With the extras: {', '.join(EXTRAS)}.")] = False,
) -> None:
    """Runs the study of layer selection; one JSON file a task, seed and arm."""
    chosen = tasks.split(",") if tasks else list(NAMES) if data else list(EMBEDDED)
    arms = only.split(",") if only else [*ARMS, *(EXTRAS if everything else ())]
    run(chosen, [int(seed) for seed in seeds.split(",")], arms, out, data)


if __name__ == "__main__":
    typer.run(main)
