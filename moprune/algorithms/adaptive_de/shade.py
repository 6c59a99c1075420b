"""SHADE."""

from typing import Any

import numpy as np

from moprune.algorithms.adaptive_de.base import AdaptiveDE, Outcome
from moprune.algorithms.adaptive_de.memory import Archive, SuccessMemory
from moprune.algorithms.adaptive_de.mutations import current_to_pbest
from moprune.algorithms.adaptive_de.parameters import cauchy, normal
from moprune.algorithms.adaptive_de.trials import Floats, Mutation
from moprune.errors import UsageError


class SHADE(AdaptiveDE):
    """JADE with a history of successful parameters in place of single means (Tanabe & Fukunaga 2013).

    Args:
        pop_size: members, >= 4, by default those given, else 100.
        memory: slots of the history, >= 1.
        options: as for :class:`AdaptiveDE`.
    """

    def __init__(self, pop_size: int | None = None, *, memory: int = 100, **options: Any) -> None:
        super().__init__(pop_size, **options)
        if memory < 1:
            raise UsageError(f"SHADE needs a memory >= 1, not {memory}")
        self.memory = memory

    def _start(self) -> None:
        self.memory_F, self.memory_CR = SuccessMemory(self.memory), SuccessMemory(self.memory, arithmetic=True)
        self.past = Archive()

    def _archived(self) -> list[Floats]:
        return self.past.rows

    def _mutate(self) -> tuple[Mutation, Floats]:
        n, random_state = len(self.pop), self.random_state
        slots = self.memory_F.slots(random_state, n)
        self.CR = normal(random_state, self.memory_CR.values[slots])
        self.F = cauchy(random_state, self.memory_F.values[slots])
        p = random_state.uniform(2 / n, max(0.2, 2 / n), size=n)
        elite = np.maximum(2, np.rint(p * n).astype(np.int64))
        return current_to_pbest(random_state, self.F, self._ranked(), elite, len(self.past.rows)), self.CR

    def _learn(self, outcome: Outcome) -> None:
        better, gains = outcome.improved, outcome.gains[outcome.improved]
        self.past.add(outcome.replaced(), len(self.pop), self.random_state)
        self.memory_F.record(self.F[better], gains)
        self.memory_CR.record(self.CR[better], gains)
