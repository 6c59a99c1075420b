"""The study of refinement: every search and every baseline at the same budget of forward images, on several seeds.

    python -m experiments.studies.refinement --data FOLDER --out FOLDER [--seeds 1,2,3,4,5]

A ResNet-20 trained on CIFAR-10 meets strongly compressed JPEG images. It is fine-tuned on images of ``train/``; search,
select and test are images of ``test/``, which it has not seen in pre-training: search and select from one fixed half,
test the other. What is finished is not done again, an arm at a time, so that an interrupted study goes on. The tables
are those of :mod:`experiments.studies.refinement_table`. The sizes fit an hour on two cores; the full ones are
``--train 10000 --searched 3000 --evaluations 200``.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from pymoo.core.algorithm import Algorithm
from scipy.spatial.distance import pdist
from torch import nn

from experiments.studies.memory import PeakMemory
from experiments.tasks.drawn import drawn
from moprune.algorithms import GivenGenomes, RandomSearch, make
from moprune.algorithms.adaptive_de import PROFILES, Profile, SASHADETriEnSin
from moprune.data import Split, Task, limit, open_tar
from moprune.data.corruptions import corrupted_splits
from moprune.files import write_text
from moprune.log import EvaluationLog
from moprune.metrics import error as error_of
from moprune.metrics import worst_class_error
from moprune.networks import Preprocess, pretrained
from moprune.networks.selection import State
from moprune.objectives import Objective, Outcome
from moprune.population import finetune
from moprune.population.recipes import STEP_COST, Recipe, draw_recipes
from moprune.problem import Genomes
from moprune.search import Run, run_algorithm
from moprune.seeding import derive
from problems.refinement import Members, RefinementProblem, finetuned
from problems.refinement.controls import Labelled, Setting, points, suitable
from problems.refinement.genomes import Mixing, Subspace, Weights
from problems.refinement.members import averaged, stacked, with_state

TRAIN, SEARCH, SELECT = 5_000, 1_000, 500
BIAS_EVALUATIONS = 1_000  # on cached features, a thousand take a second
EVALUATIONS, POPULATION, MEMBERS, EPOCHS = 60, 10, 8, 3
SEARCH_CORRUPTIONS, TEST_CORRUPTIONS = ("impulse_noise@1",), ("gaussian_noise@1",)
_PREPROCESS = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_REPORTED = ("error", "macro_error", "worst_class_error", "ece", "brier")


def _worst_and_error(outcome: Outcome) -> float:
    worst, error = (measure(outcome.logits, outcome.labels) for measure in (worst_class_error, error_of))
    return (worst + error / 4) / 1.25


WORST = Objective("worst_and_error", "share of images", True, 1.0, _worst_and_error)
"""The worst class's error, and a quarter of the error, so that the other classes count for something."""

Build = Callable[[RefinementProblem], Algorithm]


