"""BioTune's evolutionary algorithm."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.algorithm import Algorithm
from pymoo.core.individual import Individual
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling

from moprune.algorithms.biotune.operators import (
    Floats,
    adopted,
    choose_mates,
    extinction_by_loss,
    extinction_by_rank,
    mutated,
    probes,
    recombined,
)
from moprune.algorithms.biotune.profile import PROFILES, Profile
from moprune.algorithms.start import (
    FirstMembers,
    Start,
    check_problem,
    finite_losses,
    genome_type,
    initial_population,
    population_size,
)
from moprune.contexts import Context
from moprune.errors import UsageError, not_one_of

_TRIES = 1000  # points drawn to find one that selects something


class BioTune(Algorithm):
    """The evolutionary algorithm of BioTune (Davila, Colan & Hasegawa, IEEE Access 13, 2025; arXiv 2601.11235).

    Each generation first probes the elites: one variable of each is moved up and down, and the better probe takes the
    elite's place if it is better still. The elites survive; children take the places of all others. A child is a
    mixture of two parents chosen by rank, mutated the more the worse they are ("extinction"), and drawn towards them
    and a third member ("adoption"). Points beyond a bound are put on it; steps are in widths of the box.

    Probes are one batch, with the elites that are scored again on a new fold; the children, which depend on them, are
    another (one at a time if ``profile.shrinking``). So give a termination in evaluations, not in iterations;
    :meth:`Profile.evaluations` says how many a number of generations takes.

    A problem whose variables may be without effect, as those of frozen parts of a network are, says so by a method
    ``selected(x)``: of a point ``(D,)``, which variables belong to selected parts, ``(D,)`` bool. Probes move those
    alone, and points drawn at random select at least one. Without the method all variables are selected.

    Args:
        pop_size: members, more than elites and >= 3, by default those given, else 10.
        profile: ``faithful``, ``sound`` or a :class:`Profile` of one's own.
        sampling: the first population, see :data:`moprune.algorithms.start.Start`.
        kwargs: as for any pymoo Algorithm.

    Attributes:
        generation: the one being made, from 0.
        extinction: ``(pop_size,)`` extinction factors of its parents, the best first.
    """

    pop: Any  # pymoo declares both as possibly None, which they are only before the run
    random_state: Any

    def __init__(
        self,
        pop_size: int | None = None,
        *,
        profile: str | Profile = "sound",
        sampling: Start = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(profile, str):
            if profile not in PROFILES:
                raise not_one_of("profile", profile, PROFILES)
            profile = PROFILES[profile]
        self.pop_size, self.profile, self.sampling = pop_size, profile, sampling

    def _setup(self, problem: Problem, **_: Any) -> None:
        check_problem(problem, "BioTune")
        self.width: Floats = problem.xu - problem.xl
        if not np.isfinite(self.width).all():
            raise UsageError("BioTune measures its steps in widths of the box: give the problem finite bounds")
        least = max(3, self.profile.elites + 1)
        self._size = population_size(self.pop_size, self.sampling, default=10, least=least, who="BioTune")
        self.folds = self.profile.folds if getattr(problem, "subsets", False) else None
        self.generation = 0
        self.extinction: Floats = np.zeros(self._size)
        self.pool: list[int] | None = None  # ranks of the parents that may still mate; None before elites are probed

    @property
    def fold(self) -> int | None:
        """The subset of the data that this generation is scored on; None for all data."""
        return None if self.folds is None else self.generation % self.folds

    def _initialize_infill(self) -> Population:
        pop = initial_population(self.problem, self.sampling, self._size, self.random_state)
        for member in pop[self._given() :]:
            if not self._selected(member.X).any():
                member.X = self._drawn().astype(genome_type(self.problem))
        return pop if self.fold is None else self._asked([member.X for member in pop])

    def _given(self) -> int:
        """Returns how many first members are as they were given: rows, and all points of a sampling of one's own."""
        start = self.sampling.rows if isinstance(self.sampling, FirstMembers) else self.sampling
        if start is None:
            return 0
        return self._size if isinstance(start, Sampling) else len(start)

    def _initialize_advance(self, infills: Any = None, **_: Any) -> None:
        finite_losses(infills, "BioTune")
        self._settle(infills, extinct=self.profile.early)

    def _infill(self) -> Population:
        return self._probes() if self.pool is None else self._children(self.pool)

    def _advance(self, infills: Any = None, **_: Any) -> None:
        finite_losses(infills, "BioTune")
        if self.pool is None:
            self._exploit(infills)
            self.parents, self.pool = self.pop, list(range(self._size))
            self.pop = self.parents[: self.profile.elites]
            return
        self.pop = Population.merge(self.pop, infills)
        if self.profile.shrinking:
            beaten = [k for k in self.mates if _loss(self.parents[k]) > _loss(infills[0])]
            self.pool = [k for k in self.pool if k not in beaten]
        if len(self.pop) == self._size:
            self._settle(self.pop, extinct=True)
            self.generation, self.pool = self.generation + 1, None

    def _settle(self, members: Population, *, extinct: bool) -> None:
        """Makes the members the sorted population, with new extinction factors if told so."""
        losses = members.get("F")[:, 0]
        order = np.argsort(losses, kind="stable")
        self.pop = members[order]
        if extinct:
            factors = extinction_by_rank(len(order)) if self.profile.ranked else extinction_by_loss(losses[order])
            self.extinction = self.extinction if factors is None else factors

    def _probes(self) -> Population:
        """Returns two probes of each elite, after the elites themselves where they have to be scored again."""
        elites = [elite.X for elite in self.pop[: self.profile.elites]]
        another_fold = self.generation > 0 and (self.folds or 1) > 1
        rows = list(elites) if self.profile.rescored and another_fold else []
        for x in elites:
            selected = self._selected(x)
            selected |= not selected.any()  # a first member that selects nothing may have been given
            rows += probes(x, selected, self.profile.reach * self.width, self.random_state)
        return self._asked(rows)

    def _exploit(self, infills: Population) -> None:
        count = self.profile.elites
        again, pairs = infills[: -2 * count], infills[-2 * count :]
        for k, elite in enumerate(again):
            self._replace(k, elite)
        for k in range(count):
            better = min(pairs[2 * k : 2 * k + 2], key=_loss)
            if _loss(better) < _loss(self.pop[k]):
                self._replace(k, better)

    def _replace(self, k: int, new: Individual) -> None:
        new.set("momentum", self.pop[k].get("momentum"))
        self.pop[k] = new

    def _children(self, pool: list[int]) -> Population:
        """Returns the next child where the pool shrinks, else all; random points where the pool is used up."""
        missing = self._size - len(self.pop)
        if len(pool) <= 2:
            self.mates: list[int] = []
            return self._asked([self._drawn() for _ in range(missing)])
        rows, momenta = zip(*(self._child(pool) for _ in range(1 if self.profile.shrinking else missing)), strict=True)
        children = self._asked(rows)
        children.set("momentum", list(momenta))
        return children

    def _child(self, pool: list[int]) -> tuple[Floats, Floats]:
        """Returns a new point and its momentum."""
        a, b, c = (pool[rank] for rank in choose_mates(len(pool), self.random_state))
        self.mates = [a, b]
        first, second, prototype = (self.parents[k].X for k in (a, b, c))
        crossed = recombined(first, second, self.random_state)
        inherited = self._inherited()
        x = self._clip(crossed + inherited)
        x = self._clip(mutated(x, self.extinction[[a, b]].mean(), self.width, self.random_state))
        x = self._clip(adopted(x, (first + second) / 2, prototype, self.random_state))
        return x, x - crossed

    def _inherited(self) -> Floats:
        """Returns a random share of the momenta of both parents, each variable its own."""
        inherited: Floats = np.zeros(len(self.width))
        if self.profile.momentum:
            for k in self.mates:
                momentum = self.parents[k].get("momentum")
                if momentum is not None:  # what was not born has none
                    inherited += self.random_state.random(len(inherited)) * momentum
        return inherited

    def _selected(self, x: Floats) -> NDArray[np.bool_]:
        if hasattr(self.problem, "selected"):
            return np.array(self.problem.selected(x), dtype=bool)
        return np.ones(len(x), dtype=bool)

    def _drawn(self) -> Floats:
        """Returns a point of the box, drawn until it selects something."""
        for _ in range(_TRIES):
            x: Floats = self.problem.xl + self.width * self.random_state.random(len(self.width))
            if self._selected(x).any():
                return x
        raise UsageError(f"none of {_TRIES} random points selects anything; correct the problem's method selected")

    def _asked(self, rows: Sequence[Floats]) -> Population:
        """Returns candidates at the points, to be scored on the fold of this generation."""
        points = [self._clip(row).astype(genome_type(self.problem)) for row in rows]
        return Population.new("X", points, "context", [Context(subset=self.fold)] * len(points))

    def _clip(self, x: Floats) -> Floats:
        """Returns a point of which variables beyond a bound are put on it."""
        clipped: Floats = np.clip(x, *self.problem.bounds())
        return clipped


def _loss(individual: Individual) -> float:
    return float(individual.F[0])
