"""A few random directions through the space of weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, lsqr
from torch import Tensor, nn

from moprune.errors import UsageError, not_one_of
from moprune.networks.selection import State, select
from problems.refinement.genomes.directions import Dense, Directions, RankOne
from problems.refinement.genomes.genotype import Genotype, checked_spread

KINDS = ("random", "low_rank")

# Numbers in all dense directions that are kept in memory, float32 (256 MB); more are drawn again each time.
_KEPT = 2**26


class Subspace(Genotype):
    """A number of variables, zeros at the start, each of which moves weights along one random direction.

    A direction has unit length within each tensor it runs through and is scaled by that tensor's norm (by 1 for a
    tensor of zeros), so that a value of 0.1 moves a tensor by a tenth of its size.

    ``random``: each variable moves all tensors at once (Li et al. 2018). Directions that would fill the memory are
    drawn again from the seed whenever they are needed, which takes the longer the more there are.

    ``low_rank``: each variable moves one tensor, as a matrix (filters, rest), by a matrix of rank one. Variables are
    dealt in proportion to size, and one at least to each tensor while they last, the largest first.

    A genome comes back from its weights to about the precision of float32; the start comes back exactly.

    Args:
        network: the pre-trained network.
        parameters: which parameters, as for `select`.
        dimension: the number of variables, from 1 to the number of weights.
        kind: ``random`` or ``low_rank``.
        spread: variables lie in [-spread, spread], > 0.
        seed: of the directions.

    Raises:
        UsageError: a pattern names nothing, there is no such kind, or dimension or spread are out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        parameters: Sequence[str],
        dimension: int,
        kind: str = "random",
        spread: float = 0.1,
        seed: int = 0,
    ) -> None:
        if kind not in KINDS:
            raise not_one_of("genome: subspace", kind, KINDS)
        names = select(network, parameters)
        sizes = [network.get_parameter(name).numel() for name in names]
        if not 1 <= dimension <= sum(sizes):
            raise UsageError(f"genome: dimension is {dimension}; give 1 to {sum(sizes)}, the number of weights")
        counts = _dealt(sizes, dimension) if kind == "low_rank" else [dimension] * len(names)
        super().__init__(network, [name for name, count in zip(names, counts, strict=True) if count])
        self.kind, self.spread, self.seed = kind, checked_spread(spread), seed
        self.start = np.zeros(dimension)
        self._counts = [count for count in counts if count]
        self._norms = [float(tensor.double().norm()) or 1.0 for tensor in self.base.values()]
        kept = dimension * sum(sizes) <= _KEPT
        self._directions: list[Directions] = [
            RankOne(tensor, count, seed, name) if kind == "low_rank" else Dense(tensor, count, seed, name, kept=kept)
            for (name, tensor), count in zip(self.base.items(), self._counts, strict=True)
        ]

    @property
    def lower(self) -> NDArray[np.float64]:
        """Minus the spread (D,)."""
        return np.full(self.n_var, -self.spread)

    @property
    def upper(self) -> NDArray[np.float64]:
        """The spread (D,)."""
        return np.full(self.n_var, self.spread)

    @property
    def blocks(self) -> NDArray[np.int64] | None:
        """The tensor each variable moves (D,); None where each moves all."""
        if self.kind == "random":
            return None
        return np.repeat(np.arange(len(self._counts), dtype=np.int64), self._counts)

    def weights(self, genome: NDArray[np.float64]) -> State:
        """Returns the tensors of a genome (D,)."""
        changes = self._changes(self._values(genome))
        return {
            name: (base.double() + change.view(base.shape)).float()
            for (name, base), change in zip(self.base.items(), changes, strict=True)
        }

    def genome(self, state: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """Returns the genome (D,) of least squares over all tensors (LSQR), cut at the bounds."""
        wanted = torch.cat([(self._target(state, n) - t.double()).reshape(-1).cpu() for n, t in self.base.items()])
        # Directions of one length each, so that small tensors do not hold up the iteration.
        lengths = self._lengths()
        matrix = LinearOperator(
            (len(wanted), self.n_var),
            matvec=lambda v: torch.cat([c.cpu() for c in self._changes(v.ravel() / lengths)]).numpy(),
            rmatvec=lambda c: self._projected(c.ravel()) / lengths,
            dtype=np.float64,
        )
        solution = lsqr(matrix, wanted.numpy(), atol=1e-13, btol=1e-13, conlim=0, iter_lim=10 * self.n_var + 100)[0]
        return self._clipped(solution / lengths)

    def names(self) -> list[str]:
        """Returns ``direction 7``, or ``layer.weight direction 7``, for each variable, counted from 1."""
        if self.kind == "random":
            return [f"direction {i}" for i in range(1, self.n_var + 1)]
        counted = zip(self.changed, self._counts, strict=True)
        return [f"{name} direction {i}" for name, count in counted for i in range(1, count + 1)]

    def describe(self) -> dict[str, Any]:
        """Returns what tells this genotype from others."""
        return self._described(
            "subspace", directions=self.kind, dimension=self.n_var, spread=self.spread, seed=self.seed
        )

    def _parts(self) -> Iterator[slice]:
        """Yields which variables move each tensor."""
        first = 0
        for count in self._counts:
            yield slice(first, first + count)
            first += count if self.kind == "low_rank" else 0

    def _changes(self, values: NDArray[np.float64]) -> Iterator[Tensor]:
        """Yields by how much each tensor changes, flat, float64."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        parts = zip(self.base.values(), self._parts(), self._norms, self._directions, strict=True)
        for base, part, norm, directions in parts:
            yield norm * directions.expand(tensor[part].to(base.device))

    def _projected(self, changes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the products (D,) of every direction with changes of all the weights; the transpose of `_changes`."""
        found = np.zeros(self.n_var)
        pieces = torch.from_numpy(changes).split([tensor.numel() for tensor in self.base.values()])
        parts = zip(self.base.values(), pieces, self._parts(), self._norms, self._directions, strict=True)
        for base, piece, part, norm, directions in parts:
            found[part] += norm * directions.project(piece.to(base.device)).cpu().numpy()
        return found

    def _lengths(self) -> NDArray[np.float64]:
        """Returns how far the weights move for a value of 1 in each variable (D,)."""
        squares = np.zeros(self.n_var)
        for part, norm in zip(self._parts(), self._norms, strict=True):
            squares[part] += norm**2
        return np.sqrt(squares)


def _dealt(sizes: Sequence[int], dimension: int) -> list[int]:
    """Deals variables to tensors: one each while they last, largest first; then to the most weights a variable.

    The latter is D'Hondt's method. No tensor gets more variables than it has weights.
    """
    weights = np.array(sizes, dtype=np.float64)
    counts = np.zeros(len(sizes), dtype=np.int64)
    counts[np.argsort(-weights, kind="stable")[:dimension]] = 1
    for _ in range(dimension - int(counts.sum())):
        counts[np.argmax(weights / (counts + 1))] += 1
    return [int(count) for count in counts]
