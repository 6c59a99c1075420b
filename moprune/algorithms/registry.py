"""pymoo algorithms by name, with the operators that fit the problem's genomes."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pymoo.algorithms.moo.cmopso import CMOPSO
from pymoo.algorithms.moo.gde3 import GDE3
from pymoo.algorithms.moo.moead import MOEAD, ParallelMOEAD
from pymoo.algorithms.moo.nsde import NSDE
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.algorithms.moo.rvea import RVEA
from pymoo.algorithms.moo.sms import SMSEMOA
from pymoo.algorithms.moo.spea2 import SPEA2
from pymoo.core.algorithm import Algorithm
from pymoo.core.problem import Problem
from pymoo.operators.crossover.ux import UX
from pymoo.operators.mutation.bitflip import BitflipMutation
from pymoo.util.ref_dirs import get_reference_directions

from moprune.algorithms.choices import choice_operators
from moprune.algorithms.duplicates import PackedDuplicateElimination, SelectedDuplicateElimination
from moprune.algorithms.promotion import PromotingNSGA2
from moprune.algorithms.published import published_nsga2
from moprune.algorithms.sampling import DensitySampling, RankedSampling
from moprune.algorithms.scores import checked_scores
from moprune.algorithms.single_objective import ADAPTIVE_DE, SINGLE_OBJECTIVE, UNBOUNDED
from moprune.algorithms.sparse import SizePreservingCrossover, SparseMutation
from moprune.algorithms.sparseea import SparseEA
from moprune.algorithms.start import FirstMembers
from moprune.algorithms.steady_state import SteadyStateGA, refuse_unless_one_objective_of_bits
from moprune.errors import UsageError, not_one_of

Builder = Callable[..., Algorithm]


@cache
def _directions(objectives: int, count: int) -> NDArray[np.float64]:
    """Returns evenly spread unit-simplex directions, ``(count, objectives)``; they take seconds to compute."""
    directions: NDArray[np.float64] = get_reference_directions("energy", objectives, count, seed=1)
    return directions


def _with_directions(algorithm: Builder) -> Builder:
    """Returns a builder for an algorithm guided by as many reference directions as its population has members."""

    def build(*, problem: Problem, pop_size: int, **options: Any) -> Algorithm:
        if problem.n_obj < 2:
            raise UsageError(
                "algorithms guided by reference directions need several objectives and the problem has one; use nsga2, "
                f"or for real numbers one of: {', '.join(SINGLE_OBJECTIVE)}"
            )
        directions = _directions(problem.n_obj, pop_size).copy()
        if algorithm is ParallelMOEAD:
            options.pop("eliminate_duplicates", None)
            return algorithm(directions, n_neighbors=min(20, pop_size), **options)
        return algorithm(directions, pop_size=pop_size, **options)

    return build


def _plain(algorithm: Builder) -> Builder:
    """Returns a builder for an algorithm that needs to know nothing of the problem."""

    def build(*, problem: Problem, **options: Any) -> Algorithm:  # noqa: ARG001
        return algorithm(**options)

    return build


def _age_moea(**options: Any) -> Algorithm:
    """Builds AGE-MOEA-II, which needs numba."""
    try:
        from pymoo.algorithms.moo.age2 import AGEMOEA2
    except Exception as error:  # pymoo raises a bare Exception where numba is missing
        raise UsageError("algorithm 'agemoea2' needs numba; install it with: pip install numba") from error
    return AGEMOEA2(**options)


def _steady_state(*, problem: Problem, **options: Any) -> Algorithm:
    """Builds the steady-state GA, which takes one objective alone."""
    refuse_unless_one_objective_of_bits(problem)
    return SteadyStateGA(**options)


_ANY: Mapping[str, Builder] = MappingProxyType(
    {
        "nsga2": _plain(NSGA2),
        "nsga2_promoting": _plain(PromotingNSGA2),
        "nsga3": _with_directions(NSGA3),
        "smsemoa": _plain(SMSEMOA),
        "spea2": _plain(SPEA2),
        "rvea": _with_directions(RVEA),
        "agemoea2": _plain(_age_moea),
        "moead": _with_directions(ParallelMOEAD),
    }
)
_BITS: Mapping[str, Builder] = MappingProxyType(  # with operators of their own
    {"nsga2_published": _plain(published_nsga2), "sparseea": _plain(SparseEA), "ssga": _steady_state}
)
_REALS: Mapping[str, Builder] = MappingProxyType(
    {"gde3": _plain(GDE3), "nsde": _plain(NSDE)} | {name: _plain(make) for name, make in SINGLE_OBJECTIVE.items()}
)
_FIXED_OFFSPRING = ("gde3", "nsde", "moead", "ssga", *(name for name in SINGLE_OBJECTIVE if name != "ga"))

NAMES: tuple[str, ...] = tuple(sorted({*_ANY, *_BITS, *_REALS}))
OPERATORS = ("uniform", "sparse")
WITH_OPERATORS: tuple[str, ...] = tuple(sorted(_ANY))
"""Algorithms that take operators and scores when they search bits."""


def make(
    name: str,
    problem: Problem,
    *,
    pop_size: int | None = None,
    n_offsprings: int | None = None,
    operators: str | None = None,
    scores: ArrayLike | None = None,
    first: NDArray[Any] | Sequence[NDArray[Any]] | None = None,
    blocks: NDArray[np.int64] | None = None,
    choices: NDArray[np.bool_] | None = None,
) -> Algorithm:
    """Returns a pymoo algorithm ready for the problem.

    Float genomes get the algorithm's own operators; algorithms of :data:`SINGLE_OBJECTIVE` are for one objective. Where
    the problem says which variables of a genome count, in a method ``selected``, those for several objectives take
    genomes that agree in these for duplicates.

    Bit genomes get one of two kits, both with the unpruned network in the first population and duplicate elimination
    by hash:

    - ``uniform``: :class:`DensitySampling` (every density), uniform crossover and 1/L bit flips;
    - ``sparse``: :class:`RankedSampling` (sizes on a logarithmic scale), :class:`SizePreservingCrossover` and
      :class:`SparseMutation`, all guided by the scores where they are given.

    ``ssga`` (:class:`SteadyStateGA`, for one objective), ``nsga2_published`` (:func:`published_nsga2`) and ``sparseea``
    (:class:`SparseEA`, which spends L evaluations on scores of its own) search bits with operators of their own.

    Args:
        name: one of :data:`NAMES`.
        problem: the problem to be searched.
        pop_size: size of the population, >= 4; by default 50, 30 for ``ssga`` and ``nsga2_published``, and of those for
            one objective what their classes say.
        n_offsprings: offspring a generation, >= 2; by default as many as the population, and 2 for
            ``nsga2_published``. Not for ``gde3``, ``nsde``, ``moead``, ``ssga`` and those for one objective other than
            ``ga``, which fix it.
        operators: one of :data:`OPERATORS`, for bits; by default ``sparse`` with scores and ``uniform`` without.
        scores: for sparse operators, one number a bit, higher for those worth keeping; by default all equal.
        first: for float genomes, the first members, ``(k, n_var)`` with k <= pop_size, within the bounds; the rest is
            drawn uniformly. Those in :data:`UNBOUNDED` search variables without bounds too, if all are given.
        blocks: for adaptive differential evolution, the block of each variable, ``(n_var,)``; crossover takes blocks
            whole.
        choices: for float genomes and algorithms of :data:`WITH_OPERATORS`, which variables are choices of which the
            whole part counts, ``(n_var,)``; they get operators of their own (:mod:`moprune.algorithms.choices`).

    Raises:
        UsageError: the name is not known, or does not suit the problem or the options.
    """
    builder, bits = _builder(name, problem), problem.vtype is bool
    options = _sizes(name, pop_size, n_offsprings)
    if name in _ANY and bits:
        options |= _kit(problem, operators, scores)
    elif operators is not None or scores is not None:
        raise UsageError(f"algorithm {name!r} has operators of its own here and takes neither operators nor scores")
    if name in _ANY and not bits and hasattr(problem, "selected"):
        options["eliminate_duplicates"] = SelectedDuplicateElimination(problem.selected)
    if first is not None:
        options["sampling"] = _first(problem, first)
    if blocks is not None:
        if name not in ADAPTIVE_DE:
            raise UsageError(f"algorithm {name!r} takes no blocks; use one of: {', '.join(ADAPTIVE_DE)}")
        options["blocks"] = blocks
    if choices is not None:
        options |= _choices(name, problem, choices)
    return builder(problem=problem, **options)


def _sizes(name: str, pop_size: int | None, n_offsprings: int | None) -> dict[str, Any]:
    """Returns the sizes of population and offspring, or raises a UsageError for those that make no search."""
    options = {} if name in _BITS or name in SINGLE_OBJECTIVE else {"pop_size": 50}
    if pop_size is not None:
        if pop_size < 4:
            raise UsageError(f"pop_size must be >= 4, not {pop_size}")
        options["pop_size"] = pop_size
    if n_offsprings is not None:
        if n_offsprings < 2:
            raise UsageError("n_offsprings must be >= 2: populations are scored as a batch")
        if name in _FIXED_OFFSPRING:
            raise UsageError(f"algorithm {name!r} takes no n_offsprings; remove it")
        options["n_offsprings"] = n_offsprings
    return options


def _first(problem: Problem, first: NDArray[Any] | Sequence[NDArray[Any]]) -> FirstMembers:
    """Returns what begins with the given members, or raises a UsageError where genomes are bits."""
    if problem.vtype is bool:
        raise UsageError("first members are for real numbers; leave out first, which bits do not take")
    return FirstMembers(first)


def _choices(name: str, problem: Problem, choices: NDArray[np.bool_]) -> dict[str, Any]:
    """Returns operators for variables that are choices, or raises a UsageError where there are none."""
    if name not in _ANY or problem.vtype is bool:
        raise UsageError(
            f"algorithm {name!r} takes no choices here: they are for real numbers and one of: "
            f"{', '.join(WITH_OPERATORS)}"
        )
    return choice_operators(problem, choices)


def _builder(name: str, problem: Problem) -> Builder:
    """Returns what builds the algorithm, or raises a UsageError where it cannot search the problem's genomes."""
    if name not in NAMES:
        raise not_one_of("algorithm", name, NAMES)
    bits = problem.vtype is bool
    builders = {**_ANY, **(_BITS if bits else _REALS)}
    if name not in builders:
        why = "moves through real numbers and cannot search bits" if bits else "searches bits, not real numbers"
        raise UsageError(f"algorithm {name!r} {why}; use one of: {', '.join(sorted(builders))}")
    if name in SINGLE_OBJECTIVE and problem.n_obj != 1:
        several = sorted({*_ANY, *_REALS} - set(SINGLE_OBJECTIVE))
        raise UsageError(
            f"algorithm {name!r} searches for one objective and the problem has {problem.n_obj}; use one of: "
            f"{', '.join(several)}"
        )
    if name not in UNBOUNDED and not _in_a_box(problem):
        raise UsageError(
            f"algorithm {name!r} needs finite bounds; give the problem some, or use one of: {', '.join(UNBOUNDED)}"
        )
    return builders[name]


