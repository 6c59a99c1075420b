"""Candidates of refinement drawn blindly, for the control that any search has to beat."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling
from pymoo.operators.sampling.rnd import FloatRandomSampling

from moprune.errors import UsageError
from problems.refinement.genomes import Genotype, Mixing

Draw = Callable[[np.random.Generator], NDArray[np.float64]]


class Drawn(Sampling):
    """Genomes drawn one by one, all alike.

    Args:
        draw: returns a genome ``(n_var,)``.
    """

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.draw = draw

    def _do(
        self, problem: Problem, n_samples: int, *_: Any, random_state: np.random.Generator, **__: Any
    ) -> NDArray[Any]:
        return np.array([self.draw(random_state) for _ in range(n_samples)], dtype=problem.dtype)


def drawn(genotype: Genotype, first: NDArray[Any]) -> Sampling:
    """Returns how candidates are drawn blindly, in the way that suits what variables are.

    Shares of members come from a flat Dirichlet distribution over start and members, in each group anew: a box of them
    is almost all beyond the members. Other boxes are drawn from uniformly. Without bounds, candidates are means of the
    first population with shares from a flat Dirichlet distribution.

    Args:
        genotype: what variables are.
        first: the first population, ``(k, n_var)``.

    Raises:
        UsageError: there are neither bounds nor two genomes to mix.
    """
    if isinstance(genotype, Mixing):
        groups, members = len(genotype.groups), len(genotype.members)
        return Drawn(lambda random: random.dirichlet(np.ones(members + 1), groups)[:, 1:].ravel())
    if np.isfinite(genotype.lower).all() and np.isfinite(genotype.upper).all():
        return FloatRandomSampling()
    if len(first) < 2:
        raise UsageError(
            "control random: nothing bounds the weights and there are no members; give refinement.delta or members, "
            "or leave the control out"
        )
    return Drawn(lambda random: random.dirichlet(np.ones(len(first))) @ first)
