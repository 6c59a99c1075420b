"""NSGA-II that scores many children cheaply, and only the promising ones in full and with every training seed."""

import math
from typing import Any

from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.individual import Individual
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from moprune.contexts import PLAIN, Context
from moprune.errors import UsageError


class PromotingNSGA2(NSGA2):
    """NSGA-II for problems with cheaper fidelities (``rungs``) and several training seeds (``seeds``).

    A generation is a few batches, each scored at once:

    1. ``factor`` children for each offspring wanted are scored on the cheapest rung;
    2. on each further rung those that are left, in equal ratios down to ``n_offsprings``: the best by non-dominated
       rank, then by crowding, among what was scored on the rung before;
    3. ``n_offsprings`` are scored in full with the first training seed, and compete with the members as in NSGA-II;
    4. members of the first front that are known from fewer than all training seeds are scored with one more, and the
       population is ranked again.

    Promotion by rungs is successive halving (Jamieson & Talwalkar 2016, AISTATS, the loop that Hyperband is made of;
    Li et al. 2018, JMLR 18(185)), begun anew each generation. Seeds for whoever looks best, and only for those, are the
    idea of racing (Maron & Moore 1997, AI Review 11) without its tests: a lucky member of the front is found out, while
    one that was unlucky and left the front is not. The order of rank and crowding in both places, and how they are
    joined with NSGA-II (Deb et al. 2002, IEEE TEVC 6(2)), are ours.

    Rungs are scored with the first training seed too. The first population is scored in full with it. Each request is
    an evaluation of the termination, whatever it costs. Where a problem has neither rungs nor seeds, this is pymoo's
    NSGA2, draw for draw. Problems are told the contexts by :mod:`moprune.search`; pymoo's own evaluator scores every
    request in full.

    Args:
        pop_size: size of the population, >= 4.
        factor: children for each one that is scored in full, >= 2; of use where there are rungs.
        **kwargs: of pymoo's NSGA2, such as ``n_offsprings`` (by default as many as the population) and operators.

    Raises:
        UsageError: the factor is below 2.
    """

    pop: Any  # pymoo declares these as possibly None, which they are only before the run
    random_state: Any
    problem: Any
    termination: Any

    def __init__(self, pop_size: int = 50, *, factor: int = 3, **kwargs: Any) -> None:
        super().__init__(pop_size=pop_size, **kwargs)
        if factor < 2:
            raise UsageError(f"factor, the children for each one promoted, must be >= 2, not {factor}; use nsga2 for 1")
        self.factor = factor
        self.step = 0  # of the generation: as many as there are rungs, then the full score, then more training seeds
        self.children = Population.empty()  # as scored in the step before

    def _setup(self, problem: Problem, **_: Any) -> None:
        self.rungs, self.seeds = int(getattr(problem, "rungs", 0)), int(getattr(problem, "seeds", 1))

    def _initialize_infill(self) -> Population:
        first = super()._initialize_infill()
        first.set("context", [self._context(seeds=1)] * len(first))
        return first

    def _infill(self) -> Population | None:
        if self.step > self.rungs:
            return self._again()
        if self.step > 0:
            return self._promoted()
        return self._mated()

    def _advance(self, infills: Population | None = None, **kwargs: Any) -> None:
        if infills is None:
            return  # no child could be made, and the search ends
        if self.step < self.rungs:
            self.children, self.step = infills, self.step + 1
        elif self.step == self.rungs:
            super()._advance(infills, **kwargs)
            self.step = self.step + 1 if self._uncertain() else 0
        else:
            for place, scored in zip(self._uncertain(), infills, strict=True):
                self.pop[place] = scored
            self.pop, self.step = self._best(self.pop, len(self.pop)), 0

    def _mated(self) -> Population | None:
        """Returns new children for the first step; None, and the search ends, if no more can be made."""
        wanted = self.n_offsprings * (self.factor if self.rungs else 1)
        children = self.mating.do(
            self.problem, self.pop, wanted, algorithm=self, random_state=self.random_state
        )  # fmt: skip
        if not len(children):
            self.termination.force_termination = True
            return None
        children.set("context", [self._context(seeds=1, rung=0 if self.rungs else None)] * len(children))
        return children

    def _promoted(self) -> Population:
        """Returns the best children of the step before, to be scored anew on the next rung, or in full."""
        rung = self.step if self.step < self.rungs else None
        share = self.factor ** (1 - self.step / self.rungs)  # rounded below, since powers are not exact
        wanted = math.ceil(round(self.n_offsprings * share, 6))
        best = self._best(self.children, min(wanted, len(self.children)))
        return _anew(best, [self._context(seeds=1, rung=rung)] * len(best))

    def _again(self) -> Population:
        """Returns the uncertain members of the first front, to be scored with one more training seed."""
        members = self.pop[self._uncertain()]
        return _anew(members, [self._context(seeds=self._known(member) + 1) for member in members])

    def _uncertain(self) -> list[int]:
        """Returns the places of members of the first front that are known from fewer than all training seeds."""
        return [i for i, each in enumerate(self.pop) if each.get("rank") == 0 and self._known(each) < self.seeds]

    def _known(self, member: Individual) -> int:
        """Returns how many training seeds a member's values rest on."""
        return (member.get("context") or PLAIN).seeds or self.seeds

    def _context(self, seeds: int, rung: int | None = None) -> Context:
        return Context(rung=rung, seeds=seeds if self.seeds > 1 else None)

    def _best(self, scored: Population, count: int) -> Population:
        """Returns so many of the scored by non-dominated rank, then crowding, both noted with each."""
        return self.survival.do(
            self.problem, scored, n_survive=count, algorithm=self, random_state=self.random_state
        )  # fmt: skip


def _anew(scored: Population, contexts: list[Context]) -> Population:
    """Returns candidates with the same genomes that are not scored yet."""
    return Population.new("X", [individual.X for individual in scored], "context", contexts)
