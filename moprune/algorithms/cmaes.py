"""CMA-ES, by the library of its author, asking for a generation at a time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.util.optimum import filter_optimum

from moprune.algorithms.start import (
    Start,
    check_problem,
    finite_losses,
    genome_type,
    initial_population,
    population_size,
)
from moprune.errors import UsageError

LARGEST_FULL = 1000
"""Variables up to which the whole covariance matrix is learnt; of more only its diagonal."""


class CMAES(Algorithm):
    """Covariance matrix adaptation (Hansen & Ostermeier 2001; above 1000 variables sep-CMA-ES, Ros & Hansen 2008).

    The first population is as given and drawn; its best member is the first mean. Unlike pymoo's, it draws from its own
    generator alone, so that a run can be resumed, and takes first members. It ends where the library finds nothing more
    to gain.

    Args:
        pop_size: candidates a generation, >= 4, by default ``4 + 3 ln D``.
        sampling: the first population, see :data:`moprune.algorithms.start.Start`.
        sigma: first step size, > 0, in widths of the box; where a variable is unbounded, in standard deviations of the
            first population, of all its variables together.
        kwargs: as for any pymoo Algorithm.
    """

    pop: Any  # pymoo declares all three as possibly None, which they are only before the run
    opt: Any
    random_state: Any

    def __init__(
        self, pop_size: int | None = None, *, sampling: Start = None, sigma: float = 0.2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not sigma > 0:
            raise UsageError(f"CMAES needs sigma > 0, not {sigma}")
        self.pop_size, self.sampling, self.sigma = pop_size, sampling, sigma

    def _setup(self, problem: Problem, **_: Any) -> None:
        check_problem(problem, "CMAES")
        if problem.n_var < 2:
            raise UsageError("CMAES needs two variables at least; use another algorithm, such as jade")
        default = 4 + int(3 * np.log(problem.n_var))
        self._size = population_size(self.pop_size, self.sampling, default=default, least=4, who="CMAES")

    def _initialize_infill(self) -> Population:
        return initial_population(self.problem, self.sampling, self._size, self.random_state)

    def _initialize_advance(self, infills: Any = None, **_: Any) -> None:
        import cma  # slow to import, and few searches need it

        losses = finite_losses(infills, "CMAES")
        self.pop = infills
        self.scale = self._scale(infills)
        lower, upper = self.problem.bounds()
        upper = np.where(upper > lower, upper, lower + 1)  # the library refuses a box without width; points are clipped
        options = {
            "popsize": self._size, "randn": lambda *shape: self.random_state.standard_normal(shape), "seed": np.nan,
            "bounds": [lower / self.scale, upper / self.scale], "CMA_diagonal": self.problem.n_var > LARGEST_FULL,
            "verbose": -9, "verb_log": 0,
        }  # fmt: skip
        mean = infills[int(np.argmin(losses))].X / self.scale
        self.strategy = cma.CMAEvolutionStrategy(mean, self.sigma, options)

    def _scale(self, pop: Population) -> NDArray[np.float64]:
        """Returns the length that is one in the strategy's coordinates, ``(D,)``."""
        width = self.problem.xu - self.problem.xl
        if not np.isfinite(width).all():
            spread = float(np.sqrt(np.mean([np.var(column) for column in pop.get("X").T])))
            if not spread:
                raise UsageError(
                    "CMAES takes its first steps from how the first members differ, and they are all alike"
                )
            width = np.where(np.isfinite(width), width, spread)
        return np.where(width > 0, width, 1.0)

    def _infill(self) -> Population:
        self.places = self.strategy.ask()
        X = np.clip(np.array(self.places) * self.scale, *self.problem.bounds())
        return Population.new("X", list(X.astype(genome_type(self.problem))))

    def _advance(self, infills: Any = None, **_: Any) -> None:
        self.strategy.tell(self.places, finite_losses(infills, "CMAES"))
        self.pop = infills
        if self.strategy.stop():
            self.termination.terminate()

    def _set_optimum(self) -> None:
        """A generation may be worse than the one before: the best of all is kept."""
        self.opt = filter_optimum(self.pop if self.opt is None else Population.merge(self.opt, self.pop))
