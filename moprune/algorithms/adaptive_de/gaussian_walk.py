"""The Gaussian walk that LSHADE-EpSin ends with."""

import numpy as np

from moprune.algorithms.adaptive_de.trials import Floats, Indices, repair_midpoint


class GaussianWalk:
    """Points that leap around a leader; each round's best leads the next.

    A walker x goes to ``N(leader, sigma) + e1 leader - e2 x`` with ``sigma = |ln(g) / g (x - leader)|`` and e1, e2 from
    N(0, 1) (Awad et al. 2016, after the stochastic fractal search of Salimi 2015).

    Args:
        walkers: ``(m, D)`` where they start.
        leader: ``(D,)`` the best point known.
        compared: ``(m,)`` the member of the population each walker is compared with, and replaces if better.
        generation: g, >= 1.
        rounds: how often each moves.
    """

    def __init__(self, walkers: Floats, leader: Floats, compared: Indices, generation: int, rounds: int) -> None:
        self.walkers, self.leader, self.compared = walkers, leader, compared
        self.generation, self.left = generation, rounds

    def move(self, bounds: tuple[Floats, Floats], random_state: np.random.Generator) -> Floats:
        """Moves every walker once, within the bounds, and returns where they are, ``(m, D)``."""
        shrink = np.log(self.generation) / self.generation
        first, second = random_state.standard_normal((2, len(self.walkers), 1))
        steps = random_state.standard_normal(self.walkers.shape)
        steps *= np.abs(shrink * (self.walkers - self.leader))
        steps += self.leader + first * self.leader - second * self.walkers
        repair_midpoint(steps, self.walkers, *bounds)
        self.walkers = steps
        self.left -= 1
        return self.walkers

    def follow(self, losses: Floats) -> None:
        """Lets the best of the last round lead the next."""
        self.leader = self.walkers[int(np.argmin(losses))].copy()
