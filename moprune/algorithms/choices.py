"""Operators for vectors in which some variables are choices, of which the whole part counts, and others continuous.

A choice among k is a number in [0, k], its whole part the number of the choice and k itself like what is just below.
SBX and polynomial mutation would take a step from one choice to its neighbours, as if their order were a distance.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.crossover.ux import UX
from pymoo.operators.mutation.pm import PM

from moprune.errors import UsageError

Mask = NDArray[np.bool_]
Rows = NDArray[np.float64]


class ChoiceCrossover(Crossover):
    """Uniform crossover of choices, SBX (eta 15, as in NSGA-II) of all other variables.

    Args:
        choices: bool ``(n_var,)``, which variables are choices.
    """

    def __init__(self, choices: Mask) -> None:
        super().__init__(2, 2, prob=0.9)
        self.choices, self._uniform, self._sbx = choices, UX(), SBX(eta=15)

    def _do(self, problem: Problem, X: Rows, *_: Any, random_state: np.random.Generator, **__: Any) -> Rows:
        children = np.empty_like(X)
        continuous = ~self.choices
        children[..., self.choices] = self._uniform._do(problem, X[..., self.choices], random_state=random_state)
        part = _part(problem, continuous)
        children[..., continuous] = self._sbx._do(part, X[..., continuous], random_state=random_state)
        return children


class ChoiceMutation(Mutation):
    """Draws choices anew, uniformly; polynomial mutation (eta 20) of all other variables.

    A genome is mutated at all with probability 0.9, and then each of its D variables with 1/D, as in pymoo's NSGA-II.

    Args:
        choices: bool ``(n_var,)``, which variables are choices.
    """

    def __init__(self, choices: Mask) -> None:
        super().__init__(prob=0.9)
        self.choices = choices
        self._polynomial = PM(eta=20, prob_var=min(0.5, 1 / len(choices)))

    def _do(self, problem: Problem, X: Rows, *_: Any, random_state: np.random.Generator, **__: Any) -> Rows:
        mutants = X.copy()
        continuous = ~self.choices
        part = _part(problem, continuous)
        mutants[:, continuous] = self._polynomial._do(part, X[:, continuous], random_state=random_state)
        shape = (len(X), int(self.choices.sum()))
        drawn = random_state.uniform(problem.xl[self.choices], problem.xu[self.choices], shape)
        moved = random_state.random(shape) < self.get_prob_var(problem)
        mutants[:, self.choices] = np.where(moved, drawn, X[:, self.choices])
        return mutants


class ChoiceRepair(Repair):
    """Puts each choice in the middle of its range: genomes with equal choices are equal, and eliminated as duplicates.

    Args:
        choices: bool ``(n_var,)``, which variables are choices.
    """

    def __init__(self, choices: Mask) -> None:
        super().__init__()
        self.choices = choices

    def _do(self, problem: Problem, X: Rows, **_: Any) -> Rows:
        repaired = X.copy()
        whole = np.minimum(np.floor(X[:, self.choices]), problem.xu[self.choices] - 1)
        repaired[:, self.choices] = whole + 0.5
        return repaired


def choice_operators(problem: Problem, choices: ArrayLike) -> dict[str, Any]:
    """Returns ``crossover``, ``mutation`` and ``repair`` for a problem of which some variables are choices.

    Args:
        problem: of real numbers within bounds; those of choices are 0 and a whole number >= 1.
        choices: bool ``(n_var,)``, which variables are choices.

    Raises:
        UsageError: the mask does not fit, or a choice has other bounds.
    """
    mask = np.asarray(choices)
    if mask.dtype != np.bool_ or mask.shape != (problem.n_var,):
        raise UsageError(
            f"choices must be {problem.n_var} truth values, one a variable, not {mask.dtype} of shape {mask.shape}"
        )
    lower, upper = problem.xl[mask], problem.xu[mask]
    if (lower != 0).any() or (upper < 1).any() or (upper % 1 != 0).any():
        raise UsageError("a variable among choices has bounds other than 0 and a whole number >= 1; correct choices")
    return {"crossover": ChoiceCrossover(mask), "mutation": ChoiceMutation(mask), "repair": ChoiceRepair(mask)}


def _part(problem: Problem, variables: Mask) -> Problem:
    """Returns what pymoo's operators have to know of a problem with some of the variables alone."""
    return Problem(n_var=int(variables.sum()), xl=problem.xl[variables], xu=problem.xu[variables])
