"""SaDE."""

from collections import deque
from typing import Any

import numpy as np

from moprune.algorithms.adaptive_de.adaptation import RecentCounts, universal_sampling
from moprune.algorithms.adaptive_de.base import AdaptiveDE, Outcome
from moprune.algorithms.adaptive_de.mutations import current_to_rand, rand, rand_to_best_2
from moprune.algorithms.adaptive_de.parameters import normal_within
from moprune.algorithms.adaptive_de.trials import Floats, Mutation, choose
from moprune.errors import UsageError

_STRATEGIES, _WITHOUT_CROSSOVER = 4, 3


class SaDE(AdaptiveDE):
    """Four strategies, each used and given crossover rates as it succeeded lately (Qin, Huang & Suganthan 2009).

    DE/rand/1/bin, DE/rand-to-best/2/bin, DE/rand/2/bin and DE/current-to-rand/1, with F from N(0.5, 0.3).

    Args:
        pop_size: members, >= 6, by default those given, else 50.
        learning: generations looked back over, and before anything is adapted, >= 1; the paper's LP.
        options: as for :class:`AdaptiveDE`.
    """

    least_members = 6

    def __init__(self, pop_size: int | None = None, *, learning: int = 50, **options: Any) -> None:
        super().__init__(pop_size, **options)
        if learning < 1:
            raise UsageError(f"SaDE needs learning >= 1, not {learning}")
        self.learning = learning

    def _default_size(self, n_var: int) -> int:  # noqa: ARG002
        return 50

    def _start(self) -> None:
        self.counts = RecentCounts(_STRATEGIES, self.learning)
        self.successful_CR: deque[list[Floats]] = deque(maxlen=self.learning)

    def probabilities(self) -> Floats:
        """Returns the probability of each strategy."""
        if len(self.counts) < self.learning:
            return np.full(_STRATEGIES, 1 / _STRATEGIES)
        rates = self.counts.success_rates()
        probabilities: Floats = rates / rates.sum()
        return probabilities

    def mean_rates(self) -> Floats:
        """Returns the mean crossover rate of each strategy: the median of what succeeded, 0.5 where nothing did."""
        means = np.full(_STRATEGIES, 0.5)
        if len(self.successful_CR) == self.learning:
            for strategy in range(_STRATEGIES):
                lately = np.concatenate([generation[strategy] for generation in self.successful_CR])
                if len(lately):
                    means[strategy] = np.median(lately)
        return means

    def _mutate(self) -> tuple[Mutation, Floats]:
        n, random_state = len(self.pop), self.random_state
        self.which = universal_sampling(random_state, self.probabilities(), n)
        F = random_state.normal(0.5, 0.3, size=n)
        self.CR = normal_within(random_state, self.mean_rates()[self.which], 0.1)
        mutations = [
            rand(random_state, F),
            rand_to_best_2(random_state, F, int(self._ranked()[0])),
            rand(random_state, F, differences=2),
            current_to_rand(random_state, F),
        ]
        crossed = self.which != _WITHOUT_CROSSOVER
        return choose(mutations, self.which), np.where(crossed, self.CR, 1.0)

    def _learn(self, outcome: Outcome) -> None:
        self.counts.record(self.which, outcome.improved)
        self.successful_CR.append([self.CR[outcome.improved & (self.which == k)] for k in range(_STRATEGIES)])
