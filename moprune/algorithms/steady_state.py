"""The steady-state genetic algorithm of EvoPruneDeepTL, for bits and one objective."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.algorithm import Algorithm
from pymoo.core.individual import Individual
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling

from moprune.algorithms.sampling import DensitySampling
from moprune.errors import UsageError

Bits = NDArray[np.bool_]


class SteadyStateGA(Algorithm):
    """Two parents, two children, and the best of children and worst two members stay (arXiv 2202.03844, section 4).

    The first parent is drawn at random; the second is, of three drawn at random, the one farthest from the first in
    Hamming distance (negative assortative mating). Uniform crossover makes two complementary children; each has one
    random bit flipped with probability ``p_mutation``. Of two children and the two worst members the best two stay;
    ties go to the genome with fewer bits on, of the best ones found too. This is the paper's algorithm: the released
    code asks a child to be strictly better, and each generation puts a copy of the best member in the worst one's
    place. A genome asked for again is answered from the log; it counts as an evaluation, as it does not there.

    Args:
        pop_size: size of the population, >= 4.
        p_mutation: probability that a child has one bit flipped, in [0, 1].
        candidates: genomes the second parent is chosen from, >= 1.
        sampling: the first population; by default masks of every density.
    """

    pop: Any  # pymoo declares both as possibly None, which they are only before the run
    random_state: Any

    def __init__(
        self,
        pop_size: int = 30,
        *,
        p_mutation: float = 0.07,
        candidates: int = 3,
        sampling: Sampling | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if pop_size < 4 or candidates < 1 or not 0 <= p_mutation <= 1:
            raise UsageError(
                f"SteadyStateGA needs pop_size >= 4, candidates >= 1 and p_mutation in [0, 1], not {pop_size}, "
                f"{candidates} and {p_mutation}"
            )
        self.pop_size, self.p_mutation, self.candidates = pop_size, p_mutation, candidates
        self.sampling = sampling or DensitySampling()

    def _setup(self, problem: Problem, **_: Any) -> None:
        refuse_unless_one_objective_of_bits(problem)

    def _initialize_infill(self) -> Population:
        return self.sampling.do(self.problem, self.pop_size, random_state=self.random_state)

    def _initialize_advance(self, infills: Population | None = None, **_: Any) -> None:
        self.pop = infills

    def _infill(self) -> Population:
        X = self.pop.get("X")
        first = int(self.random_state.integers(len(X)))
        others = np.delete(np.arange(len(X)), first)
        drawn = self.random_state.choice(others, size=min(self.candidates, len(others)), replace=False)
        second = int(drawn[np.argmax((X[drawn] != X[first]).sum(axis=1))])
        children = uniform_crossover(X[first], X[second], self.random_state)
        return Population.new("X", np.stack([self._mutated(child) for child in children]))

    def _mutated(self, child: Bits) -> Bits:
        if self.random_state.random() < self.p_mutation:
            place = self.random_state.integers(len(child))
            child[place] = not child[place]
        return child

    def _advance(self, infills: Population | None = None, **_: Any) -> None:
        order = sorted(range(len(self.pop)), key=lambda i: _rank(self.pop[i]))
        keep, worst = order[:-2], order[-2:]
        pool = Population.merge(infills, self.pop[worst])
        # A stable sort with the children first: a child that equals a member takes its place.
        best = sorted(range(len(pool)), key=lambda i: _rank(pool[i]))[:2]
        self.pop = Population.merge(self.pop[keep], pool[best])

    def _set_optimum(self) -> None:
        self.opt = self.pop[[min(range(len(self.pop)), key=lambda i: _rank(self.pop[i]))]]


def refuse_unless_one_objective_of_bits(problem: Problem) -> None:
    """Raises a UsageError for a problem that :class:`SteadyStateGA` cannot search."""
    if problem.n_obj != 1 or problem.vtype is not bool:
        raise UsageError(
            f"SteadyStateGA (ssga) searches bits for one objective; this problem has {problem.n_obj} objectives of "
            f"{'bits' if problem.vtype is bool else 'numbers'}: use nsga2, or name one objective"
        )


def uniform_crossover(a: Bits, b: Bits, random_state: np.random.Generator) -> tuple[Bits, Bits]:
    """Returns two complementary children: each gene comes from either parent with probability one half."""
    swap = random_state.random(len(a)) < 0.5
    return np.where(swap, b, a), np.where(swap, a, b)


def _rank(individual: Individual) -> tuple[float, int]:
    return float(individual.F[0]), int(np.sum(individual.X))
