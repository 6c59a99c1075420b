"""The evaluations a search has, for schedules that end with it."""

from typing import Any

import numpy as np
from pymoo.termination.max_eval import MaximumFunctionCallTermination

from moprune.errors import UsageError


def planned_evaluations(n_eval: int | None, termination: Any, who: str) -> int:
    """Returns ``n_eval``, or the evaluations after which the termination ends the search.

    Raises:
        UsageError: neither says how many.
    """
    if n_eval is None and isinstance(termination, MaximumFunctionCallTermination):
        planned = termination.n_max_evals
        n_eval = int(planned) if planned is not None and np.isfinite(planned) else None
    if n_eval is None or n_eval < 1:
        raise UsageError(
            f"{who} follows a schedule and needs to know its evaluations: give n_eval, or the termination "
            "('n_eval', number)"
        )
    return n_eval


def reduced_size(initial: int, least: int, done: int, planned: int) -> int:
    """Returns the size of a population that falls linearly with the evaluations done (L-SHADE, eq. 10)."""
    return max(least, round((least - initial) / planned * done + initial))


def generations_within(initial: int, least: int, planned: int) -> int:
    """Returns how many generations of trials a linearly falling population makes with the planned evaluations."""
    done, size, generations = initial, initial, 0
    while done < planned:
        done, generations = done + size, generations + 1
        size = min(size, reduced_size(initial, least, done, planned))
    return generations
