"""Relativistic particle swarm optimisation."""

from typing import Any

import numpy as np
from pymoo.core.population import Population

from moprune.algorithms.swarms.base import Floats, Swarm
from moprune.errors import UsageError


class RelativisticPSO(Swarm):
    """Particles with a mass for each variable, the heavier the faster the swarm (Roder, de Rosa et al. 2020).

    ``v <- m g v + c1 r1 (p - x) + c2 r2 (b - x)`` with ``g = 1 / sqrt(1 - v_max^2 / c^2)``; masses m are drawn once
    from U(0, 1) and take the place of an inertia. Velocities are in widths of the box, start at zero and stay within
    one; the published code starts them at 1, which in a box of 0.01 throws every particle on a bound.

    Args:
        pop_size: particles, >= 2, by default those given, else 10.
        c1: pull of a particle's own best, >= 0.
        c2: pull of the swarm's best, >= 0.
        light_speed: c in widths of the box, > 1. At the published 3e5 the factor g is 1 to ten digits; a few widths let
            it act.
        shared_draws: whether r1 and r2 are one number a particle rather than one a variable, an ablation only: the
            code behind arXiv 2212.09447 does so, which leaves variables without random steps of their own.
        options: as for :class:`Swarm`.
    """

    def __init__(
        self,
        pop_size: int | None = None,
        *,
        c1: float = 1.7,
        c2: float = 1.7,
        light_speed: float = 3e5,
        shared_draws: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(pop_size, **options)
        if not (c1 >= 0 and c2 >= 0 and light_speed > 1):
            raise UsageError(f"RelativisticPSO needs c1, c2 >= 0 and light_speed > 1, not {c1}, {c2} and {light_speed}")
        self.c1, self.c2, self.light_speed, self.shared_draws = c1, c2, light_speed, shared_draws

    def _start(self) -> None:
        """The population holds each particle's best; its place, velocity and masses are kept beside it."""
        self.places = [particle.X for particle in self.pop]
        self.velocities = [np.zeros(self.problem.n_var) for _ in self.pop]
        self.masses = [self.random_state.random(self.problem.n_var) for _ in self.pop]

    def _infill(self) -> Population:
        fastest = max(float(np.abs(v).max()) for v in self.velocities)
        factor = 1 / np.sqrt(1 - (fastest / self.light_speed) ** 2)
        best = self.pop[self._best()].X
        for i, own in enumerate(self.pop):
            self._accelerate(i, factor, own.X, best)
        self.places = [
            self._clip(x + v * self.width) for x, v in zip(self.places, self.velocities, strict=True)
        ]  # fmt: skip
        return self._rivals(self.places)

    def _accelerate(self, i: int, factor: float, own: Floats, best: Floats) -> None:
        count = 1 if self.shared_draws else len(best)
        x, velocity = self.places[i], self.velocities[i]
        velocity *= factor * self.masses[i]
        velocity += self.c1 * self.random_state.random(count) * (own - x) / self.width
        velocity += self.c2 * self.random_state.random(count) * (best - x) / self.width
        np.clip(velocity, -1, 1, out=velocity)

    def _advance(self, infills: Any = None, **_: Any) -> None:
        better = self._scored(infills) < self.pop.get("F")[:, 0]
        self.pop[better] = infills[better]
