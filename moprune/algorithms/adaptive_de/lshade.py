"""L-SHADE."""

from typing import Any

import numpy as np

from moprune.algorithms.adaptive_de.base import AdaptiveDE, Outcome
from moprune.algorithms.adaptive_de.budget import planned_evaluations, reduced_size
from moprune.algorithms.adaptive_de.memory import Archive, SuccessMemory
from moprune.algorithms.adaptive_de.mutations import current_to_pbest
from moprune.algorithms.adaptive_de.parameters import cauchy, normal
from moprune.algorithms.adaptive_de.trials import Floats, Mutation
from moprune.errors import UsageError

LEAST = 4
"""Members at the end of the budget."""


class LSHADE(AdaptiveDE):
    """SHADE whose population falls linearly to four members at the end of the budget (Tanabe & Fukunaga 2014).

    Args:
        pop_size: members at first, >= 4, by default those given, else 18 a variable.
        n_eval: evaluations of the whole search, by default those of the termination.
        p: share of the best that pbest is drawn from, in (0, 1]; two members at least.
        memory: slots of the history, >= 1.
        archive_rate: size of the archive in populations, >= 0.
        options: as for :class:`AdaptiveDE`.

    Raises:
        UsageError: on setting up, when neither ``n_eval`` nor the termination says how many evaluations there are.
    """

    def __init__(
        self,
        pop_size: int | None = None,
        *,
        n_eval: int | None = None,
        p: float = 0.11,
        memory: int = 6,
        archive_rate: float = 2.6,
        **options: Any,
    ) -> None:
        super().__init__(pop_size, **options)
        if not (0 < p <= 1 and memory >= 1 and archive_rate >= 0):
            raise UsageError(
                f"{type(self).__name__} needs p in (0, 1], memory >= 1 and archive_rate >= 0, not {p}, {memory} and "
                f"{archive_rate}"
            )
        self.n_eval, self.p, self.memory, self.archive_rate = n_eval, p, memory, archive_rate

    def _default_size(self, n_var: int) -> int:
        return 18 * n_var

    def _setup(self, problem: Any, **options: Any) -> None:
        super()._setup(problem, **options)
        self.planned = planned_evaluations(self.n_eval, self.termination, type(self).__name__)

    def _start(self) -> None:
        self.memory_F, self.memory_CR = SuccessMemory(self.memory), SuccessMemory(self.memory, terminal=True)
        self.past = Archive()

    def _archived(self) -> list[Floats]:
        return self.past.rows

    def _scale_factors(self, slots: Any) -> Floats:
        return cauchy(self.random_state, self.memory_F.values[slots])

    def _mutate(self) -> tuple[Mutation, Floats]:
        n, random_state = len(self.pop), self.random_state
        slots = self.memory_F.slots(random_state, n)
        self.CR = normal(random_state, self.memory_CR.values[slots])
        self.F = self._scale_factors(slots)
        elite = np.full(n, max(2, round(self.p * n)))
        return current_to_pbest(random_state, self.F, self._ranked(), elite, len(self.past.rows)), self.CR

    def _learn(self, outcome: Outcome) -> None:
        better, gains = outcome.improved, outcome.gains[outcome.improved]
        self.memory_F.record(self.F[better], gains)
        self.memory_CR.record(self.CR[better], gains)
        size = min(len(self.pop), reduced_size(self._size, LEAST, self.asked, self.planned))
        self.pop = self.pop[np.sort(self._ranked()[:size])]
        self.past.add(outcome.replaced(), round(self.archive_rate * size), self.random_state)
