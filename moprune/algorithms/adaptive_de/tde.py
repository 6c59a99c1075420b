"""Trigonometric differential evolution."""

from typing import Any

import numpy as np

from moprune.algorithms.adaptive_de.base import AdaptiveDE
from moprune.algorithms.adaptive_de.mutations import rand, trigonometric
from moprune.algorithms.adaptive_de.trials import Floats, Mutation, choose
from moprune.errors import UsageError


class TDE(AdaptiveDE):
    """DE/rand/1/bin, with the trigonometric mutation in its place now and then (Fan & Lampinen 2003).

    Args:
        pop_size: members, >= 4, by default those given, else 100.
        F: scale factor of DE/rand/1, > 0.
        CR: crossover rate, in [0, 1].
        trigonometric: probability of the trigonometric mutation, in [0, 1]; the paper's M_t.
        options: as for :class:`AdaptiveDE`.
    """

    def __init__(
        self,
        pop_size: int | None = None,
        *,
        F: float = 0.5,
        CR: float = 0.9,
        trigonometric: float = 0.05,
        **options: Any,
    ) -> None:
        super().__init__(pop_size, **options)
        if not (F > 0 and 0 <= CR <= 1 and 0 <= trigonometric <= 1):
            raise UsageError(f"TDE needs F > 0, CR and trigonometric in [0, 1], not {F}, {CR} and {trigonometric}")
        self.F, self.CR, self.trigonometric = F, CR, trigonometric

    def _mutate(self) -> tuple[Mutation, Floats]:
        n = len(self.pop)
        which = (self.random_state.random(n) < self.trigonometric).astype(np.int64)
        mutations = [rand(self.random_state, np.full(n, self.F)), trigonometric(self.random_state, self._losses())]
        return choose(mutations, which), np.full(n, self.CR)
