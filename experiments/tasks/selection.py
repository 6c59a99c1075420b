"""Selection of layers, as experiments see it."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd
from pymoo.core.algorithm import Algorithm
from pymoo.operators.sampling.rnd import FloatRandomSampling
from torch import nn

from analysis.fidelity import rank_correlation
from analysis.fronts import ERRORS, SPLITS, choose, matrix
from experiments.build import Prepare, build_network, build_task
from experiments.config import ExperimentConfig
from experiments.tasks.front_members import front_ensemble, front_soup
from experiments.tasks.kind import Deliverable, TaskKind, Working, quietly
from experiments.tasks.recorded import gene_columns
from experiments.tasks.whole import whole
from moprune.algorithms import WITH_OPERATORS, GivenGenomes, RandomSearch, make
from moprune.data import Task
from moprune.errors import UsageError
from moprune.fronts import nondominated
from moprune.networks.units import units
from moprune.population.tuning import TuningRecipe
from moprune.problem import Genomes, SearchProblem
from moprune.search import Run
from problems.selection import Genotype, Graded, Importances
from problems.selection.controls import Point, Setting, points, suitable
from problems.selection.problem import Fitted, Rung, SelectionProblem

_OF_THE_FRONT: Mapping[str, Callable[[SelectionProblem, Genomes], Fitted]] = MappingProxyType(
    {"front_ensemble": front_ensemble, "front_soup": front_soup}
)

_PLENTY = 1e15  # forward images that pay for every control


class Selection(TaskKind):
    """Which units of a network are fine-tuned, how far and how fast, see :mod:`problems.selection`."""

    random = "random search"
    shown = "rate"
    optimistic = False

    def __init__(self, config: ExperimentConfig) -> None:
        super().__init__(config)
        self._first: SelectionProblem | None = None

    @property
    def _published(self) -> bool:
        """Whether BioTune's protocol is followed."""
        return self.config.profile == "paper"

    def problem(self, seed: int, working: Working = quietly) -> SelectionProblem:
        """Returns the problem of a run seed; data and network are opened once."""
        if self._first is None:
            task = build_task(self.config.data)
            self._first = self._built(task, *build_network(self.config.network, task), seed, working)
        return self._first.reseeded(seed)

    def _built(
        self, task: Task, network: nn.Module, preprocess: Prepare, seed: int, working: Working
    ) -> SelectionProblem:
        config, selection = self.config, self.config.selection
        return SelectionProblem(
            task,
            network,
            self._genotype(network),
            preprocess=preprocess,
            objectives=config.resolved_objectives(),
            reported=config.resolved_reported(),
            recipe=TuningRecipe(**selection.recipe.model_dump()),
            head=selection.head,
            seeds=selection.seeds,
            folds=selection.folds,
            rungs=[Rung(each.epochs, each.images) for each in selection.rungs],
            seed=seed,
            batch_size=selection.batch_size,
            device=config.device,
            on_prepared=lambda part, done, total: working(f"inputs of {part}", done, total, "inputs"),
        )

    def _genotype(self, network: nn.Module) -> Genotype:
        selection = self.config.selection
        found = units(network, selection.granularity, selection.parts, selection.units)
        if selection.genome == "importances":
            return Importances(found)
        options: dict[str, Any] = selection.options()
        return Graded(network, found, **options)

    def check(self, problem: SearchProblem) -> None:
        """Refuses controls that this network or these images have no points for."""
        setting = Setting(_checked(problem), _PLENTY)
        fitting = [*suitable(setting), *_OF_THE_FRONT, "random"]
        for name in self.config.controls:
            if name not in fitting:
                raise UsageError(f"control {name!r} does not suit this search; choose from: {', '.join(fitting)}")

    def digests(self, problem: SearchProblem) -> dict[str, str]:
        """Returns the digests of data and network."""
        fingerprint = problem.fingerprint()
        return {"data": fingerprint["task"], "network": fingerprint["network"]}

    def task(self, problem: SearchProblem) -> Task:
        """Returns the data of a problem."""
        return _checked(problem).task

    def algorithm(self, problem: SearchProblem) -> Algorithm:
        """Returns the algorithm; in the sound profile it starts from tunings that people would try first."""
        settings = self.config.search
        if settings.ranking is not None:
            raise UsageError("search.ranking ranks the bits of pruning; remove it")
        choices = _checked(problem).genotype.choices
        return make(
            settings.algorithm, problem, pop_size=settings.pop_size, n_offsprings=settings.n_offsprings,
            operators=settings.operators, first=None if self._published else self._anchors(problem),
            choices=choices if choices.any() and settings.algorithm in WITH_OPERATORS else None,
        )  # fmt: skip

    def _anchors(self, problem: SearchProblem) -> Genomes:
        return _checked(problem).first_population(self._size)

    @property
    def _size(self) -> int:
        size = self.config.search.pop_size
        assert size is not None  # every profile names one
        return size

    def random_search(self, problem: SearchProblem) -> Algorithm:
        """Returns what starts as the search does and then draws genomes uniformly from the box."""
        first = None if self._published else GivenGenomes(self._anchors(problem))
        return RandomSearch(FloatRandomSampling(), batch=self._size, first=first)

    def random_evaluations(self, run: Run) -> int:
        """Returns how many candidates of all epochs and training seeds cost what the search did, in whole batches."""
        affordable = Setting(_checked(run.problem), run.images()).affordable
        return max(1, affordable // self._size) * self._size

    def control(self, name: str, run: Run) -> pd.DataFrame:
        """Returns the points of a control that none of its others dominates on search, as is done with the search.

        They are made for what the search spent, or of what it found, which costs nothing more; ``images`` are those of
        all points together.
        """
        problem = _checked(run.problem)
        if name in _OF_THE_FRONT:
            found = [Point("", _OF_THE_FRONT[name](problem, run.genomes(run.front_index())), float("nan"))]
        else:
            found = points(name, Setting(problem, run.images(), problem.seed))
        outcomes = problem.outcomes_of([point.fitted for point in found], SPLITS)
        names = [f"{problem.seed}-{name} {point.name}".strip() for point in found]
        table = problem.table(outcomes, len(found), SPLITS)
        kept = nondominated(matrix(table, problem.objectives, "search"))
        return table.assign(solution=names, images=sum(point.images for point in found)).iloc[kept]

    def notes(self, run: Run) -> list[str]:
        """Returns how well scores on rungs and with fewer training seeds rank candidates, where there were such."""
        table = rank_correlation(run.log, run.stage, run.seed, run.problem.objectives)
        costs = {each.name for each in run.problem.objectives if each.is_cost}
        return [
            f"Scores with {row.context} rank {row.pairs} candidates by {row.objective} as full scores do with a "
            f"correlation of {row.rho:.2f} ({row.low:.2f} to {row.high:.2f}), seed {run.seed}."
            for row in table.dropna().itertuples()
            if row.objective not in costs
        ]

    def choose(self, points: pd.DataFrame, images: Mapping[str, int]) -> str:
        """Returns the solution of least error within the budget; as published, on search alone."""
        images = {"search": 1, "select": 0} if self._published else images
        return choose(points, images, losses=ERRORS, cost="trainable_share", budget=self.config.budget)

    def choice(self, names: Sequence[str]) -> str:
        """Returns in words how members are chosen."""
        loss, budget = next(loss for loss in ERRORS if loss in names), self.config.budget
        if self._published:
            return f"least {loss} on search"
        within = f", at most {budget:.0%} of the parameters" if budget < 1 else ""
        return f"least {loss} on search and select{within}"

    def columns(self, genomes: Genomes, fingerprint: Mapping[str, Any]) -> pd.DataFrame:
        """Returns ``rate_<unit>``, the factor of the base rate (0: frozen), and ``grade_<unit>`` of each unit."""
        return gene_columns(fingerprint["genotype"], genomes)

    def deliverable(self, problem: SearchProblem, genome: Genomes, notes: Mapping[str, Any]) -> Deliverable:
        """Returns the network fine-tuned with the first training seed, and in what it differs from the given one."""
        problem = _checked(problem)
        (trainings,) = problem.fitted(genome[None])
        if not trainings:
            raise UsageError("this solution tunes nothing, so that there is no network to write; choose another")
        tuned = trainings[0]
        return whole(
            problem.network_of(tuned.state), problem.network_of({}), problem.task, problem.scorer.preprocess, notes,
            delta={**tuned.state, **tuned.factors},
        )  # fmt: skip


def _checked(problem: SearchProblem) -> SelectionProblem:
    assert isinstance(problem, SelectionProblem)
    return problem
