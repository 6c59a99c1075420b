"""SA-SHADE-tri-ensin, which evolves the weights of pre-trained networks."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from moprune.algorithms.adaptive_de.adaptation import RecentCounts
from moprune.algorithms.adaptive_de.base import AdaptiveDE, Outcome
from moprune.algorithms.adaptive_de.budget import planned_evaluations
from moprune.algorithms.adaptive_de.diversity import keep_apart, mean_distance
from moprune.algorithms.adaptive_de.memory import Archive, SuccessMemory
from moprune.algorithms.adaptive_de.mutations import distinct, members, trigonometric
from moprune.algorithms.adaptive_de.parameters import cauchy, normal
from moprune.algorithms.adaptive_de.profile import PROFILES, Profile
from moprune.algorithms.adaptive_de.sinusoids import decreasing, increasing
from moprune.algorithms.adaptive_de.trials import Floats, Indices, Mutation, choose
from moprune.errors import not_one_of

TRIGONOMETRIC = 4
"""The last strategy; those before it move towards other members."""
_DECREASING, _INCREASING, _NO_SINUSOID = 0, 1, -1
_STD, _STD_FREQUENCY = 0.05, 0.1
_LEAST_F, _MOST = 1e-4, 0.99  # what drawn F and CR are clipped to


class SASHADETriEnSin(AdaptiveDE):
    """Five strategies chosen by success, SHADE memories for each, and an ensemble of sinusoids (ICLR 2024 sub. 690).

    Strategies 0 to 3 move towards a random member, the best, both, and both with a random weight on the best, with
    binomial crossover; 4 is the trigonometric mutation without crossover. Where the paper sets no bounds, give the
    problem infinite ones and all first members.

    Args:
        pop_size: members, >= 4, by default those given, else 10.
        profile: ``faithful``, ``sound`` or a :class:`Profile` of one's own.
        n_eval: evaluations of the whole search, by default those of the termination; needed if ``profile.period`` is
            None.
        options: as for :class:`AdaptiveDE`, ``at_least_one`` apart, which the profile says.
    """

    def __init__(
        self,
        pop_size: int | None = None,
        *,
        profile: str | Profile = "sound",
        n_eval: int | None = None,
        **options: Any,
    ) -> None:
        if isinstance(profile, str):
            if profile not in PROFILES:
                raise not_one_of("profile", profile, PROFILES)
            profile = PROFILES[profile]
        super().__init__(pop_size, at_least_one=profile.at_least_one, **options)
        self.profile, self.n_eval = profile, n_eval

    def _default_size(self, n_var: int) -> int:  # noqa: ARG002
        return 10

    def _setup(self, problem: Problem, **options: Any) -> None:
        if self.redraw is None and self.profile.redrawn and getattr(problem, "subsets", False):
            self.redraw = self.profile.period
        super()._setup(problem, **options)
        self.period = self.profile.period or self._generations()

    def _generations(self) -> int:
        planned = planned_evaluations(self.n_eval, self.termination, type(self).__name__)
        return max(2, math.ceil(planned / self._size) - 1)

    def _start(self) -> None:
        profile = self.profile

        def memories(initial: float) -> list[SuccessMemory]:
            return [SuccessMemory(profile.memory, initial) for _ in range(TRIGONOMETRIC)]

        self.memory_F, self.memory_CR = memories(profile.F), memories(profile.CR)
        self.memory_frequency = memories(profile.frequency)
        share = (1 - profile.trigonometric) / TRIGONOMETRIC
        self.probabilities = np.array([share] * TRIGONOMETRIC + [profile.trigonometric])
        self.counts = RecentCounts(TRIGONOMETRIC + 1, 5 * self.period)
        self.sinusoid_counts = RecentCounts(2, profile.learning)
        self.generation, self.past = 0, Archive()
        if profile.diversity_floor:
            self.least_distance = profile.diversity_floor * mean_distance([member.X for member in self.pop])

    def _archived(self) -> list[Floats]:
        return self.past.rows

    def _mutate(self) -> tuple[Mutation, Floats]:
        n, random_state = len(self.pop), self.random_state
        self.which = random_state.choice(TRIGONOMETRIC + 1, size=n, p=self.probabilities)
        self.F = self._scale_factors()
        self.CR = normal(random_state, self._remembered(self.memory_CR), _STD, 0.0, _MOST)
        losses = self._losses()
        mutations = [
            *towards(random_state, self.F, self._best(n), len(self.past.rows) if self.profile.archive else None),
            trigonometric(random_state, losses - losses.min() if self.profile.centred else losses),
        ]
        self.generation += 1
        return choose(mutations, self.which), np.where(self.which == TRIGONOMETRIC, 1.0, self.CR)

    def _scale_factors(self) -> Floats:
        """Returns F of each member; notes which sinusoid it follows, and its frequency."""
        profile, random_state, n = self.profile, self.random_state, len(self.pop)
        g = self.generation % self.period + 1
        self.sinusoid = np.full(n, _NO_SINUSOID)
        if not (profile.sinusoids and g < self.period / 2):
            remembered = self._remembered(self.memory_F)
            return cauchy(random_state, remembered) if profile.cauchy else (
                normal(random_state, remembered, _STD, _LEAST_F, _MOST)
            )  # fmt: skip
        self.sinusoid = np.where(random_state.random(n) < self.probability_of_decreasing(), _DECREASING, _INCREASING)
        remembered = self._remembered(self.memory_frequency)
        self.frequencies = remembered + _STD_FREQUENCY * random_state.standard_normal(n)
        down = decreasing(profile.frequency, g, self.period)
        up = increasing(self.frequencies, g, self.period)
        return profile.F * np.where(self.sinusoid == _DECREASING, down, up)

    def probability_of_decreasing(self) -> float:
        """Returns the probability of the decreasing sinusoid, by the success of both (as in LSHADE-cnEpSin)."""
        if self.generation < self.profile.learning:
            return 0.5
        rates = self.sinusoid_counts.success_rates()
        return float(rates[_DECREASING] / rates.sum())

    def _remembered(self, memories: list[SuccessMemory]) -> Floats:
        """Returns what a random slot of each member's strategy holds; the trigonometric one makes no use of it."""
        slots = memories[0].slots(self.random_state, len(self.which))
        values: Floats = np.stack([memory.values for memory in memories])
        remembered: Floats = values[np.minimum(self.which, TRIGONOMETRIC - 1), slots]
        return remembered

    def _best(self, n: int) -> Indices:
        elite = 1 if self.profile.p_best is None else max(2, round(self.profile.p_best * n))
        best: Indices = self._ranked()[self.random_state.integers(elite, size=n)]
        return best

    def _admit(self, accepted: NDArray[np.bool_], trials: Population) -> NDArray[np.bool_]:
        if not self.profile.diversity_floor:
            return accepted
        rows, points = ([individual.X for individual in pop] for pop in (self.pop, trials))
        return keep_apart(rows, self._losses(), points, trials.get("F")[:, 0], accepted, self.least_distance)

    def _learn(self, outcome: Outcome) -> None:
        if self.profile.archive:
            self.past.add(outcome.replaced(), len(self.pop), self.random_state)
        if self.profile.history:
            self._remember(outcome)
        moved = self.which != TRIGONOMETRIC
        if self.sinusoid[0] != _NO_SINUSOID:
            self.sinusoid_counts.record(self.sinusoid[moved], outcome.improved[moved])
        self.counts.record(self.which, outcome.improved)
        if self.profile.adaptation:
            self.probabilities = strategy_probabilities(
                *self.counts.totals(), self.profile.trigonometric_cap if self.profile.trigonometric else 0.0
            )

    def _remember(self, outcome: Outcome) -> None:
        for strategy in range(TRIGONOMETRIC):
            won = outcome.improved & (self.which == strategy)
            self.memory_F[strategy].record(self.F[won], outcome.gains[won])
            self.memory_CR[strategy].record(self.CR[won], outcome.gains[won])
            won &= self.sinusoid == _INCREASING
            if won.any():
                self.memory_frequency[strategy].record(self.frequencies[won], outcome.gains[won])


