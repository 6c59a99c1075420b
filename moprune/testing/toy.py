"""A small problem with a known optimum."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moprune.objectives import Objective, Outcome
from moprune.problem import Genomes, Outcomes, SearchProblem


class ToyProblem(SearchProblem):
    """Bits with a known front: as many ones at the start and as many zeros at the end as possible.

    Both counts are shares of the length and maximised. The front is the ``length + 1`` genomes ``1...10...0``.
    """

    def __init__(self, length: int = 12) -> None:
        objectives = [
            Objective(name, "share of bits", False, 0.0, functools.partial(_cost_of, name), is_cost=True)
            for name in ("leading_ones", "trailing_zeros")
        ]
        super().__init__(n_var=length, boolean=True, objectives=objectives)

    def outcomes(self, X: Genomes, splits: Sequence[str]) -> Iterator[Outcomes]:
        """Yields the two shares, the same on every split."""
        for genome in X:
            ones = np.cumprod(genome).sum() / self.n_var
            zeros = np.cumprod(~genome[::-1].astype(bool)).sum() / self.n_var
            costs = {"leading_ones": float(ones), "trailing_zeros": float(zeros)}
            outcome = Outcome(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), costs=costs)
            yield {split: [outcome] for split in splits}

    def fingerprint(self) -> dict[str, Any]:
        """Returns the name and the length."""
        return {"problem": "leading ones, trailing zeros", "length": self.n_var}

    def optimum(self) -> NDArray[np.bool_]:
        """Returns the genomes of the front, ``(length + 1, length)``, by rising number of ones."""
        return np.tri(self.n_var + 1, self.n_var, k=-1, dtype=bool)


def toy_problem(length: int = 12) -> ToyProblem:
    """Returns a cheap problem on bits whose front is known, to try an algorithm on."""
    return ToyProblem(length)


def _cost_of(name: str, outcome: Outcome) -> float:
    return outcome.costs[name]