def _in_a_box(problem: Problem) -> bool:
    return problem.has_bounds() and bool(np.isfinite(problem.xl).all() and np.isfinite(problem.xu).all())


def _kit(problem: Problem, operators: str | None, scores: ArrayLike | None) -> dict[str, Any]:
    """Returns first population, crossover, mutation and duplicate elimination for bits."""
    operators = operators or ("uniform" if scores is None else "sparse")
    if operators not in OPERATORS:
        raise not_one_of("operators", operators, OPERATORS)
    kit: dict[str, Any] = {"eliminate_duplicates": PackedDuplicateElimination()}
    if operators == "sparse":
        scores = checked_scores(np.zeros(problem.n_var) if scores is None else scores, problem.n_var)
        return kit | {
            "sampling": RankedSampling(scores),
            "crossover": SizePreservingCrossover(scores),
            "mutation": SparseMutation(scores),
        }
    if scores is not None:
        raise UsageError("uniform operators take no scores; remove the scores, or use operators 'sparse'")
    return kit | {
        "sampling": DensitySampling(include_all_on=True),
        "crossover": UX(),
        "mutation": BitflipMutation(prob=1.0),
    }


def refuse_unsuitable(algorithm: Algorithm) -> None:
    """Raises a UsageError for an algorithm that cannot be batched or repeated, or that has already run."""
    if isinstance(algorithm, MOEAD) and not isinstance(algorithm, ParallelMOEAD):
        raise UsageError("pymoo's MOEAD evaluates one candidate at a time; use ParallelMOEAD (algorithm name 'moead')")
    if isinstance(algorithm, CMOPSO):
        raise UsageError(
            "pymoo's CMOPSO does not repeat itself for a fixed seed, so that a run could not be resumed; use "
            "another algorithm, such as NSGA2 or GDE3"
        )
    if algorithm.is_initialized:
        raise UsageError("the algorithm has already run; give a fresh one")
