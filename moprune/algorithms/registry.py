"""pymoo algorithms by name, with the operators that fit the problem's genomes."""

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
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

from moprune.algorithms.duplicates import PackedDuplicateElimination
from moprune.algorithms.sampling import DensitySampling
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


_BINARY: Mapping[str, Builder] = MappingProxyType(
    {
        "nsga2": _plain(NSGA2),
        "nsga3": _with_directions(NSGA3),
        "smsemoa": _plain(SMSEMOA),
        "spea2": _plain(SPEA2),
        "rvea": _with_directions(RVEA),
        "agemoea2": _plain(_age_moea),
        "moead": _with_directions(ParallelMOEAD),
    }
)
_REAL: Mapping[str, Builder] = MappingProxyType({**_BINARY, "gde3": _plain(GDE3), "nsde": _plain(NSDE)})

NAMES: tuple[str, ...] = tuple(sorted(_REAL))


def make(name: str, problem: Problem, *, pop_size: int = 50, n_offsprings: int | None = None) -> Algorithm:
    """Returns a pymoo algorithm ready for the problem.

    Bit genomes get :class:`DensitySampling` (every density, the unpruned network included), uniform crossover,
    1/L bit flips and duplicate elimination by hash; float genomes get the algorithm's own operators.

    Args:
        name: one of :data:`NAMES`.
        problem: the problem to be searched.
        pop_size: size of the population, >= 4.
        n_offsprings: offspring a generation, >= 2; by default as many as the population. Not for ``gde3`` and
            ``nsde``, which always make one for each member.

    Raises:
        UsageError: the name is not known, or does not suit the problem or the options.
    """
    if name not in NAMES:
        raise not_one_of("algorithm", name, NAMES)
    binary = problem.vtype is bool
    builders = _BINARY if binary else _REAL
    if name not in builders:
        raise UsageError(f"algorithm {name!r} moves through real numbers and cannot search bits; use one of: "
                         f"{', '.join(sorted(builders))}")  # fmt: skip
    if pop_size < 4:
        raise UsageError(f"pop_size must be >= 4, not {pop_size}")
    options: dict[str, Any] = {"problem": problem, "pop_size": pop_size}
    if n_offsprings is not None:
        if n_offsprings < 2:
            raise UsageError("n_offsprings must be >= 2: populations are scored as a batch")
        if name in ("gde3", "nsde", "moead"):
            raise UsageError(f"algorithm {name!r} takes no n_offsprings; remove it")
        options["n_offsprings"] = n_offsprings
    if binary:
        options |= {
            "sampling": DensitySampling(include_all_on=True),
            "crossover": UX(),
            "mutation": BitflipMutation(prob=1.0),
            "eliminate_duplicates": PackedDuplicateElimination(),
        }
    return builders[name](**options)


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
