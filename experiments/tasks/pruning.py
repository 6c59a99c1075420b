"""Pruning of a head, as experiments see it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from pymoo.core.algorithm import Algorithm
from torch import nn

from analysis.consensus import consensus_run
from analysis.fronts import LOSSES, SPLITS, choose
from experiments.build import build_network, build_task
from experiments.config import ExperimentConfig
from experiments.tasks.kind import Deliverable, TaskKind, Working, quietly
from moprune.algorithms import WITH_OPERATORS, RandomSearch, make
from moprune.data import StoredFeatures, Task
from moprune.errors import UsageError
from moprune.networks import FeatureExtractor, Preprocess
from moprune.networks.assembly import with_head
from moprune.networks.attacks import Attack
from moprune.networks.given import GivenFeatures
from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights
from moprune.networks.saved import describe, load_network
from moprune.networks.slimming import slim
from moprune.population import Training, TrainingSet
from moprune.problem import Genomes, SearchProblem
from moprune.search import Run
from problems.pruning import Protocol, PruningProblem
from problems.pruning.controls import Point, Setting, geometric_sizes, points
from problems.pruning.encodings import Encoding
from problems.pruning.rankings import Scores

# Controls and rankings that look at all features at once.
_NEED_MEMORY = ("mutual_information", "lasso", "group_lasso", "logistic_regression")
_EXAMPLES = 8  # training images by which a network that was written is compared with the one that was scored


class Pruning(TaskKind):
    """Which units of a head stay, see :mod:`problems.pruning`."""

    random = "random masks"
    shown = "share_on"

    def __init__(self, config: ExperimentConfig) -> None:
        super().__init__(config)
        self._first: PruningProblem | None = None

    @property
    def optimistic(self) -> bool:
        """Whether search and select are the test, as published."""
        return self.config.profile == "paper"

    def problem(self, seed: int, working: Working = quietly) -> PruningProblem:
        """Returns the problem of a run seed; features are computed once."""
        if self._first is None:
            self._first = self._built(seed, working)
        return self._first.reseeded(seed)

    def _built(self, seed: int, working: Working) -> PruningProblem:
        config, pruning = self.config, self.config.pruning
        if config.network.arch == "lstm":
            raise UsageError("network.arch: lstm reads texts, and pruning works on networks of images; choose another")
        task = build_task(config.data)
        network, preprocess = build_network(config.network, task)
        assert isinstance(preprocess, Preprocess)  # as of all networks of images
        return PruningProblem(
            task.published() if self.optimistic else task,
            FeatureExtractor(network, features=_place(network, config.network.features), preprocess=preprocess),
            encoding=pruning.encoding,
            objectives=config.resolved_objectives(),
            reported=config.resolved_reported(),
            hidden=pruning.hidden,
            activation=pruning.activation,
            hidden_bias=pruning.hidden_bias,
            training=Training(**pruning.training.model_dump()),
            members=pruning.members,
            readers=pruning.readers,
            mode=pruning.mode,
            protocol=Protocol(pruning.folds, pruning.refit),
            attack=Attack(**config.attack.model_dump()),
            repeats=pruning.repeats,
            seed=seed,
            device=config.device,
            strategy=pruning.strategy,
            chunk=pruning.chunk,
            memory_limit=int(pruning.memory_limit * 2**30),
            on_features=lambda split, done, total: working(f"features of {split}", done, total, "images"),
        )

    def check(self, problem: SearchProblem) -> None:
        """Refuses what needs all features in memory where they stay on disk."""
        search, matrix = self.config.search, _checked(problem).scorer.matrix("train")
        if not isinstance(matrix, StoredFeatures):
            return
        for name in (*self.config.controls, search.ranking):
            if name in _NEED_MEMORY:
                raise UsageError(
                    f"{name} needs all features in memory, and these stay on disk; leave it out of controls and "
                    "search.ranking, or raise pruning.memory_limit"
                )

    def digests(self, problem: SearchProblem) -> dict[str, str]:
        """Returns the digests of data and network."""
        problem = _checked(problem)
        return {"data": problem.task.digest(), "network": problem.extractor.digest()}

    def task(self, problem: SearchProblem) -> Task:
        """Returns the data of a problem."""
        return _checked(problem).task

    def algorithm(self, problem: SearchProblem) -> Algorithm:
        """Returns the algorithm; in the sound profile its operators know a ranking of the bits."""
        settings, problem = self.config.search, _checked(problem)
        operators = settings.operators
        if operators is None and self.config.profile == "sound" and settings.algorithm in WITH_OPERATORS:
            operators = "sparse"
        return make(
            settings.algorithm, problem, pop_size=settings.pop_size, n_offsprings=settings.n_offsprings,
            operators=operators, scores=self._scores(problem) if operators == "sparse" else None,
        )  # fmt: skip

    def _scores(self, problem: PruningProblem) -> Scores | None:
        """Returns the ranking of the bits that guides the search, or None."""
        if self.config.search.ranking == "none":
            return None
        return problem.ranking(
            self.config.search.ranking or ("anova" if problem.encoding.layers == (0,) else "magnitude")
        )

    def random_search(self, problem: SearchProblem) -> Algorithm:  # noqa: ARG002 - masks of every density fit any
        """Returns what draws masks of every density."""
        return RandomSearch(batch=self.config.search.pop_size or 50)

    def after(self, run: Run) -> Run | None:
        """Returns the consensus of the front, the budget's size first."""
        if not self._agrees:
            return None
        problem = _checked(run.problem)
        length = problem.encoding.length
        sizes = [max(1, int(self.config.budget * length)), *geometric_sizes(length)]
        return consensus_run(run, sizes, self._scores(problem))

    @property
    def _agrees(self) -> bool:
        """Whether the consensus of the front is recommended: in the sound profile, where units are a goal."""
        names = {each.name for each in self.config.objectives}
        return self.config.profile == "sound" and bool(names & {"active_fraction", "active_units"}) and len(names) > 1

    def control(self, name: str, run: Run) -> pd.DataFrame:
        """Returns a control's points, see :mod:`problems.pruning.controls`."""
        return control_points(name, _checked(run.problem))

    def choose(self, points: pd.DataFrame, images: Mapping[str, int]) -> str:
        """Returns the solution of least loss within the budget."""
        return choose(points, images, budget=self.config.budget)

    def choice(self, names: Sequence[str]) -> str:
        """Returns in words how members are chosen."""
        budget = self.config.budget
        where = "on test, which is search and select too" if self.optimistic else "on search and select"
        within = f", at most {budget:.0%} of the units" if "active_fraction" in names and budget < 1 else ""
        least = f"least {next(loss for loss in LOSSES if loss in names)} {where}{within}"
        return f"consensus of the front at {budget:.0%} of the units (controls: {least})" if self._agrees else least

    def columns(self, genomes: Genomes, fingerprint: Mapping[str, Any]) -> pd.DataFrame:
        """Returns ``bits_on``, ``share_on`` and ``share_on_<layer>`` for each layer the genome covers."""
        head = fingerprint["head"]
        spec = HeadSpec(**{**head, "hidden": tuple(head["hidden"])})
        encoding = Encoding(spec, tuple(fingerprint["layers"]), fingerprint["edges"])
        parts = np.split(genomes, np.cumsum(encoding.widths)[:-1], axis=1)
        shares = {
            f"share_on_{name}": part.mean(axis=1) for name, part in zip(layer_names(encoding), parts, strict=True)
        }
        return pd.DataFrame({"bits_on": genomes.sum(axis=1), "share_on": genomes.mean(axis=1), **shares})

    def deliverable(self, problem: SearchProblem, genome: Genomes, notes: Mapping[str, Any]) -> Deliverable:
        """Returns the slimmed network of a mask, its head trained again."""
        problem = _checked(problem)
        extractor, spec = problem.extractor, problem.spec
        scored, inputs = problem.network(genome), problem.task.train.inputs
        images = torch.stack([extractor.preprocess(inputs[i]) for i in range(min(_EXAMPLES, len(inputs)))])
        masks = problem.encoding.masks(genome)
        description = describe(
            extractor, spec, kept=masks[0].nonzero()[:, 0].tolist(), widths=[int(mask.sum()) for mask in masks],
            example=images, classes=problem.task.classes, notes=notes,
        )  # fmt: skip
        unpruned = TrainedHead.of(spec, spec.all_on(), initial_weights(spec, seed=0), epochs=0)
        return Deliverable(
            slim(scored, images), scored, with_head(extractor, unpruned.module()), images, description,
            partial(load_network, backbone=extractor.network),
        )  # fmt: skip

    def shift_note(self) -> str:
        """Returns that heads are trained otherwise for test than for search, where they are."""
        pruning = self.config.pruning
        alike = pruning.mode == "full" and pruning.folds == 1 and not pruning.refit
        return "" if alike else "Heads are trained for longer, or on more images, to be scored on test than on search."


