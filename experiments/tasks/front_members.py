"""Networks made of all members of a front: the mean of their weights, or of their predictions."""

from moprune.population.tuning import Tuned
from moprune.problem import Genomes
from problems.refinement.members import averaged
from problems.selection import trained
from problems.selection.problem import Fitted, SelectionProblem


def front_soup(problem: SelectionProblem, genomes: Genomes) -> Fitted:
    """Returns the mean of the weights of a front's members (Wortsman et al. 2022, a uniform soup).

    All were trained with the first training seed, so that a new classifier started from the same values in each. What
    one of them changed by factors of low rank differs in full in the mean.

    Args:
        problem: the problem they solve.
        genomes: of the members, ``(k, n_var)``, k >= 1.
    """
    states = [tuned.state for tuned, *_ in _members(problem, genomes)]
    predictors = ((averaged(problem.base, states),),) if states else ()
    return Fitted(predictors, names=_trained(problem, genomes))


def front_ensemble(problem: SelectionProblem, genomes: Genomes) -> Fitted:
    """Returns what predicts the mean of the probabilities of a front's members, once for each training seed.

    Args:
        problem: the problem they solve.
        genomes: of the members, ``(k, n_var)``, k >= 1.
    """
    members = _members(problem, genomes)
    predictors = tuple(tuple(tuned.state for tuned in seed) for seed in zip(*members, strict=True))
    return Fitted(predictors, names=_trained(problem, genomes), copies=len(members))


def _members(problem: SelectionProblem, genomes: Genomes) -> list[list[Tuned]]:
    """Returns each member as trained with each training seed; those that train nothing or diverged are left out."""
    return [member for member in problem.fitted(genomes) if member and all(tuned.finite for tuned in member)]


def _trained(problem: SelectionProblem, genomes: Genomes) -> tuple[str, ...]:
    """Returns the parameters that any member trains."""
    parts = [trained(problem.base, problem.units, tuning) for tuning in problem.tunings(genomes)]
    return tuple(dict.fromkeys(name for whole, ranks in parts for name in (*whole, *ranks)))
