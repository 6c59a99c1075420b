"""Which of several strategies to use, by how often each succeeded lately."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from moprune.algorithms.adaptive_de.trials import Floats, Indices


class RecentCounts:
    """Successes and trials of each strategy over the last generations.

    Args:
        strategies: how many there are.
        window: generations counted, >= 1.
    """

    def __init__(self, strategies: int, window: int) -> None:
        self._strategies = strategies
        self._generations: deque[Floats] = deque(maxlen=window)

    def __len__(self) -> int:
        return len(self._generations)

    def record(self, which: Indices, improved: NDArray[np.bool_]) -> None:
        """Adds a generation: the strategy of each trial, ``(n,)``, and whether it succeeded."""
        counts = [np.bincount(which[rows], minlength=self._strategies) for rows in (improved, slice(None))]
        self._generations.append(np.array(counts, dtype=np.float64))

    def totals(self) -> tuple[Floats, Floats]:
        """Returns the successes and the trials of each strategy."""
        successes, trials = np.sum(self._generations, axis=0) if len(self) else np.zeros((2, self._strategies))
        return successes, trials

    def success_rates(self) -> Floats:
        """Returns the share of successes + 0.01; of a strategy without trials 0.01 (SaDE, eq. 14)."""
        successes, trials = self.totals()
        return successes / np.maximum(trials, 1) + 0.01


def universal_sampling(random_state: np.random.Generator, probabilities: Floats, count: int) -> Indices:
    """Assigns strategies by stochastic universal selection, in random order (Baker 1987).

    Strategy k comes ``floor`` or ``ceil`` of ``probabilities[k] * count`` times.
    """
    pointers = (random_state.random() + np.arange(count)) / count
    edges = np.cumsum(probabilities / probabilities.sum())[:-1]
    chosen: Indices = random_state.permutation(np.searchsorted(edges, pointers, side="right"))
    return chosen
