"""The bat algorithm."""

from typing import Any

import numpy as np
from pymoo.core.population import Population

from moprune.algorithms.swarms.base import Floats, Swarm
from moprune.errors import UsageError


class BatAlgorithm(Swarm):
    """Bats fly towards the best with random frequencies, or walk near it; the louder a bat, the sooner it moves.

    Yang 2010, eqs. 2 to 6, with two differences that its published codes have too: the velocity points to the best
    (eq. 3 as printed points away from it), and the local step is limited, here in widths of the box. A bat moves if the
    new place is not worse than its own, with a probability equal to its loudness, and surely if it is the best so far.
    As loudness falls with every move, the swarm comes to rest.

    Args:
        pop_size: bats, >= 2, by default those given, else 10.
        frequencies: least and largest frequency, 0 <= least <= largest.
        loudness: A of each bat at first, in (0, 1].
        pulse_rate: r, the probability not to walk near the best, in [0, 1].
        alpha: factor of the loudness of a bat that moved, in (0, 1].
        gamma: rate at which the pulse rate of a bat that moved comes back to r, > 0.
        step: standard deviation of the local walk at mean loudness 1, in widths of the box, > 0.
        shared_step: whether the local walk shifts every variable by the same draw, an ablation only: the code
            behind arXiv 2212.09447 does so, which confines the walk to one line.
        options: as for :class:`Swarm`.
    """

    def __init__(
        self,
        pop_size: int | None = None,
        *,
        frequencies: tuple[float, float] = (0.0, 2.0),
        loudness: float = 0.5,
        pulse_rate: float = 0.5,
        alpha: float = 0.9,
        gamma: float = 0.9,
        step: float = 0.1,
        shared_step: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(pop_size, **options)
        shares = 0 < loudness <= 1 and 0 <= pulse_rate <= 1 and 0 < alpha <= 1
        if not (shares and 0 <= frequencies[0] <= frequencies[1] and gamma > 0 and step > 0):
            raise UsageError(
                "BatAlgorithm needs loudness and alpha in (0, 1], pulse_rate in [0, 1], 0 <= least <= largest "
                f"frequency, gamma > 0 and step > 0, not {loudness}, {alpha}, {pulse_rate}, {frequencies}, {gamma} "
                f"and {step}"
            )
        self.frequencies, self.loudness, self.pulse_rate = frequencies, loudness, pulse_rate
        self.alpha, self.gamma, self.step, self.shared_step = alpha, gamma, step, shared_step

    def _start(self) -> None:
        self.velocities = [np.zeros(self.problem.n_var) for _ in self.pop]
        self.A = np.full(len(self.pop), self.loudness)
        self.r = np.full(len(self.pop), self.pulse_rate)

    def _infill(self) -> Population:
        n, best = len(self.pop), self.pop[self._best()].X
        frequencies = self.random_state.uniform(*self.frequencies, size=n)
        walks = self.random_state.random(n) > self.r
        for velocity, bat, frequency in zip(self.velocities, self.pop, frequencies, strict=True):
            velocity += (best - bat.X) * frequency
        new = [
            self._clip(self._near(best) if walk else bat.X + velocity)
            for bat, velocity, walk in zip(self.pop, self.velocities, walks, strict=True)
        ]
        return self._rivals(new)

    def _near(self, best: Floats) -> Floats:
        drawn = self.random_state.standard_normal(1 if self.shared_step else len(best))
        near: Floats = best + self.step * float(self.A.mean()) * self.width * drawn
        return near

    def _advance(self, infills: Any = None, **_: Any) -> None:
        loud = self.random_state.random(len(self.pop)) < self.A
        new, old = self._scored(infills), self.pop.get("F")[:, 0]
        leader = (np.arange(len(new)) == np.argmin(new)) & (new < old.min())
        moved = leader | (loud & (new <= old))
        self.pop[moved] = infills[moved]
        self.A[moved] *= self.alpha
        self.r[moved] = self.pulse_rate * (1 - np.exp(-self.gamma * (self.n_iter - 1)))
