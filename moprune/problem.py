"""The pymoo Problem every task of moprune is: a population in, natural objective values out.

It works with plain :func:`pymoo.optimize.minimize` and any pymoo algorithm, and closes the paths on which pymoo
stays silent: unset or non-finite objectives, unknown keyword arguments, float genomes on a boolean problem, and
deep copies of the network.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pymoo.core.problem import Problem
from torch import nn

from moprune.errors import MopruneError, UsageError
from moprune.objectives import Objective, Outcome
from moprune.process_wide import single_threaded_blas

Genomes = NDArray[Any]
"""A population ``(n, n_var)`` or one genome ``(n_var,)``, bool or float64 as the problem says."""

Self = TypeVar("Self", bound="SearchProblem")

Outcomes = Mapping[str, Sequence[Outcome]]
"""A candidate's outcomes by split; several a split when it was trained several times (repeats, folds).

An empty sequence says that the candidate failed and gets each objective's worst value."""


class SearchProblem(Problem, ABC):
    """A multi-objective problem whose candidates are scored as one batch.

    A subclass implements :meth:`outcomes` and :meth:`fingerprint`; :class:`moprune.testing.ProblemContract` holds
    it to the contract: a pure function of (genome, problem), whatever the order and the chunks.

    A subclass that makes use of :mod:`moprune.contexts` says so by ``contextual = True`` and takes ``contexts``, one
    for each candidate, in its ``_evaluate``, with ``requires_kwargs`` set.

    Args:
        n_var: length of the genome.
        boolean: whether genomes are bits; otherwise floats within ``xl`` and ``xu``.
        objectives: what to optimise, in order.
        reported: what to measure beside them when candidates are assessed; the search does not see it.
        xl: lower bounds of float genomes.
        xu: upper bounds of float genomes.

    Attributes:
        dtype: the type of genomes: bool, float64, or float32 if a subclass says so.
    """

    contextual = False

    def __init__(
        self,
        *,
        n_var: int,
        boolean: bool,
        objectives: Sequence[Objective],
        reported: Sequence[Objective] = (),
        xl: ArrayLike | None = None,
        xu: ArrayLike | None = None,
    ) -> None:
        super().__init__(
            n_var=n_var,
            n_obj=len(objectives),
            xl=0 if boolean else xl,
            xu=1 if boolean else xu,
            vtype=bool if boolean else float,
        )
        self.boolean = boolean
        self.dtype: np.dtype[Any] = np.dtype(bool if boolean else np.float64)
        self.objectives, self.reported = tuple(objectives), tuple(reported)

    @abstractmethod
    def outcomes(self, X: Genomes, splits: Sequence[str]) -> Iterator[Outcomes]:
        """Yields each candidate's outcomes on the given splits, in order.

        Args:
            X: the population, ``(n, n_var)``, bool or float64.
            splits: names of splits (``search``, ``select``, ``test``).
        """

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Returns all that an objective value depends on besides the genome, as JSON-ready values."""

    @property
    def lockstep(self) -> int:
        """How many candidates, counted from the first of a population, are worked on in common products.

        The last digits of a value may depend on its neighbours among them, so that whoever divides a population among
        processes does so at multiples of it; 1 where candidates do not depend on each other.
        """
        return 1

    def prepare(self) -> None:
        """Does now what would be done when the first candidates are searched, so that a copy need not do it again.

        Copies in other processes are made after this; what it leaves in tensors is shared among them where they can.
        """

    def network(self, genome: Genomes) -> nn.Module:  # noqa: ARG002 - a problem without networks has no use for it
        """Returns the network a genome stands for, from preprocessed inputs to logits, on the CPU.

        Raises:
            UsageError: the problem has none.
        """
        raise UsageError(f"{type(self).__name__} makes no network of a genome")

    def unit_names(self) -> list[str]:
        """Returns a name for each variable of the genome."""
        return [f"variable {i}" for i in range(self.n_var)]

    def values(self, X: Genomes, splits: Sequence[str] = ("search",)) -> NDArray[np.float64]:
        """Returns natural objective values, ``(n, len(splits), n_obj)`` float64, each a mean over repeats.

        Raises:
            UsageError: the genomes do not fit the problem.
            MopruneError: an objective is not finite.
        """
        X = self.checked(X)
        return self._measured(self.outcomes(X, splits), len(X), splits, self.objectives)

    def assess(self, X: Genomes, splits: Sequence[str] = ("search", "select", "test")) -> pd.DataFrame:
        """Returns what candidates score in natural units, a column ``<name>_<split>`` for each objective and report."""
        X = self.checked(X)
        return self.table(self.outcomes(X, splits), len(X), splits)

    def table(self, outcomes: Iterable[Outcomes], count: int, splits: Sequence[str]) -> pd.DataFrame:
        """Returns the table of :meth:`assess` for ``count`` candidates' outcomes, whoever made them."""
        measures = [*self.objectives, *self.reported]
        values = self._measured(outcomes, count, splits, measures)
        return pd.DataFrame(
            {f"{o.name}_{split}": values[:, s, i] for i, o in enumerate(measures) for s, split in enumerate(splits)}
        )

    def _measured(
        self, outcomes: Iterable[Outcomes], count: int, splits: Sequence[str], measures: Sequence[Objective]
    ) -> NDArray[np.float64]:
        table = np.empty((count, len(splits), len(measures)))
        done = 0
        with single_threaded_blas:
            for done, each in enumerate(outcomes, start=1):
                for s, split in enumerate(splits):
                    for i, objective in enumerate(measures):
                        values = [objective.compute(outcome) for outcome in each[split]]
                        table[done - 1, s, i] = np.mean(values) if values else objective.worst
        if done != count:
            raise MopruneError(f"{type(self).__name__}.outcomes yielded {done} candidates of {count}")
        broken = np.argwhere(~np.isfinite(table))
        if len(broken):
            i, s, o = broken[0]
            raise MopruneError(
                f"objective {measures[o].name!r} of candidate {i} on split {splits[s]!r} is "
                f"{table[i, s, o]}; an objective must be finite for every genome"
            )
        return table

    def minimised(self, natural: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns what pymoo minimises from natural values, ``(n, n_obj)`` both."""
        columns = [o.minimised(natural[:, i]) for i, o in enumerate(self.objectives)]
        return np.column_stack(columns)

    def checked(self, X: Genomes) -> Genomes:
        """Returns the population as an array of the problem's type, or raises a UsageError that says why not."""
        array: NDArray[Any] = np.atleast_2d(X)
        if array.shape[1] != self.n_var:
            raise UsageError(f"genomes have {array.shape[1]} variables; {type(self).__name__} has {self.n_var}")
        if self.boolean and array.dtype != np.bool_:
            raise UsageError(
                f"{type(self).__name__} takes boolean genomes, not {array.dtype}: pymoo's default operators make "
                "floats; build the algorithm with moprune.algorithms.make('nsga2', problem), or give it binary "
                "sampling, crossover and mutation"
            )
        if self.boolean:
            return array
        if array.dtype.kind not in "fiu":
            raise UsageError(f"{type(self).__name__} takes float genomes, not {array.dtype}")
        if not all(np.isfinite(row).all() for row in array):  # row by row: genomes may be whole networks
            raise UsageError("genomes hold NaN or infinite values")
        return array.astype(self.dtype, copy=False)

    def _evaluate(self, X: Genomes, out: dict[str, Any], *_: Any, **__: Any) -> None:
        natural = self.values(X)[:, 0]
        out["F"] = self.minimised(natural)
        out["natural"] = natural

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        # pymoo deep-copies algorithms with their problem; features and networks are shared, not copied.
        return self
