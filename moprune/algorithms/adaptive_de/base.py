"""What every algorithm of the family does: trials from parents, one-to-one selection, learning from successes.

Each trial carries its parent's loss as the bound of its context (:mod:`moprune.contexts`). What comes back for one that
is worse may be any number above it, so that nothing here depends on how much worse a trial is.
"""

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
from moprune.contexts import Context
from moprune.errors import UsageError


@dataclass(frozen=True)
class Outcome:
    """How the trials of a generation did.

    Attributes:
        improved: ``(n,)`` whether the trial is better than its parent and took its place.
        gains: ``(n,)`` loss of the parent minus loss of the trial; where it is negative, its size has no meaning.
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
        redraw: generations of trials after which another subset of the data is drawn and the members are scored again
            on it, at an evaluation each, >= 1; None scores on all data. The problem has to offer ``subsets``.
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
        redraw: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if redraw is not None and redraw < 1:
            raise UsageError(f"{type(self).__name__} needs redraw >= 1 or None, not {redraw}")
        self.pop_size, self.sampling, self.redraw = pop_size, sampling, redraw
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

        if self.redraw is not None and not getattr(problem, "subsets", False):
            raise UsageError(f"{name} cannot redraw subsets: the problem has none; leave out redraw")
        self.subset = None if self.redraw is None else 0
        self.since = 0  # generations of trials since the subset was drawn

    def _initialize_infill(self) -> Population:
        pop = initial_population(self.problem, self.sampling, self._size, self.random_state)
        if self.subset is not None:
            pop = self._on_subset(pop)
        self.asked = sum(not individual.evaluated for individual in pop)
        return pop

    def _initialize_advance(self, infills: Any = None, **_: Any) -> None:
        finite_losses(infills, type(self).__name__)
        self.pop = infills
        self._start()

    def _infill(self) -> Population:
        self.rescoring = self.subset is not None and self.since == self.redraw
        self.off = None  # pymoo would hold the last trials, losers too, while the next are made
        infills = self._redrawn() if self.rescoring else self._trials()
        self.asked += len(infills)
        return infills

    def _trials(self) -> Population:
        mutation, CR = self._mutate()
        rows = [individual.X for individual in self.pop] + self._archived()
        trials = make_trials(rows, mutation, CR, self.crossover, self.problem.bounds(), self.random_state)
        contexts = [Context(bound=float(loss), subset=self.subset) for loss in self._losses()]
        self.since += 1
        return Population.new("X", trials, "context", contexts)

    def _redrawn(self) -> Population:
        assert self.subset is not None
        self.subset, self.since = self.subset + 1, 0
        return self._on_subset(self.pop)

    def _on_subset(self, pop: Population) -> Population:
        """Returns the members as not yet scored on the current subset."""
        rows = [individual.X for individual in pop]
        return Population.new("X", rows, "context", [Context(subset=self.subset)] * len(rows))

    def _advance(self, infills: Any = None, **_: Any) -> None:
        losses = finite_losses(infills, type(self).__name__)
        if self.rescoring:
            self.pop = infills
            return
        gains = self._losses() - losses
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