@dataclass(frozen=True, eq=False)
class Cell:
    """One seed of the study.

    Attributes:
        seed: the run seed, and of the division of the images.
        task: train, search, select and test.
        network: the pre-trained network.
        members: fine-tuned from it.
        out: the seed's folder.
        evaluations: of each search.
    """

    seed: int
    task: Task
    network: nn.Module
    members: Members
    out: Path
    evaluations: int

    def problem(self, genotype: Any, **options: Any) -> RefinementProblem:
        """Returns the problem of a genotype, one goal (the likelihood) by default."""
        return RefinementProblem(
            self.task, self.network, genotype, preprocess=_PREPROCESS, members=self.members, seed=self.seed,
            device="cpu", batch_size=100, **{"objectives": ["nll"], "reported": _REPORTED} | options,
        )  # fmt: skip

    @cached_property
    def mixing(self) -> RefinementProblem:
        """The search of the members' shares in each stage."""
        return self.problem(Mixing(self.network, self.members.states, per="stage", low=-0.5, high=1.5))

    @cached_property
    def soup(self) -> State:
        """The mean of all members."""
        return averaged(self.network, self.members.states)

    @cached_property
    def souped(self) -> nn.Module:
        """The network with the mean of all members in its place."""
        return with_state(self.network, self.soup)

    @cached_property
    def biases(self) -> RefinementProblem:
        """The search of the soup's class biases for the worst class, which a rule can do too."""
        return RefinementProblem(
            self.task, self.souped, Weights(self.souped, ["class_biases"], 3.0), preprocess=_PREPROCESS,
            objectives=[WORST], seed=self.seed, device="cpu", batch_size=100,
        )  # fmt: skip

    @cached_property
    def judge(self) -> RefinementProblem:
        """What measures every arm in the same way; its genes are of no account."""
        measures = ["nll", *_REPORTED, "corruption_error"]
        return self.problem(Weights(self.network, ["head"], 1.0), objectives=measures[:1], reported=measures[1:])

    @cached_property
    def setting(self) -> Setting:
        """What controls may use."""
        return Setting(
            self.network,
            Labelled(*stacked(self.task.train, _PREPROCESS)),
            Labelled(*stacked(self.task.search, _PREPROCESS)),
            self.mixing.losses,
            budget=self.evaluations * len(self.task.search),
            genotype=self.mixing.genotype,
            members=self.members,
            recipe=Recipe(0.01),
            seed=self.seed,
            device="cpu",
        )


def _named(name: str) -> Build:
    def build(problem: RefinementProblem) -> Algorithm:
        first = problem.first_population(POPULATION)
        return make(name, problem, pop_size=POPULATION, first=first)

    return build


def _random(problem: RefinementProblem) -> Algorithm:
    first = problem.first_population(POPULATION)
    return RandomSearch(drawn(problem.genotype, first), batch=POPULATION, first=GivenGenomes(first))


def _stage_d(**changed: Any) -> Build:
    """The published algorithm with switches changed; starts filled up around the members."""

    def build(problem: RefinementProblem) -> Algorithm:
        profile: Profile = replace(PROFILES["faithful"], redrawn=False, **changed)
        return SASHADETriEnSin(POPULATION, profile=profile, sampling=problem.first_population(POPULATION))

    return build


MIXED: Mapping[str, Build] = MappingProxyType(
    {
        "random search": _random,
        **{name: _named(name) for name in ("de", "sade", "shade", "lshade", "tde", "pso", "ga", "cmaes")},
        "sa_shade": _named("sa_shade"),
        "stage D": _stage_d(),
        "stage D without trigonometric": _stage_d(trigonometric=0.0),
        "stage D without sinusoids": _stage_d(sinusoids=False),
        "stage D without memories": _stage_d(history=False),
        "stage D without adaptation": _stage_d(adaptation=False),
    }
)
"""Searches of the members' shares in each stage, from the start, the members and their mean."""

HEAD = ("pso", "ga", "de", "bat", "firefly", "rpso")
"""The second publication's: the head's weights in a box of 0.01, by the error; here with the start among the first."""


def arms(cell: Cell) -> dict[str, Callable[[], list[dict[str, Any]]]]:
    """Returns what runs each arm: a row for each of its points."""
    found: dict[str, Callable[[], list[dict[str, Any]]]] = {
        f"control {name}": partial(_control, cell, name)
        for name in suitable(cell.setting)
        if name != "class_balance"  # see "biases rule", which takes one of its steps
    }
    found["control gradient for all that was spent"] = partial(_descended, cell)
    for name, build in MIXED.items():
        found[f"mixing {name}"] = partial(_searched, cell, cell.mixing, build)
    balanced = cell.biases
    for name in ("random search", "shade", "cmaes"):
        found[f"biases {name}"] = partial(_searched, cell, balanced, MIXED[name], evaluations=BIAS_EVALUATIONS)
    found["biases rule"] = partial(_rule, cell)
    head = cell.problem(Weights(cell.network, ["head"], 0.01), objectives=["error"], reported=())
    for name in HEAD:
        found[f"head {name}"] = partial(_searched, cell, head, _named(name))
    norms = cell.problem(Subspace(cell.network, ["norms"], 30, kind="random", spread=0.5, seed=cell.seed))
    found["norms cmaes"] = partial(_searched, cell, norms, _named("cmaes"))
    whole = cell.problem(Weights(cell.network, ["convolutions", "norms"]), reestimate=True)
    found["weights stage D"] = partial(_searched, cell, whole, _stage_d())
    return found


