"""Crossover and mutation of sparse bit genomes: what is inherited is how many bits are on, and which.

Plain uniform crossover of masks with 5 % and 50 % of their bits on gives 27 %, and 1/L bit flips take far more bits up
than down: both drift to one half. The operators here do not.

A score a bit says which seem worth keeping; with equal scores the operators are blind to it. Genomes are handled one
after another, so that memory beyond the population's own is that of a few genomes.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem

from moprune.algorithms.scores import Scores, checked_scores, gumbel_top, log_weights
from moprune.errors import UsageError

Bits = NDArray[np.bool_]


def tournaments(
    candidates: NDArray[np.intp], count: int, scores: Scores, random_state: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns the winners and the losers, by score, of ``count`` binary tournaments between random candidates.

    A candidate may be drawn more than once, against itself too. Ties go either way.
    """
    a, b = candidates[random_state.integers(len(candidates), size=(2, count))]
    winners, losers = np.where(scores[a] >= scores[b], (a, b), (b, a))
    return winners, losers


class _Switch:
    """Switches bits on or off, as many tournaments' outcomes as a power law draws.

    P(k) ~ k^-beta for k from 1 to half the bits on: heavy-tailed as in the fast genetic algorithm (Doerr et al. 2017,
    GECCO, section 4), and in proportion to the size of the mask. k is one for an infinite beta.
    """

    def __init__(self, scores: ArrayLike, beta: float) -> None:
        if not beta > 1:
            raise UsageError(f"beta, the exponent of a power law, must be > 1, not {beta}")
        self.scores = checked_scores(scores, np.size(scores))
        self._cumulative = np.cumsum(np.arange(1.0, max(1, len(self.scores) // 2) + 1) ** -beta)

    def __call__(self, x: Bits, places: Bits, on: bool, random_state: np.random.Generator) -> None:
        """Switches some of the ``places`` of ``x`` in place: winners go on, or losers off."""
        candidates = np.flatnonzero(places)
        if len(candidates):
            winners, losers = tournaments(candidates, self.count(x, random_state), self.scores, random_state)
            x[winners if on else losers] = on

    def count(self, x: Bits, random_state: np.random.Generator) -> int:
        """Draws k."""
        most = max(1, int(x.sum()) // 2)
        drawn = random_state.random() * self._cumulative[most - 1]
        return int(np.searchsorted(self._cumulative, drawn, side="right")) + 1


class SparseCrossover(Crossover):
    """One child a pair (p, q): p with bits switched off that q has off, or with bits switched on that q has on.

    Each with probability one half. The bits are chosen by binary tournament on their scores, the worse one going off
    and the better one on (Tian et al. 2020, IEEE TEVC 24(2), algorithm 3).

    Args:
        scores: one finite number a bit, higher for those worth keeping.
        beta: exponent of the law of the number of tournaments, > 1; infinite for one, as published.
    """

    def __init__(self, scores: ArrayLike, beta: float = math.inf, **kwargs: Any) -> None:
        super().__init__(2, 1, prob=1.0, **kwargs)
        self._switch = _Switch(scores, beta)

    def _do(self, _: Problem, X: Bits, *__: Any, random_state: np.random.Generator, **___: Any) -> Bits:
        children = X[:1].copy()
        for child, other in zip(children[0], X[1], strict=True):
            on = bool(random_state.random() < 0.5)
            self._switch(child, (child != other) & (other == on), on, random_state)
        return children


class SparseMutation(Mutation):
    """Switches bits off, the worse of two at a time, or on, the better of two, each with probability one half.

    As many bits on are won as are lost, whatever the density (Tian et al. 2020, IEEE TEVC 24(2), algorithm 3).

    Args:
        scores: one finite number a bit, higher for those worth keeping.
        beta: exponent of the law of the number of tournaments, > 1; infinite for one, as published.
    """

    def __init__(self, scores: ArrayLike, beta: float = math.inf, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._switch = _Switch(scores, beta)

    def _do(self, _: Problem, X: Bits, *__: Any, random_state: np.random.Generator, **___: Any) -> Bits:
        mutated = X.copy()
        for x in mutated:
            on = bool(random_state.random() < 0.5)
            self._switch(x, x != on, on, random_state)
        return mutated


class SizePreservingCrossover(Crossover):
    """Two children a pair (p, q): both have the bits common to p and q, and they share out those that only one has.

    One child gets as many as give it a size drawn evenly from that of p to that of q, with weights
    exp(standardised rank / temperature); the other gets the rest. So no child is smaller or larger than both parents,
    the two have together as many bits on as their parents, and no bit is lost, even where the scores mislead.

    Args:
        scores: one finite number a bit, higher for those worth keeping.
        temperature: > 0; the larger, the less the scores matter.
    """

    def __init__(self, scores: ArrayLike, temperature: float = 1.0, **kwargs: Any) -> None:
        super().__init__(2, 2, prob=1.0, **kwargs)
        self._log_weights = log_weights(scores, temperature)

    def _do(self, _: Problem, X: Bits, *__: Any, random_state: np.random.Generator, **___: Any) -> Bits:
        children = np.empty_like(X)
        for i, (p, q) in enumerate(zip(*X, strict=True)):
            children[0, i] = self._child(p, q, random_state)
            children[1, i] = p ^ q ^ children[0, i]
        return children

    def _child(self, p: Bits, q: Bits, random_state: np.random.Generator) -> Bits:
        places = np.flatnonzero(p ^ q)
        of_p = np.count_nonzero(p[places])
        low, high = sorted((of_p, len(places) - of_p))
        count = int(random_state.integers(low, high + 1))
        child = p & q
        child[places[gumbel_top(self._log_weights[places], count, random_state)]] = True
        return child
