"""SHADE and its descendants against mealpy's, whose figures ``tests/oracles/mealpy_reference.py`` makes.

mealpy 3.0.3 departs from the papers; where it does, so do the classes below, which change nothing else:

* SHADE: the archive keeps the vectors that won, not the parents they replaced; what is beyond a bound is put on it; the
  number of the best that pbest is drawn from is rounded down.
* L-SHADE: the population never falls. A number that falls from 100 to 20 stands for its size in three places: pbest is
  drawn from 15 to 20 % of that many; only so many slots of the memory are written; and members of higher numbers have
  no weight in its means (if no others won, F becomes 0.5 and CR 0). H is 100, and the mean of CR is arithmetic. Archive
  and bounds are as in its SHADE.
* LSHADE-cnEpSin: its sinusoids take one period or less over the whole search, a trial takes its parent's place at once,
  the archive begins with the first population, memories of frequencies do not learn. What it shares with LSHADE-EpSin
  is a falling population and an ensemble of sinusoids, so that ours is held to be no worse.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from pymoo.core.problem import Problem
from pymoo.optimize import minimize
from pymoo.problems.single import Ackley, Griewank, Rastrigin, Rosenbrock, Sphere
from scipy.stats import mannwhitneyu

from moprune.algorithms.adaptive_de import LSHADE, SHADE, LSHADEEpSin
from moprune.algorithms.adaptive_de.mutations import current_to_pbest
from moprune.algorithms.adaptive_de.parameters import cauchy, normal

REFERENCE = json.loads((Path(__file__).parents[2] / "oracles" / "mealpy_reference.json").read_text())
BEST, MEMBERS, EVALUATIONS = REFERENCE["best"], REFERENCE["members"], REFERENCE["evaluations"]
LEVEL, SEEDS = 0.05 / 10, 6  # of ten comparisons with mealpy, a twentieth together

FORMULAS = {
    "sphere": Sphere(REFERENCE["D"])._evaluate,
    "rosenbrock": Rosenbrock(REFERENCE["D"])._evaluate,
    "rastrigin": Rastrigin(REFERENCE["D"])._evaluate,
    "ackley": Ackley(REFERENCE["D"])._evaluate,
    "griewank": Griewank(REFERENCE["D"])._evaluate,
}


class Function(Problem):
    def __init__(self, name):
        half = REFERENCE["boxes"][name]
        super().__init__(n_var=REFERENCE["D"], n_obj=1, xl=-half, xu=half)
        self.formula = FORMULAS[name]
        if name == "sphere":  # pymoo's lies at 0.5
            self.formula = lambda X, out: out.update(F=(X**2).sum(axis=1))

    def _evaluate(self, X, out, *_, **__):
        self.formula(X, out)


class MealpysSHADE(SHADE):
    def _elite(self):
        return np.floor(self.random_state.uniform(2, 0.2 * MEMBERS, size=MEMBERS)).astype(np.int64)

    def _mutate(self):
        slots = self.memory_F.slots(self.random_state, MEMBERS)
        self.CR = normal(self.random_state, self.memory_CR.values[slots])
        self.F = cauchy(self.random_state, self.memory_F.values[slots])
        archived = len(self.past.rows)
        return current_to_pbest(self.random_state, self.F, self._ranked(), self._elite(), archived), self.CR

    def _learn(self, outcome):
        won = np.flatnonzero(outcome.improved)
        self.past.add([self.pop[i].X for i in won], MEMBERS, self.random_state)
        self._remember(won, outcome.gains[won])

    def _remember(self, won, gains):
        self.memory_F.record(self.F[won], gains)
        self.memory_CR.record(self.CR[won], gains)


class MealpysLSHADE(MealpysSHADE):
    generation = 0

    def _size_it_should_have(self):
        return round(MEMBERS + self.generation * (MEMBERS // 5 - MEMBERS) / (EVALUATIONS // MEMBERS))

    def _elite(self):
        share = self.random_state.uniform(0.15, 0.2, size=MEMBERS)
        return np.ceil(share * self._size_it_should_have()).astype(np.int64)

    def _remember(self, won, gains):
        size = self._size_it_should_have()
        weights = np.where(won < size, gains, 0.0)
        if len(won):
            for memory, values, otherwise in ((self.memory_F, self.F, 0.5), (self.memory_CR, self.CR, 0.0)):
                if weights.sum():
                    memory.record(values[won], weights)
                else:
                    memory.values[memory.next] = otherwise
                    memory.next += 1
                if memory.next >= size:
                    memory.next = 0
        self.generation += 1


def clip(points, inside, lower, upper):
    np.clip(points, lower, upper, out=points)


def reached(make, name):
    """Returns the least values of our runs; the last generation ends with the evaluations."""
    return [minimize(Function(name), make(), ("n_eval", EVALUATIONS), seed=seed).F[0] for seed in range(SEEDS)]


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(("make", "theirs"), [(MealpysSHADE, "SHADE"), (MealpysLSHADE, "L-SHADE")])
def test_what_is_reached_is_distributed_as_mealpys(make, theirs, name, monkeypatch):
    monkeypatch.setattr("moprune.algorithms.adaptive_de.trials.repair_midpoint", clip)
    ours = reached(lambda: make(MEMBERS), name)
    assert mannwhitneyu(ours, BEST[theirs][name]).pvalue > LEVEL


@pytest.mark.parametrize("name", FORMULAS)
def test_the_comparison_tells_l_shade_as_published_from_mealpys(name):
    """Where the population does fall, far less is reached: the same test rejects."""
    ours = reached(lambda: LSHADE(MEMBERS), name)
    assert mannwhitneyu(ours, BEST["L-SHADE"][name], alternative="less").pvalue < LEVEL


@pytest.mark.parametrize("name", FORMULAS)
def test_lshade_epsin_is_no_worse_than_mealpys_without_its_covariance_crossover(name):
    ours = reached(lambda: LSHADEEpSin(MEMBERS, walk=0), name)
    assert mannwhitneyu(ours, BEST["LSHADE-cnEpSin"][name], alternative="greater").pvalue > LEVEL
