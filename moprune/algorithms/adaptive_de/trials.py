"""From parents to trial vectors: differential mutation, repair at the bounds, binomial crossover.

Every mutation of differential evolution adds weighted differences of population rows to a row. It is kept as indices
and weights, and the vectors are made a few rows at a time, in the type of the rows: with millions of variables, nothing
of the size of the population is held beside the trials themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moprune.errors import UsageError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Rows = Sequence[Floats]

_CHUNK = 1 << 18  # numbers worked on at a time, unless one row has more


@dataclass(frozen=True)
class Mutation:
    """Donors ``rows[base] + sum_m weight[:, m] * (rows[plus[:, m]] - rows[minus[:, m]])``, one for each member.

    Attributes:
        base: ``(n,)`` row each donor starts from.
        plus: ``(n, m)`` rows added.
        minus: ``(n, m)`` rows subtracted.
        weight: ``(n, m)`` scale factors.
    """

    base: Indices
    plus: Indices
    minus: Indices
    weight: Floats

    def donors(self, rows: Rows, part: slice) -> Floats:
        """Returns the donors of some members, ``(k, D)``."""
        donors = _stack(rows, self.base[part])
        for plus, minus, weight in zip(self.plus[part].T, self.minus[part].T, self.weight[part].T, strict=True):
            if weight.any():
                difference = _stack(rows, plus)
                difference -= _stack(rows, minus)
                difference *= weight[:, None]
                donors += difference
        return donors


def choose(mutations: Sequence[Mutation], which: Indices) -> Mutation:
    """Returns the mutation that makes donor i as ``mutations[which[i]]`` does."""
    members, width = np.arange(len(which)), max(mutation.weight.shape[1] for mutation in mutations)

    def chosen(parts: list[NDArray[np.generic]]) -> NDArray[np.generic]:
        padded = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts]
        return np.stack(padded)[which, members]

    return Mutation(
        np.stack([m.base for m in mutations])[which, members],
        chosen([m.plus for m in mutations]),  # type: ignore[arg-type]
        chosen([m.minus for m in mutations]),  # type: ignore[arg-type]
        chosen([m.weight for m in mutations]),  # type: ignore[arg-type]
    )


class BinomialCrossover:
    """Takes each variable from the donor with probability CR, from the parent otherwise.

    Args:
        blocks: ``(D,)`` block of each variable, 0, 1, ...; variables of a block (the weights of a filter, say) come
            from the same vector. By default each is its own block.
        at_least_one: whether one block drawn at random always comes from the donor (j_rand).
    """

    def __init__(self, blocks: Indices | None = None, *, at_least_one: bool = True) -> None:
        self.blocks = None if blocks is None else np.asarray(blocks)
        if self.blocks is not None and (self.blocks.ndim != 1 or self.blocks.dtype.kind not in "iu"):
            raise UsageError("blocks must be one whole number for each variable")
        self.at_least_one = at_least_one

    def units(self, n_var: int) -> int:
        """Returns the number of blocks of ``n_var`` variables; raises a UsageError if there are not as many labels."""
        if self.blocks is None:
            return n_var
        if len(self.blocks) != n_var or self.blocks.min() < 0:
            raise UsageError(f"blocks must be {n_var} numbers >= 0, one for each variable, not {len(self.blocks)}")
        return int(self.blocks.max()) + 1

    def forced(self, members: int, n_var: int, random_state: np.random.Generator) -> Indices | None:
        """Draws the block that each trial takes from its donor in any case."""
        return random_state.integers(self.units(n_var), size=members) if self.at_least_one else None

    def mask(
        self, CR: Floats, forced: Indices | None, n_var: int, random_state: np.random.Generator
    ) -> NDArray[np.bool_]:
        """Returns which variables come from the donor, ``(k, D)``."""
        # Single precision halves the draws of long genomes; a rate is resolved to 6e-8.
        drawn = random_state.random((len(CR), self.units(n_var)), dtype=np.float32)
        mask: NDArray[np.bool_] = drawn < CR.astype(np.float32)[:, None]
        if forced is not None:
            mask[np.arange(len(CR)), forced] = True
        return mask if self.blocks is None else mask[:, self.blocks]


def repair_midpoint(points: Floats, inside: Floats, lower: Floats, upper: Floats) -> None:
    """Puts variables beyond a bound halfway between it and a point inside, in place (Zhang & Sanderson 2009)."""
    for bound, beyond in ((lower, points < lower), (upper, points > upper)):
        if beyond.any():
            points[beyond] = 0.5 * (np.broadcast_to(bound, points.shape)[beyond] + inside[beyond])


def make_trials(
    rows: Rows,
    mutation: Mutation,
    CR: Floats,
    crossover: BinomialCrossover,
    bounds: tuple[Floats, Floats],
    random_state: np.random.Generator,
) -> list[Floats]:
    """Returns one trial vector for each of the first ``len(CR)`` rows, within the bounds.

    Args:
        rows: the population, then what mutation may draw on besides (an archive); each ``(D,)``.
        mutation: indices into ``rows``.
        CR: ``(n,)`` crossover rates in [0, 1].
        crossover: which variables come from the donor.
        bounds: lower and upper, each ``(D,)``.
        random_state: draws the crossover.
    """
    n_var = len(rows[0])
    forced = crossover.forced(len(CR), n_var, random_state)
    trials: list[Floats] = []
    step = max(1, _CHUNK // n_var)
    for start in range(0, len(CR), step):
        part = slice(start, start + step)
        parents = np.stack(rows[start : min(start + step, len(CR))])
        donors = mutation.donors(rows, part)
        repair_midpoint(donors, parents, *bounds)
        mask = crossover.mask(CR[part], None if forced is None else forced[part], n_var, random_state)
        np.copyto(donors, parents, where=~mask)
        trials.extend(row.copy() for row in donors)  # pymoo would copy views, all of them at once
    return trials


def _stack(rows: Rows, which: Indices) -> Floats:
    return np.stack([rows[i] for i in which])
