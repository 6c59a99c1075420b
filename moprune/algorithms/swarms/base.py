"""What the swarms share: how they start, and the box they move in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from moprune.algorithms.start import (
    Start,
    check_problem,
    finite_losses,
    genome_type,
    initial_population,
    population_size,
)
from moprune.contexts import Context
from moprune.errors import UsageError

Floats = NDArray[np.float64]


class Swarm(Algorithm):
    """A swarm within finite bounds, for one objective; points beyond a bound are put on it.

    Args:
        pop_size: members, >= 2, by default as many as are given by ``sampling``, else 10.
        sampling: the first population, see :data:`moprune.algorithms.start.Start`.
        kwargs: as for any pymoo Algorithm.
    """

    pop: Any  # pymoo declares both as possibly None, which they are only before the run
    random_state: Any

    def __init__(self, pop_size: int | None = None, *, sampling: Start = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pop_size, self.sampling = pop_size, sampling

    def _start(self) -> None:
        """Prepares what members carry; the first population has been evaluated."""

    def _setup(self, problem: Problem, **_: Any) -> None:
        name = type(self).__name__
        check_problem(problem, name)
        self._size = population_size(self.pop_size, self.sampling, default=10, least=2, who=name)
        width = problem.xu - problem.xl
        self.width: Floats = np.where(width > 0, width, 1.0)  # a variable that cannot move is not divided by zero
        if not np.isfinite(width).all():
            raise UsageError(f"{name} measures its steps in widths of the box: give the problem finite bounds")

    def _initialize_infill(self) -> Population:
        return initial_population(self.problem, self.sampling, self._size, self.random_state)

    def _initialize_advance(self, infills: Any = None, **_: Any) -> None:
        self._scored(infills)
        self.pop = infills
        self._start()

    def _asked(self, places: Sequence[Floats]) -> Population:
        """Returns candidates at the places, in the problem's type."""
        return Population.new("X", [place.astype(genome_type(self.problem), copy=False) for place in places])

    def _rivals(self, places: Sequence[Floats]) -> Population:
        """Returns candidates that matter only where they are no worse than the member of the same number."""
        rivals = self._asked(places)
        rivals.set("context", [Context(bound=float(member.F[0])) for member in self.pop])
        return rivals

    def _scored(self, infills: Population) -> Floats:
        """Returns the losses of what was asked for, ``(n,)``, all finite."""
        return finite_losses(infills, type(self).__name__)

    def _clip(self, x: Floats) -> Floats:
        """Puts a point on the bounds it is beyond, in place."""
        return np.clip(x, *self.problem.bounds(), out=x)

    def _best(self) -> int:
        return int(np.argmin(self.pop.get("F")[:, 0]))