def _searched(
    cell: Cell, problem: RefinementProblem, build: Build, evaluations: int | None = None
) -> list[dict[str, Any]]:
    """Returns the best candidate by the search split alone; ``claimed`` is what it scored there."""
    began = time.perf_counter()
    evaluations = evaluations or cell.evaluations
    log = EvaluationLog(None)
    algorithm = run_algorithm(problem, build(problem), n_eval=evaluations, seed=cell.seed, log=log)
    run = Run(problem, log, cell.seed)
    seconds = time.perf_counter() - began
    best = run.front_index()[:1]
    claimed = float(run.history()[f"{problem.objectives[0].name}_search"].iloc[best[0]])
    (state,) = map(problem.scorer.calibrated, problem.states(run.genomes(best)))
    if problem is cell.biases:
        state = cell.soup | state
    row = _row(cell, (state,), run.images(), seconds)
    spread = diversity(algorithm.pop.get("X"))
    return [row | {"claimed": claimed, "evaluations": evaluations, "success": _success(run), "diversity": spread}]


def diversity(genomes: Genomes) -> float:
    """Returns the root-mean-square difference of two genes, mean over pairs of a population ``(n, n_var)``, n >= 2."""
    return float(pdist(np.asarray(genomes, dtype=np.float64)).mean() / np.sqrt(genomes.shape[1]))


def _descended(cell: Cell) -> list[dict[str, Any]]:
    """Returns the network fine-tuned for what members and search cost together."""
    data = cell.setting.train
    epochs = round((cell.members.images + cell.setting.budget) / (STEP_COST * len(data.labels)))
    recipe = replace(cell.setting.recipe, epochs=epochs)
    began = time.perf_counter()
    (state,) = finetune(cell.network, data.inputs, data.labels, recipe, seed=cell.seed, device="cpu")
    return [_row(cell, (state,), recipe.images(len(data.labels)), time.perf_counter() - began)]


def _rule(cell: Cell) -> list[dict[str, Any]]:
    """Returns the step of the rule on the uniform soup that the goal of the bias searches likes best on search."""
    began = time.perf_counter()
    setting = replace(cell.setting, network=cell.souped, losses=cell.biases.losses)
    found = points("class_balance", setting)
    best = int(np.argmin(cell.biases.losses([point.states for point in found])))
    seconds = time.perf_counter() - began
    return [_row(cell, (cell.soup | found[best].states[0],), found[best].images, seconds)]


def _success(run: Run) -> float:
    """Returns the share of candidates after the first population that were scored to the end: no worse than parents."""
    logged, _ = run.log.history(run.stage, run.seed)
    later = logged[logged["generation"] > 0]
    dropped = np.concatenate(later["provisional"].to_list()) if len(later) else np.zeros(1)
    return float(1 - dropped.mean()) if dropped.any() else float("nan")


def _control(cell: Cell, name: str) -> list[dict[str, Any]]:
    began = time.perf_counter()
    found = points(name, cell.setting)
    seconds = time.perf_counter() - began
    return [_row(cell, point.states, point.images, seconds) | {"point": point.name} for point in found]


def _row(cell: Cell, states: Sequence[State], images: float, seconds: float) -> dict[str, Any]:
    """Returns what a candidate scores on search and test, and what it cost."""
    table = cell.judge.table(cell.judge.outcomes_of([states], ["search", "test"]), 1, ["search", "test"])
    measured = {str(name): float(value) for name, value in table.iloc[0].items()}
    return {"seed": cell.seed, **measured, "images": float(images), "seconds": seconds}


