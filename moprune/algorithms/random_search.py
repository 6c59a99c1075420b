"""Random search: the control every search has to beat at equal budget."""

from typing import Any

from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.sampling import Sampling

from moprune.algorithms.duplicates import PackedDuplicateElimination
from moprune.algorithms.sampling import DensitySampling

_TRIES = 20


class RandomSearch(Algorithm):
    """Draws every genome afresh and learns nothing from what it saw.

    Args:
        sampling: how genomes are drawn; by default masks of every density.
        batch: genomes a generation, >= 2.
        first: what the first generation begins with (:class:`GivenGenomes`); by default it is drawn like all others.
    """

    def __init__(
        self, sampling: Sampling | None = None, batch: int = 50, first: Sampling | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        self.sampling = sampling or DensitySampling()
        self.first = first or self.sampling

    def _initialize_infill(self) -> Population:
        return self._drawn(self.first)

    def _infill(self) -> Population:
        return self._drawn(self.sampling)

    def _drawn(self, sampling: Sampling) -> Population:
        unique, drawn = PackedDuplicateElimination(), Population.empty()
        for _ in range(_TRIES):  # the empty mask, for one, is drawn more often than once
            more = sampling.do(self.problem, self.batch - len(drawn), random_state=self.random_state)
            drawn = unique.do(Population.merge(drawn, more))
            if len(drawn) == self.batch:
                break
            sampling = self.sampling
        return drawn

    def _initialize_advance(self, infills: Population | None = None, **_: Any) -> None:
        self.pop = infills

    def _advance(self, infills: Population | None = None, **_: Any) -> None:
        self.pop = infills