def towards(random_state: np.random.Generator, F: Floats, best: Indices, archived: int | None) -> list[Mutation]:
    """Returns the four strategies that move towards other members.

    0: ``x_i + F (x_r1 - x_i)``; 1: ``x_i + F (x_best - x_i)``; 2: ``x_i + F (x_best - x_i) + F (x_r1 - x_i)``;
    3: ``x_i + F u (x_best - x_i) + F (x_r1 - x_i)`` with u from U(0, 1).

    Args:
        random_state: draws the rows and u.
        F: ``(n,)`` scale factors.
        best: ``(n,)`` the row that is "best" for each member.
        archived: if given, the second difference of 2 and 3 is ``x_r1 - x_r2`` with r2 from the population or that
            many rows after it.
    """
    i = members(F)
    r1 = distinct(random_state, i, len(F))
    r2 = i if archived is None else distinct(random_state, np.column_stack([i, r1]), len(F) + archived)
    plus, minus = np.column_stack([best, r1]), np.column_stack([i, r2])
    u = random_state.random(len(F))
    return [
        Mutation(i[:, 0], r1, i, F[:, None]),
        Mutation(i[:, 0], plus[:, :1], i, F[:, None]),
        Mutation(i[:, 0], plus, minus, np.column_stack([F, F])),
        Mutation(i[:, 0], plus, minus, np.column_stack([u * F, F])),
    ]


def strategy_probabilities(successes: Floats, trials: Floats, cap: float) -> Floats:
    """Returns the probabilities of the strategies, that of the last at most ``cap``.

    They are proportional to ``max((s + 0.01) / (t + 0.01), 0.01)`` of s successes in t trials; what the cap takes from
    the last goes to the others in proportion.
    """
    shares = np.maximum((successes + 0.01) / (trials + 0.01), 0.01)
    shares /= shares.sum()
    if shares[-1] > cap:
        shares[:-1] *= (1 - cap) / shares[:-1].sum()
        shares[-1] = cap
    return shares
