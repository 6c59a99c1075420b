"""What searches of real numbers start from: a problem they can search, and a first population."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pymoo.core.individual import Individual
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling

from moprune.errors import MopruneError, UsageError

Start: TypeAlias = Sampling | Population | NDArray[Any] | Sequence[NDArray[Any]] | None
"""How a population starts: given rows ``(k, n_var)`` or members come first and the rest is drawn; None draws all."""


class FirstMembers(Sampling):
    """Rows that come first, then uniform draws between the bounds: a :data:`Start` that any pymoo algorithm takes.

    Copies of an algorithm share the rows, which may be whole networks.

    Args:
        rows: ``(k, n_var)``, not changed. The members are copies of an array's rows; of a list they are the rows.
    """

    def __init__(self, rows: NDArray[Any] | Sequence[NDArray[Any]]) -> None:
        super().__init__()
        self.rows = rows

    def __deepcopy__(self, memo: dict[int, Any]) -> "FirstMembers":
        return self

    def _do(
        self, problem: Problem, n_samples: int, *_: Any, random_state: np.random.Generator, **__: Any
    ) -> list[NDArray[Any]]:
        return [member.X for member in initial_population(problem, self, n_samples, random_state)]


def genome_type(problem: Problem) -> np.dtype[Any]:
    """Returns the type of the problem's real numbers: its ``dtype`` if it has one, else float64."""
    return np.dtype(getattr(problem, "dtype", np.float64))


def check_problem(problem: Problem, who: str) -> None:
    """Raises a UsageError unless the problem has one objective of bounded real numbers and no constraints."""
    if problem.n_obj != 1 or problem.vtype is bool or not problem.has_bounds() or problem.has_constraints():
        raise UsageError(
            f"{who} searches real numbers within bounds for one objective without constraints; this problem has "
            f"{problem.n_obj} objectives, {problem.n_constr} constraints, "
            f"{'bits' if problem.vtype is bool else 'numbers'} and {'' if problem.has_bounds() else 'no '}bounds"
        )


def initial_population(problem: Problem, start: Start, pop_size: int, random_state: np.random.Generator) -> Population:
    """Returns the first population: what was given, then points drawn by ``start`` or uniformly between the bounds.

    Every genome is of the problem's own type and owns its memory. Members already evaluated keep their values and cost
    no evaluation; the population given is not changed.

    Raises:
        UsageError: more members than ``pop_size``, or of another length, not finite or outside the bounds; or points
            have to be drawn between bounds that are not finite.
    """
    if isinstance(start, FirstMembers):
        start = start.rows
    given = _given(problem, start, pop_size)
    missing = pop_size - len(given)
    if not missing:
        return given
    if not (np.isfinite(problem.xl).all() and np.isfinite(problem.xu).all()):
        raise UsageError(
            f"{missing} of {pop_size} first members have to be drawn between bounds that are not finite; give the "
            "problem finite bounds, or all first members"
        )
    if isinstance(start, Sampling):
        return _typed(problem, start.do(problem, missing, random_state=random_state))
    return Population.merge(given, _uniform(problem, missing, random_state))


def population_size(pop_size: int | None, start: Start, *, default: int, least: int, who: str) -> int:
    """Returns ``pop_size``, or how many members are given, or the default where all are drawn.

    Raises:
        UsageError: it is below ``least``.
    """
    if pop_size is None:
        pop_size = default if start is None or isinstance(start, Sampling) else len(start)
    if pop_size < least:
        raise UsageError(f"{who} needs a population of at least {least}, not {pop_size}")
    return pop_size


def finite_losses(pop: Population, who: str) -> NDArray[np.float64]:
    """Returns the losses of evaluated members, ``(n,)``; raises a MopruneError if one is not finite."""
    losses: NDArray[np.float64] = pop.get("F")[:, 0]
    if not np.isfinite(losses).all():
        raise MopruneError(
            f"{who} was given the loss {losses[~np.isfinite(losses)][0]}; let the problem return a large number instead"
        )
    return losses


def _given(problem: Problem, start: Start, size: int) -> Population:
    if start is None or isinstance(start, Sampling):
        return Population.empty()
    if len(start) > size:
        raise UsageError(f"{len(start)} first members were given for a population of {size}; raise pop_size")
    if isinstance(start, Population):
        given = Population.create(*(_copy(individual) for individual in start))
    else:
        given = Population.new("X", [np.asarray(row, dtype=genome_type(problem)) for row in start])
    given = _typed(problem, given)
    lower, upper = (bound.astype(genome_type(problem)) for bound in problem.bounds())
    for row, individual in enumerate(given):
        x = individual.X
        if x.shape != (problem.n_var,) or not ((x >= lower) & (x <= upper)).all():
            raise UsageError(
                f"row {row} of the first members is not {problem.n_var} numbers within the problem's bounds; correct "
                "it or widen the bounds"
            )
    return given


def _uniform(problem: Problem, count: int, random_state: np.random.Generator) -> Population:
    """Draws members one by one, so that nothing of the size of the population is held beside it."""
    (lower, upper), dtype = problem.bounds(), genome_type(problem)
    rows = (lower + (upper - lower) * random_state.random(problem.n_var) for _ in range(count))
    return Population.new("X", [row.astype(dtype, copy=False) for row in rows])


def _typed(problem: Problem, pop: Population) -> Population:
    for individual in pop:
        individual.X = np.asarray(individual.X, dtype=genome_type(problem))
    return pop


def _copy(individual: Individual) -> Individual:
    """Returns another individual with the same arrays; pymoo notes the generation in its data."""
    new = individual.copy(deep=False)
    new.data = dict(individual.data)
    return new
