"""Where new candidates are evaluated: in this process, or wherever an executor sends them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pymoo.core.problem import Problem

from moprune.problem import Genomes

Values = dict[str, NDArray[np.float64]]
"""What a problem put out (``F``, ``natural``, ...), by name, ``(n, k)`` each."""

# Genomes that are handed over at once: whole networks a few at a time, as a population of them is large enough once.
_STACKED_BYTES, _TOGETHER = 1 << 28, 2


class Executor(Protocol):
    """Evaluates candidates for :func:`moprune.search.search`; log, duplicates and replay are not its business."""

    def evaluate(
        self, problem: Problem, genomes: Sequence[Genomes], values_of: Sequence[str], told: Mapping[str, Any]
    ) -> Values:
        """Returns what the problem puts out for some genomes, in order.

        Args:
            problem: any pymoo Problem that scores a population at a time.
            genomes: n >= 1, ``(n_var,)`` each; not stacked, since they may be whole networks.
            values_of: names of the values wanted; a problem may put out more.
            told: keyword arguments for the problem's ``evaluate``; of ``contexts``, where there are, one a genome.
        """


class InProcess:
    """Evaluates in this process, as many candidates at once as the problem sees fit."""

    def evaluate(
        self, problem: Problem, genomes: Sequence[Genomes], values_of: Sequence[str], told: Mapping[str, Any]
    ) -> Values:
        """Returns the values of the genomes, see :class:`Executor`."""
        step = max(_TOGETHER, _STACKED_BYTES // max(1, genomes[0].nbytes))
        values = []
        for part in parts(len(genomes), step, problem):
            X = np.stack(genomes[part])
            out = problem.evaluate(
                X, return_values_of=values_of, return_as_dictionary=True, **told_of(part, told)
            )  # fmt: skip
            values.append(_numbers(out, len(X)))
        return joined(values)


def parts(count: int, size: int, problem: Problem) -> list[slice]:
    """Returns slices of about a size that a population may be cut into without changing what is computed.

    Args:
        count: candidates.
        size: of a part, >= 1; rounded to a multiple of the problem's ``lockstep``, the candidates it works on in common
            products, see :class:`moprune.problem.SearchProblem`.
        problem: that evaluates them.
    """
    lockstep = getattr(problem, "lockstep", 1)
    step = max(1, size // lockstep) * lockstep
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


def told_of(part: slice, told: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keyword arguments for a part of the candidates."""
    return {**told, **({"contexts": told["contexts"][part]} if "contexts" in told else {})}


def joined(values: Sequence[Values]) -> Values:
    """Returns the values of parts as those of the whole."""
    return {name: np.concatenate([each[name] for each in values]) for name in values[0]}


def _numbers(out: Mapping[str, Any], count: int) -> Values:
    """Returns what a problem put out as numbers, a row a candidate."""
    return {
        name: np.asarray(value, dtype=np.float64).reshape(count, -1)
        for name, value in out.items()
        if value is not None and np.asarray(value).dtype.kind in "fiub"
    }