def divided(
    folder: Path, seed: int, train_images: int = TRAIN, search_images: int = SEARCH, *, confirming: bool = False
) -> Task:
    """Returns the task of a seed: its own images of ``train/``, and of the search's half of ``test/``.

    Confirming, the halves change places: no setting of the study has been chosen by what it scored on those images.
    """
    source = open_tar(folder / "cifar10_jpeg.tar")
    train, unseen = source.subsets["train"], source.subsets["test"]
    places = np.arange(len(unseen))
    half = limit(unseen.labels, len(unseen) // 2, seed=0)  # the same half for every seed
    searched = np.array(half)
    reported = np.setdiff1d(places, searched)
    if confirming:
        searched, reported = reported, searched
    labels = unseen.labels[searched]
    drawn_places = limit(labels, search_images + SELECT, seed=derive(seed, "search and select"))
    among = limit(labels[drawn_places], search_images, seed=derive(seed, "search"))
    rest = np.setdiff1d(np.arange(len(drawn_places)), among)
    pick = searched[np.array(drawn_places)]
    trained = limit(train.labels, train_images, seed=derive(seed, "train"))
    splits: dict[str, Split] = {
        "train": train.subset(trained), "search": unseen.subset(pick[np.array(among)].tolist()),
        "select": unseen.subset(pick[rest].tolist()), "test": unseen.subset(reported.tolist()),
    }  # fmt: skip
    corruptions = corrupted_splits(splits, SEARCH_CORRUPTIONS, TEST_CORRUPTIONS, None, seed)
    return Task("cifar10_jpeg", source.classes, **splits, corruptions=corruptions)  # type: ignore[arg-type]


def opened(folder: Path, task: Task, seed: int, out: Path, evaluations: int) -> Cell:
    """Returns a seed's cell; its members are fine-tuned first, or found in the cache."""
    network = pretrained("cifar_resnet20", str(folder / "resnet20_cifar10.pth"))
    recipes = draw_recipes(MEMBERS, seed, base_rate=0.01, epochs=EPOCHS, kind="random")
    members = finetuned(network, task, recipes, preprocess=_PREPROCESS, seed=seed, device="cpu")
    return Cell(seed, task, network, members, out / str(seed), evaluations)


def main(
    data: Annotated[Path, typer.Option(help="Folder of cifar10_jpeg.tar and resnet20_cifar10.pth.")],
    out: Annotated[Path, typer.Option(help="Folder for results; what is there is not done again.")],
    seeds: Annotated[str, typer.Option(help="Run seeds, e.g. 1,2,3.")] = "1,2,3,4,5",
    evaluations: Annotated[int, typer.Option(min=1, help="Of each search.")] = EVALUATIONS,
    train: Annotated[int, typer.Option(min=10, help="Images of train/ that members learn from.")] = TRAIN,
    searched: Annotated[int, typer.Option(min=10, max=4500, help="Images a candidate is scored on.")] = SEARCH,
    only: Annotated[str, typer.Option(help="Arms whose name begins so, e.g. control,biases.")] = "",
    confirming: Annotated[
        bool, typer.Option("--confirm", help="Test on the half that was searched, and vice versa.")
    ] = False,
) -> None:
    """Runs the study of refinement; one JSON file an arm and seed."""
    for seed in map(int, seeds.split(",")):
        cell = opened(data, divided(data, seed, train, searched, confirming=confirming), seed, out, evaluations)
        for name, run in arms(cell).items():
            path = cell.out / f"{name}.json"
            if path.is_file() or not name.startswith(tuple(only.split(","))):
                continue
            began = time.perf_counter()
            with PeakMemory() as memory:
                found = run()
            rows = [row | {"arm": name, "memory": memory.peak} for row in found]
            write_text(path, json.dumps(json.loads(pd.DataFrame(rows).to_json(orient="records")), indent=1) + "\n")
            typer.echo(f"seed {seed}, {name}: {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    typer.run(main)
