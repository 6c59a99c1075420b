"""Refinement of weights, as experiments see it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from pymoo.core.algorithm import Algorithm
from torch import nn

from analysis.fronts import LOSSES, SPLITS, choose
from experiments.build import Prepare, build_network, build_task
from experiments.config import ExperimentConfig
from experiments.tasks.drawn import drawn
from experiments.tasks.kind import Deliverable, TaskKind, Working, quietly
from experiments.tasks.whole import whole
from moprune.algorithms import GivenGenomes, RandomSearch, make
from moprune.algorithms.single_objective import ADAPTIVE_DE
from moprune.data import Task
from moprune.data.text import TextInputs
from moprune.errors import UsageError
from moprune.networks.modes import device_of
from moprune.networks.selection import select, state_of
from moprune.objectives import resolve
from moprune.population.recipes import STEP_COST, Recipe, draw_recipes
from moprune.problem import Genomes, SearchProblem
from moprune.search import Run
from problems.refinement.controls import CONTROLS, Labelled, Setting, points, suitable
from problems.refinement.genomes import Genotype, Mixing, Scales, Subspace, Weights
from problems.refinement.members import Members, averaged, basin, finetuned, last_checkpoints, stacked, with_state
from problems.refinement.problem import RefinementProblem

TOLERATED = 0.01
"""Error that is given for a better worst class."""


class Refinement(TaskKind):
    """Which weights near those of a trained network serve best, see :mod:`problems.refinement`."""

    random = "random search"
    shown = "distance"

    def __init__(self, config: ExperimentConfig) -> None:
        super().__init__(config)
        self._data: tuple[Task, nn.Module, Prepare] | None = None
        self._problems: dict[int, RefinementProblem] = {}

    @property
    def _publication(self) -> str | None:
        """The publication that is followed, with profile paper."""
        return (self.config.refinement.publication or "sa_shade") if self.config.profile == "paper" else None

    @property
    def optimistic(self) -> bool:
        """Whether the best on test is reported: SA-SHADE-tri-ensin saved populations by their validation accuracy."""
        return self._publication == "sa_shade"

    def problem(self, seed: int, working: Working = quietly) -> RefinementProblem:
        """Returns the problem of a run seed, with members of its own; data and network are opened once."""
        if self._data is None:
            task = build_task(self.config.data)
            self._data = searched_on_train(task) if self.optimistic else task, *build_network(self.config.network, task)
        if seed not in self._problems:
            self._problems[seed] = self._built(*self._data, seed, working)
        return self._problems[seed]

    def _built(
        self, task: Task, network: nn.Module, preprocess: Prepare, seed: int, working: Working
    ) -> RefinementProblem:
        config, refinement = self.config, self.config.refinement
        members = self._members(task, network, preprocess, seed, working)
        start = self._start(task, network, preprocess, members)
        return RefinementProblem(
            task,
            start,
            self._genotype(start, members, seed),
            preprocess=preprocess,
            objectives=config.resolved_objectives(),
            reported=config.resolved_reported(),
            members=members,
            reestimate=refinement.reestimate,
            images_a_subset=refinement.images_a_subset,
            batch_size=refinement.batch_size,
            precision=refinement.precision,
            seed=seed,
            device=config.device,
            on_prepared=lambda part, done, total: working(f"inputs of {part}", done, total, "inputs"),
        )

    def _members(
        self, task: Task, network: nn.Module, preprocess: Prepare, seed: int, working: Working
    ) -> Members | None:
        asked = self.config.refinement.members
        if asked.count == 0:
            return None
        told: dict[str, Any] = {
            "preprocess": preprocess, "seed": seed, "device": self.config.device,
            "on_epoch": lambda done, total: working("members", done, total, "epochs of fine-tuning"),
        }  # fmt: skip
        if asked.kind == "checkpoints":
            recipe = replace(self._recipe(), epochs=max(asked.epochs, asked.count), schedule="constant")
            return last_checkpoints(network, task, recipe, asked.count, **told)
        recipes = draw_recipes(
            asked.count, seed, base_rate=asked.base_rate, epochs=asked.epochs, kind=asked.kind, augment=asked.augment,
            mixup=not isinstance(task.train.inputs, TextInputs), batch_size=asked.batch_size,
        )  # fmt: skip
        return finetuned(network, task, recipes, **told)

    def _start(self, task: Task, network: nn.Module, preprocess: Prepare, members: Members | None) -> nn.Module:
        """Returns what is refined: the network itself, or what its members make."""
        asked = self.config.refinement.start
        if asked == "network":
            return network
        assert members is not None  # its configuration was checked
        if asked == "uniform_soup":
            return with_state(network, averaged(network, members.states))
        judge = RefinementProblem(
            task, network, Weights(network, ["all"]), preprocess=preprocess, device=self.config.device,
            objectives=self.config.resolved_objectives(), batch_size=self.config.refinement.batch_size,
        )  # fmt: skip
        losses = judge.losses([(state,) for state in members.states])
        return with_state(network, members.states[int(np.argmin(losses))])

    def _recipe(self) -> Recipe:
        """Returns how a network is fine-tuned in the middle of what members are drawn from; controls use it too."""
        asked = self.config.refinement.members
        return Recipe(asked.base_rate, augment=asked.augment, epochs=asked.epochs, batch_size=asked.batch_size)

    def _genotype(self, network: nn.Module, members: Members | None, seed: int) -> Genotype:
        refinement = self.config.refinement
        options: dict[str, Any] = refinement.options()
        if refinement.genome == "mixing":
            assert members is not None  # its configuration was checked
            return Mixing(network, members.states, **options)
        parameters = options.pop("parameters", ("all",))
        if refinement.genome == "weights":
            return Weights(network, parameters, **options)
        if refinement.genome == "scales":
            return Scales(network, parameters, **options)
        kind = refinement.genome.removesuffix("_subspace")
        return Subspace(network, parameters, kind=kind, seed=seed, **options)

    def check(self, problem: SearchProblem) -> None:
        """Refuses controls that need members, bounds or a linear classifier where there are none."""
        problem = _checked(problem)
        fitting = suitable(self._setting(problem, STEP_COST))
        for name in self.config.controls:
            if name == "random":
                self.random_search(problem)
            elif name not in fitting:
                raise UsageError(
                    f"control {name!r} does not suit this search (it needs members, or a linear classifier with a "
                    f"bias); choose from: {', '.join(fitting)}, random"
                )

    def digests(self, problem: SearchProblem) -> dict[str, str]:
        """Returns the digests of data and network."""
        fingerprint = problem.fingerprint()
        return {"data": fingerprint["task"], "network": fingerprint["network"]}

    def task(self, problem: SearchProblem) -> Task:
        """Returns the data of a problem."""
        return _checked(problem).task

    def algorithm(self, problem: SearchProblem) -> Algorithm:
        """Returns the algorithm, which starts from the network, the members' average and the members.

        In the sound profile, differential evolution crosses over whole filters, tensors or layers.
        """
        settings, problem = self.config.search, _checked(problem)
        if settings.ranking is not None:
            raise UsageError("search.ranking ranks the bits of pruning; remove it")
        blocks = problem.genotype.blocks if settings.algorithm in ADAPTIVE_DE and self._publication is None else None
        return make(
            settings.algorithm, problem, pop_size=settings.pop_size, n_offsprings=settings.n_offsprings,
            operators=settings.operators, first=self._first(problem), blocks=blocks,
        )  # fmt: skip

    def _first(self, problem: RefinementProblem) -> Genomes:
        """Returns what the first population begins with; a sound search of class biases knows what the rule finds."""
        first = problem.first_population(self._size)
        setting, balance = self._setting(problem, STEP_COST), CONTROLS["class_balance"]
        sound = self._publication is None and balance.suits(setting)
        if not sound or problem.genotype.changed != select(setting.network, ["class_biases"]):
            return first
        ruled = [problem.genotype.genome(point.states[0]) for point in balance.points(setting)]
        kept = np.linspace(0, len(ruled) - 1, min(len(ruled), self._size // 2)).astype(int)
        rows = np.vstack([first, *(ruled[i][None] for i in kept)])
        _, places = np.unique(rows, axis=0, return_index=True)
        return rows[np.sort(places)][: self._size]

    @property
    def _size(self) -> int:
        size = self.config.search.pop_size
        assert size is not None  # every profile names one
        return size

    def random_search(self, problem: SearchProblem) -> Algorithm:
        """Returns what starts as the search does and then draws candidates blindly, see :func:`drawn`."""
        problem = _checked(problem)
        first = self._first(problem)
        return RandomSearch(drawn(problem.genotype, first), batch=self._size, first=GivenGenomes(first))

    def control(self, name: str, run: Run) -> pd.DataFrame:
        """Returns a control's points, made for what the search spent; see :mod:`problems.refinement.controls`."""
        problem = _checked(run.problem)
        found = points(name, self._setting(problem, run.images()))
        outcomes = problem.outcomes_of([point.states for point in found], SPLITS)
        names = [f"{problem.seed}-{name}" + (f" {p.name}" if len(found) > 1 else "") for p in found]
        return problem.table(outcomes, len(found), SPLITS).assign(solution=names, images=[p.images for p in found])

    def _setting(self, problem: RefinementProblem, budget: int) -> Setting:
        train, search = self._labelled
        assert self._data is not None  # a problem was made of them
        own = problem.scorer.base.state_dict()
        given = state_of(self._data[1])
        return Setting(
            problem.scorer.base, train, search, problem.losses, budget=budget, genotype=problem.genotype,
            members=problem.members, recipe=self._recipe(), seed=problem.seed, device=device_of(problem.scorer.base),
            pretrained={name: each for name, each in given.items() if not torch.equal(each, own[name].cpu())},
        )  # fmt: skip

    @cached_property
    def _labelled(self) -> tuple[Labelled, Labelled]:
        """The train and the search split as tensors, for controls."""
        assert self._data is not None  # a problem was made of them
        task, _, preprocess = self._data
        return Labelled(*stacked(task.train, preprocess)), Labelled(*stacked(task.search, preprocess))

    def prepared(self, problem: SearchProblem) -> dict[str, int]:
        """Returns what the members cost."""
        members = _checked(problem).members
        return {} if members is None else {"members": members.images}

    def notes(self, run: Run) -> list[str]:
        """Returns a warning where the members' weights cannot be averaged."""
        problem = _checked(run.problem)
        if problem.members is None or len(problem.members) < 2:
            return []
        found = basin(problem.scorer.base, problem.members, problem.losses)
        return [] if found.shared else [f"Mind that {found.sentence}."]

    def choose(self, points: pd.DataFrame, images: Mapping[str, int]) -> str:
        """Returns the solution of the least single objective, of several of the least loss; see :meth:`choice`."""
        weights = {"sa_shade": {"search": 0, "select": 1}, "metaheuristics": {"search": 1, "select": 0}}
        images = weights.get(self._publication or "", images)
        if not self._balances:
            return choose(points, images, losses=self._losses)
        shares = [images[split] for split in ("search", "select")]
        error = np.average([points["error_search"], points["error_select"]], axis=0, weights=shares)
        return choose(points[error <= error.min() + TOLERATED], images, losses=["worst_class_error"])

    def choice(self, names: Sequence[str]) -> str:
        """Returns in words how members are chosen."""
        where = {"sa_shade": "on test, as published", "metaheuristics": "on search"}
        told = where.get(self._publication or "", "on search and select")
        if self._balances:
            return f"least worst_class_error {told}, for at most {TOLERATED:.0%} more error than the least"
        return f"least {next(loss for loss in self._losses if loss in names)} {told}"

    @property
    def _balances(self) -> bool:
        """Whether the worst class and the error are goals: of what they trade, most is taken for a little error."""
        return {"error", "worst_class_error"} <= {each.name for each in self.config.objectives}

    @property
    def _losses(self) -> tuple[str, ...]:
        """What members are chosen by: what was searched for, if that is one loss to be minimised."""
        first, *others = resolve(self.config.resolved_objectives())
        return LOSSES if others or not first.minimise else (first.name,)

    def columns(self, genomes: Genomes, fingerprint: Mapping[str, Any]) -> pd.DataFrame:
        """Returns ``distance``, the Euclidean norm of a genome, where the start is the origin; of weights it is not."""
        if fingerprint["genotype"]["kind"] == "weights":
            return pd.DataFrame(index=range(len(genomes)))
        return pd.DataFrame({"distance": np.linalg.norm(genomes, axis=1)})

    def deliverable(self, problem: SearchProblem, genome: Genomes, notes: Mapping[str, Any]) -> Deliverable:
        """Returns the refined network."""
        problem = _checked(problem)
        return whole(problem.network(genome), problem.network_of({}), problem.task, problem.scorer.preprocess, notes)


def searched_on_train(task: Task) -> Task:
    """Returns the task as SA-SHADE-tri-ensin used it: training images are searched, the best on test is reported.

    What it reports looks better than it is; results have to say so.
    """
    test = task.corruptions["test"]
    return replace(
        task, search=task.train, select=task.test, optimistic=True,
        ood=dict.fromkeys(("search", "select", "test"), task.ood["test"]),
        corruptions={**task.corruptions, "search": task.corruptions["train"], "select": test},
    )  # fmt: skip


def _checked(problem: SearchProblem) -> RefinementProblem:
    assert isinstance(problem, RefinementProblem)
    return problem
