"""SparseEA, for bits: scores of single bits first, then a search whose operators go by them."""

import math
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from moprune.algorithms.duplicates import PackedDuplicateElimination
from moprune.algorithms.scores import Scores
from moprune.algorithms.sparse import SparseCrossover, SparseMutation, tournaments
from moprune.errors import UsageError


class SparseEA(NSGA2):
    """The evolutionary algorithm for sparse problems of Tian et al. (2020, IEEE TEVC 24(2), algorithms 1 to 3).

    It begins with L evaluations, one for each genome with a single bit on: the number of the non-dominated front that
    this genome is on (the first is best) is the score of its bit for the whole run. So the budget has to be well above
    the number of bits; where it is not, a ranking from elsewhere and :class:`RankedSampling` cost no evaluations.

    A first mask has bits on that won ceil(u L) binary tournaments, u from U(0, 1). Masks and genomes with a single bit
    compete for the first population; then binary tournaments on rank and crowding choose parents, the operators of
    :mod:`moprune.algorithms.sparse` move one bit each, and NSGA-II's selection keeps the best. The part of the
    published algorithm that moves real values has no place in a search of bits.

    What differs: genomes that were there before are drawn again, where the paper deletes equal members afterwards; and
    the two parents of a pair are never the same member.

    Args:
        pop_size: size of the population, >= 4; genomes with a single bit are asked for in batches of at least as many.
        **kwargs: of pymoo's NSGA2, such as ``n_offsprings``.
    """

    pop: Any  # pymoo declares both as possibly None, which they are only before the run
    random_state: Any

    def __init__(self, pop_size: int = 50, **kwargs: Any) -> None:
        super().__init__(pop_size=pop_size, eliminate_duplicates=PackedDuplicateElimination(), **kwargs)
        self.tournament_type = "comp_by_rank_and_crowding"
        self.scores: Scores | None = None

    def _setup(self, problem: Problem, **_: Any) -> None:
        if problem.vtype is not bool:
            raise UsageError("SparseEA searches bits; this problem's genomes are numbers: use nsga2")

    def _initialize_infill(self) -> Population:
        return self._single_bits(0)

    def _infill(self) -> Population | None:
        if self.scores is not None:
            return super()._infill()
        if len(self.pop) < self.problem.n_var:
            return self._single_bits(len(self.pop))
        self.scores = self._fronts()
        self.mating.crossover, self.mating.mutation = SparseCrossover(self.scores), SparseMutation(self.scores)
        masks = self.eliminate_duplicates.do(self._first_masks(self.scores), self.pop)
        return masks if len(masks) else super()._infill()

    def _advance(self, infills: Population | None = None, **kwargs: Any) -> None:
        if self.scores is not None:
            super()._advance(infills, **kwargs)
        else:
            everyone = Population.merge(self.pop, infills)
            self.pop = self.survival.do(self.problem, everyone, random_state=self.random_state, algorithm=self)

    def _single_bits(self, start: int) -> Population:
        """Returns the genomes with one of the next bits on, at least ``pop_size`` where there are as many."""
        left = self.problem.n_var - start
        count = self.pop_size if left >= 2 * self.pop_size else left
        return Population.new("X", np.eye(count, self.problem.n_var, k=start, dtype=bool))

    def _fronts(self) -> Scores:
        """Returns the fronts' numbers, which selection left with the members, as scores of their bits."""
        singles, fronts = self.pop.get("X", "rank")
        scores = np.empty(self.problem.n_var)
        scores[singles.argmax(axis=1)] = -fronts
        return scores

    def _first_masks(self, scores: Scores) -> Population:
        length = self.problem.n_var
        masks = np.zeros((self.pop_size, length), dtype=bool)
        for mask in masks:
            count = math.ceil(self.random_state.random() * length)
            winners, _ = tournaments(np.arange(length), count, scores, self.random_state)
            mask[winners] = True
        return Population.new("X", masks)
