"""What every algorithm of the family does: trials from parents, one-to-one selection, learning from successes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from moprune.algorithms.adaptive_de.trials import BinomialCrossover, Floats, Indices, Mutation, make_trials
from moprune.algorithms.start import Start, check_problem, finite_losses, initial_population, population_size


@dataclass(frozen=True)
class Outcome:
    """How the trials of a generation did.

    Attributes:
        improved: ``(n,)`` whether the trial is better than its parent and took its place.
        gains: ``(n,)`` loss of the parent minus loss of the trial.
        parents: the parents, each ``(D,)``, as they were.
    """

    improved: NDArray[np.bool_]
    gains: Floats
    parents: list[Floats]

    def replaced(self) -> list[Floats]:
        """Returns the parents that better trials replaced."""
        return [self.parents[i] for i in np.flatnonzero(self.improved)]


class AdaptiveDE(Algorithm, ABC):
    """Differential evolution with one trial for each member; a trial that is not worse takes its parent's place.

    Args:
        pop_size: members, by default as many as are given by ``sampling``, else what the paper recommends.
        sampling: the first population, see :data:`moprune.algorithms.start.Start`.
        blocks: ``(D,)`` block of each variable: crossover takes blocks whole; by default single variables.
        at_least_one: whether each trial takes at least one block from its donor.
        kwargs: as for any pymoo Algorithm.
    """

    pop: Any  # pymoo declares both as possibly None, which they are only before the run
    random_state: Any
    least_members = 4

    def __init__(
        self,
        pop_size: int | None = None,
        *,
        sampling: Start = None,
        blocks: Indices | None = None,
        at_least_one: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pop_size, self.sampling = pop_size, sampling
        self.crossover = BinomialCrossover(blocks, at_least_one=at_least_one)
        self.asked = 0  # evaluations asked for so far: the clock of schedules

    @abstractmethod
    def _mutate(self) -> tuple[Mutation, Floats]:
        """Returns how the donors of this generation are made, and their crossover rates ``(n,)``."""

    def _default_size(self, n_var: int) -> int:  # noqa: ARG002
        return 100

    def _start(self) -> None:
        """Prepares what is learnt; the first population has been evaluated."""

    def _learn(self, outcome: Outcome) -> None:
        """Learns from a generation; the population already holds the trials that were accepted."""

    def _archived(self) -> list[Floats]:
        return []

    def _admit(self, accepted: NDArray[np.bool_], trials: Population) -> NDArray[np.bool_]:  # noqa: ARG002
        """Returns which of the trials that are not worse may take their parent's place."""
        return accepted

    def _setup(self, problem: Problem, **_: Any) -> None:
        name = type(self).__name__
        check_problem(problem, name)
        self.crossover.units(problem.n_var)
        self._size = population_size(
            self.pop_size,
            self.sampling,
            default=self._default_size(problem.n_var),
            least=self.least_members,
            who=name,
        )

    def _initialize_infill(self) -> Population:
        pop = initial_population(self.problem, self.sampling, self._size, self.random_state)
        self.asked = sum(not individual.evaluated for individual in pop)
        return pop

    def _initialize_advance(self, infills: Any = None, **_: Any) -> None:
        finite_losses(infills, type(self).__name__)
        self.pop = infills
        self._start()

    def _infill(self) -> Population:
        mutation, CR = self._mutate()
        rows = [individual.X for individual in self.pop] + self._archived()
        bounds = self.problem.bounds()
        trials = make_trials(rows, mutation, CR, self.crossover, bounds, self.random_state)
        self.asked += len(trials)
        return Population.new("X", trials)

    def _advance(self, infills: Any = None, **_: Any) -> None:
        gains = self._losses() - finite_losses(infills, type(self).__name__)
        admitted = self._admit(gains >= 0, infills)
        outcome = Outcome(admitted & (gains > 0), gains, [individual.X for individual in self.pop])
        self.pop[admitted] = infills[admitted]
        self._learn(outcome)

    def _losses(self) -> Floats:
        losses: Floats = self.pop.get("F")[:, 0]
        return losses

    def _ranked(self) -> Indices:
        """Returns the members, the best first; of equals the first."""
        return np.argsort(self._losses(), kind="stable")