def _place(network: nn.Module, features: str | None) -> str | None:
    """Returns the module that features are taken from: the one named, where there is a network at all."""
    return "features" if isinstance(network, GivenFeatures) else features


def control_points(name: str, problem: PruningProblem) -> pd.DataFrame:
    """Returns the points of a control, see :meth:`~experiments.tasks.TaskKind.control`."""
    sizes = geometric_sizes(problem.encoding.length)
    if problem.encoding.length >= 2:  # the size that the recommended member may have at most, half by default
        sizes = tuple(sorted({*sizes, problem.encoding.length // 2}))
    setting = Setting(problem.encoding, _seen(problem), problem.training, problem.seed, sizes)
    found = points(name, setting)
    genomes = [point for point in found if point.genome is not None]
    recipes = [point for point in found if point.fit is not None]
    tables = []
    if genomes:
        assessed = problem.assess(np.stack([point.genome for point in genomes if point.genome is not None]), SPLITS)
        tables.append(assessed.assign(solution=_ids(name, genomes, problem.seed)))
    if recipes:
        outcomes = problem.outcomes_of([point.fit for point in recipes if point.fit is not None], SPLITS)
        tables.append(problem.table(outcomes, len(recipes), SPLITS).assign(solution=_ids(name, recipes, problem.seed)))
    return pd.concat(tables, ignore_index=True)


def layer_names(encoding: Encoding) -> list[str]:
    """Returns a name for each layer a genome covers: ``features``, ``hidden_1``, or ``connections_1`` into it."""
    if encoding.edges:
        return [f"connections_{layer}" for layer in encoding.layers]
    return ["features" if layer == 0 else f"hidden_{layer}" for layer in encoding.layers]


def _seen(problem: PruningProblem) -> TrainingSet:
    """Returns the images by which controls choose units: those of train, as the search's own ranking does."""
    return TrainingSet(problem.scorer.matrix("train"), problem.task.train.labels.to(problem.device))


def _ids(name: str, points: Sequence[Point], seed: int) -> list[str]:
    return [f"{seed}-{name}" if len(points) == 1 else f"{seed}-{name} {point.name}" for point in points]


def _checked(problem: SearchProblem) -> PruningProblem:
    assert isinstance(problem, PruningProblem)
    return problem
