"""What searches of real numbers start from: a problem they can search, and a first population."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pymoo.core.individual import Individual
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling
from pymoo.operators.sampling.rnd import FloatRandomSampling

from moprune.errors import MopruneError, UsageError

Start: TypeAlias = Sampling | Population | NDArray[Any] | None
"""How a population starts: given rows ``(k, n_var)`` or members come first and the rest is drawn; None draws all."""


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

    Members already evaluated keep their values and cost no evaluation; the population given is not changed.

    Raises:
        UsageError: more members than ``pop_size``, or of another length, not finite or outside the bounds; or points
            have to be drawn between bounds that are not finite.
    """
    given = _given(problem, start, pop_size)
    missing = pop_size - len(given)
    if not missing:
        return given
    if not (np.isfinite(problem.xl).all() and np.isfinite(problem.xu).all()):
        raise UsageError(
            f"{missing} of {pop_size} first members have to be drawn between bounds that are not finite; give the "
            "problem finite bounds, or all members by sampling="
        )
    sampling = start if isinstance(start, Sampling) else FloatRandomSampling()
    return Population.merge(given, sampling.do(problem, missing, random_state=random_state))


def population_size(pop_size: int | None, start: Start, *, default: int, least: int, who: str) -> int:
    """Returns ``pop_size``, or how many members are given, or the default where all are drawn.

    Raises:
        UsageError: it is below ``least``.
    """
    if pop_size is None:
        pop_size = default if start is None or isinstance(start, Sampling) else len(np.atleast_1d(start))
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


def _given(problem: Problem, start: Start, pop_size: int) -> Population:
    if start is None or isinstance(start, Sampling):
        return Population.empty()
    if isinstance(start, Population):
        given = Population.create(*(_copy(individual) for individual in start))
    else:
        given = Population.new("X", np.array(start, dtype=np.float64))
    if len(given) > pop_size:
        raise UsageError(f"{len(given)} first members were given for a population of {pop_size}; raise pop_size")
    for row, individual in enumerate(given):
        x = np.asarray(individual.X, dtype=np.float64)
        if x.shape != (problem.n_var,) or not ((x >= problem.xl) & (x <= problem.xu)).all():
            raise UsageError(
                f"row {row} of the first members is not {problem.n_var} numbers within the problem's bounds; correct "
                "it or widen the bounds"
            )
        individual.X = x
    return given


def _copy(individual: Individual) -> Individual:
    """Returns another individual with the same arrays; pymoo notes the generation in its data."""
    new = individual.copy(deep=False)
    new.data = dict(individual.data)
    return new
