"""The firefly algorithm."""

from typing import Any

import numpy as np
from pymoo.core.population import Population

from moprune.algorithms.swarms.base import Floats, Swarm
from moprune.errors import UsageError


class FireflyAlgorithm(Swarm):
    """Each firefly moves to every brighter one, the less the farther it is (Yang 2008, chapter 8).

    ``x_i <- x_i + beta exp(-gamma r^2) (x_j - x_i) + alpha (u - 1/2)``, in widths of the box. The distance r is a
    root mean square over variables, not the root of a sum, with which attraction would vanish among many variables. All
    move at once, by where the others were, so that a generation is one batch; the brightest stays as it is.

    Args:
        pop_size: fireflies, >= 2, by default those given, else 10.
        alpha: width of the random part at first, >= 0.
        beta: attraction at no distance, in (0, 1].
        gamma: absorption of light, >= 0.
        damping: factor of alpha each generation, in (0, 1].
        summed: whether to move to ``beta exp(-gamma r^2) (x_j + x_i)`` plus the random part, an ablation only: the
            code behind arXiv 2212.09447 does so, which draws everything to zero.
        options: as for :class:`Swarm`.
    """

    def __init__(
        self,
        pop_size: int | None = None,
        *,
        alpha: float = 0.5,
        beta: float = 0.2,
        gamma: float = 1.0,
        damping: float = 0.97,
        summed: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(pop_size, **options)
        if not (alpha >= 0 and 0 < beta <= 1 and gamma >= 0 and 0 < damping <= 1):
            raise UsageError(
                "FireflyAlgorithm needs alpha >= 0, beta in (0, 1], gamma >= 0 and damping in (0, 1], not "
                f"{alpha}, {beta}, {gamma} and {damping}"
            )
        self.alpha, self.beta, self.gamma, self.damping, self.summed = alpha, beta, gamma, damping, summed

    def _infill(self) -> Population:
        order = np.argsort(self.pop.get("F")[:, 0], kind="stable")
        self.moving = order[1:]
        alpha = self.alpha * self.damping ** (self.n_iter - 2)
        places = [self.pop[i].X for i in order]
        return self._asked([self._moved(places, rank, alpha) for rank in range(1, len(places))])

    def _moved(self, places: list[Floats], rank: int, alpha: float) -> Floats:
        """Returns where the firefly of a rank goes: to every brighter one in turn, the brightest first."""
        x = places[rank].copy()
        for brighter in places[:rank]:
            gap = brighter - x
            attraction = self.beta * np.exp(-self.gamma * float(np.mean(np.square(gap / self.width))))
            if self.summed:
                gap += 2 * x  # x_j + x_i
                x *= 0
            gap *= attraction
            x += gap
            x += alpha * self.width * (self.random_state.random(len(x)) - 0.5)
            self._clip(x)
        return x

    def _advance(self, infills: Any = None, **_: Any) -> None:
        self._scored(infills)
        self.pop[self.moving] = infills
