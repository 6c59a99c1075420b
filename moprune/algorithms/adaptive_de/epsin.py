"""LSHADE-EpSin."""

from typing import Any

import numpy as np
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from moprune.algorithms.adaptive_de.base import Outcome
from moprune.algorithms.adaptive_de.budget import generations_within
from moprune.algorithms.adaptive_de.gaussian_walk import GaussianWalk
from moprune.algorithms.adaptive_de.lshade import LEAST, LSHADE
from moprune.algorithms.adaptive_de.memory import SuccessMemory
from moprune.algorithms.adaptive_de.parameters import cauchy
from moprune.algorithms.adaptive_de.sinusoids import decreasing, increasing
from moprune.algorithms.adaptive_de.trials import Floats, Indices
from moprune.algorithms.start import finite_losses, genome_type
from moprune.contexts import Context
from moprune.errors import UsageError

_WALKERS, _WALK_AT, _ROUNDS = 10, 20, 250


class LSHADEEpSin(LSHADE):
    """L-SHADE whose scale factors follow sinusoids in the first half of the budget (Awad et al. 2016).

    A generation follows, with probability one half each, a decreasing sinusoid of fixed frequency or increasing ones
    of frequencies that adapt. When the population first falls to 20 members, ten points walk around the best of it.

    Args:
        pop_size: members at first, >= 4, by default those given, else 18 a variable.
        frequency: of the decreasing sinusoid, > 0. The published 0.5 makes it the constant F = 0.5.
        walk: rounds of the walk, of ten evaluations each, >= 0; 0 leaves it out. By default the published 250, which
            are meant for budgets of 10000 a variable, and none where they were more than a tenth of the evaluations or
            the bounds are not finite. A population of 20 or fewer begins with the walk.
        memory: slots of the history, >= 1.
        archive_rate: size of the archive in populations, >= 0.
        options: as for :class:`LSHADE`.
    """

    def __init__(
        self,
        pop_size: int | None = None,
        *,
        frequency: float = 0.5,
        walk: int | None = None,
        memory: int = 5,
        archive_rate: float = 1.4,
        **options: Any,
    ) -> None:
        super().__init__(pop_size, memory=memory, archive_rate=archive_rate, **options)
        if not (frequency > 0 and (walk is None or walk >= 0)):
            raise UsageError(f"LSHADEEpSin needs frequency > 0 and walk >= 0, not {frequency} and {walk}")
        self.frequency, self.walk_rounds = frequency, walk

    def _setup(self, problem: Problem, **options: Any) -> None:
        super()._setup(problem, **options)
        finite = bool(np.isfinite(problem.xl).all() and np.isfinite(problem.xu).all())
        if self.walk_rounds and not finite:
            raise UsageError("the walk of LSHADEEpSin starts between the bounds: make them finite, or set walk=0")
        affordable = finite and self.planned >= 10 * _WALKERS * _ROUNDS
        self.rounds = self.walk_rounds if self.walk_rounds is not None else _ROUNDS * affordable

    def _start(self) -> None:
        super()._start()
        self.memory_frequency = SuccessMemory(self.memory)
        self.generations = generations_within(self._size, LEAST, self.planned)
        self.generation = 0
        self.frequencies: Floats | None = None
        self.walk: Any = None  # a GaussianWalk once it has begun

    def _scale_factors(self, slots: Indices) -> Floats:
        self.generation += 1
        self.frequencies = None
        if self.asked > self.planned / 2:
            return super()._scale_factors(slots)
        if self.random_state.random() < 0.5:
            return np.full(len(slots), 0.5 * decreasing(self.frequency, self.generation, self.generations))
        self.frequencies = cauchy(self.random_state, self.memory_frequency.values[slots])
        return 0.5 * increasing(self.frequencies, self.generation, self.generations)

    def _learn(self, outcome: Outcome) -> None:
        if self.frequencies is not None:
            self.memory_frequency.record(self.frequencies[outcome.improved], outcome.gains[outcome.improved])
        super()._learn(outcome)
        if self.rounds and self.walk is None and len(self.pop) <= _WALK_AT:
            self.walk = self._new_walk()

    def _new_walk(self) -> GaussianWalk:
        lower, upper = self.problem.bounds()
        best = self.pop[self._ranked()[0]].X
        walkers = lower + (upper - lower) * self.random_state.random((_WALKERS, len(best)))
        compared = self.random_state.integers(len(self.pop), size=_WALKERS)
        return GaussianWalk(walkers, best, compared, self.generation, self.rounds)

    def _infill(self) -> Population:
        self.walking = self.walk is not None and self.walk.left > 0
        if not self.walking:
            return super()._infill()
        self.asked += _WALKERS
        # No bounds: the best of them leads on, be it worse than the member it is compared with.
        places = self.walk.move(self.problem.bounds(), self.random_state).astype(genome_type(self.problem))
        return Population.new("X", list(places), "context", [Context(subset=self.subset)] * len(places))

    def _advance(self, infills: Any = None, **options: Any) -> None:
        if not self.walking:
            super()._advance(infills, **options)
            return
        losses = finite_losses(infills, type(self).__name__)
        self.walk.follow(losses)
        for member, walker in zip(self.walk.compared, infills, strict=True):
            if walker.F[0] < self.pop[member].F[0]:
                self.pop[member] = walker
