"""JADE."""

from typing import Any

import numpy as np

from moprune.algorithms.adaptive_de.base import AdaptiveDE, Outcome
from moprune.algorithms.adaptive_de.memory import Archive, lehmer_mean
from moprune.algorithms.adaptive_de.mutations import current_to_pbest
from moprune.algorithms.adaptive_de.parameters import cauchy, normal
from moprune.algorithms.adaptive_de.trials import Floats, Mutation
from moprune.errors import UsageError


class JADE(AdaptiveDE):
    """Current-to-pbest mutation with an archive; the means of F and CR follow what succeeds (Zhang & Sanderson 2009).

    Args:
        pop_size: members, >= 4, by default those given, else 100.
        p: share of the best that pbest is drawn from, in (0, 1].
        c: rate at which the means follow, in [0, 1].
        options: as for :class:`AdaptiveDE`.
    """

    def __init__(self, pop_size: int | None = None, *, p: float = 0.05, c: float = 0.1, **options: Any) -> None:
        super().__init__(pop_size, **options)
        if not (0 < p <= 1 and 0 <= c <= 1):
            raise UsageError(f"JADE needs p in (0, 1] and c in [0, 1], not {p} and {c}")
        self.p, self.c = p, c

    def _start(self) -> None:
        self.mean_F = self.mean_CR = 0.5
        self.past = Archive()

    def _archived(self) -> list[Floats]:
        return self.past.rows

    def _mutate(self) -> tuple[Mutation, Floats]:
        n, random_state = len(self.pop), self.random_state
        self.CR = normal(random_state, np.full(n, self.mean_CR))
        self.F = cauchy(random_state, np.full(n, self.mean_F))
        elite = np.full(n, max(1, round(self.p * n)))
        return current_to_pbest(random_state, self.F, self._ranked(), elite, len(self.past.rows)), self.CR

    def _learn(self, outcome: Outcome) -> None:
        self.past.add(outcome.replaced(), len(self.pop), self.random_state)
        F, CR = self.F[outcome.improved], self.CR[outcome.improved]
        if len(F):
            self.mean_CR += self.c * (float(CR.mean()) - self.mean_CR)
            self.mean_F += self.c * (lehmer_mean(F, np.ones(len(F))) - self.mean_F)
