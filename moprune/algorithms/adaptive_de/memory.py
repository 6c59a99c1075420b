"""What a search remembers: parameters that led to better vectors, and vectors that were replaced."""

from collections.abc import Sequence

import numpy as np

from moprune.algorithms.adaptive_de.trials import Floats, Indices


def lehmer_mean(values: Floats, weights: Floats) -> float:
    """Returns the weighted Lehmer mean ``sum w s^2 / sum w s``; 0 where every value is 0 (SHADE, eq. 9)."""
    below = float(weights @ values)
    return float(weights @ values**2) / below if below else 0.0


def weighted_mean(values: Floats, weights: Floats) -> float:
    """Returns ``sum w s / sum w``."""
    return float(weights @ values / weights.sum())


class SuccessMemory:
    """The last H means of a parameter's successful values (Tanabe & Fukunaga 2013).

    Args:
        size: H, >= 1.
        initial: what every slot starts from.
        arithmetic: whether slots hold weighted means rather than weighted Lehmer means.
        terminal: whether a slot whose successes were all zero stays nan for good (L-SHADE, for CR).
    """

    def __init__(self, size: int, initial: float = 0.5, *, arithmetic: bool = False, terminal: bool = False) -> None:
        self.values = np.full(size, initial)
        self.next = 0
        self._mean = weighted_mean if arithmetic else lehmer_mean
        self._terminal = terminal

    def slots(self, random_state: np.random.Generator, count: int) -> Indices:
        """Draws a slot for each of ``count`` members."""
        return random_state.integers(len(self.values), size=count)

    def record(self, successes: Floats, gains: Floats) -> None:
        """Writes the mean of successful values, weighted by what they gained (> 0), to the next slot, if there are."""
        if not len(successes):
            return
        ended = self._terminal and (np.isnan(self.values[self.next]) or not successes.any())
        self.values[self.next] = np.nan if ended else self._mean(successes, gains / gains.sum())
        self.next = (self.next + 1) % len(self.values)


class Archive:
    """Parents that better trials replaced, a random selection of them once it is full (Zhang & Sanderson 2009)."""

    def __init__(self) -> None:
        self.rows: list[Floats] = []

    def add(self, parents: Sequence[Floats], capacity: int, random_state: np.random.Generator) -> None:
        """Adds rows, then drops random ones until ``capacity`` are left."""
        self.rows += parents
        if len(self.rows) > capacity:
            kept = random_state.permutation(len(self.rows))[:capacity]
            self.rows = [self.rows[i] for i in np.sort(kept)]
