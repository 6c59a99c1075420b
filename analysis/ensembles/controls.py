"""What an ensemble of front members has to beat: as many unpruned heads, and as many random masks."""

from collections.abc import Callable, Sequence

import numpy as np

from analysis.ensembles.comparison import Controls
from analysis.members import Members, predict
from moprune.problem import SearchProblem
from moprune.search import Run
from moprune.seeding import derive, numpy_generator
from problems.pruning import PruningProblem

SPLITS = ("select", "test")

Observer = Callable[[str, int, int], None]
"""Called with (what is trained, how many are, of how many)."""


def make_controls(random: Run | None, problem: SearchProblem, size: int, observe: Observer | None = None) -> Controls:
    """Trains the controls of one run seed.

    Args:
        random: the run's random masks; None where it has none.
        problem: the problem of that seed; only one of pruning has unpruned heads.
        size: members of an ensemble.
        observe: told how the training goes on.
    """
    unpruned = unpruned_heads(problem, size, observe=observe) if isinstance(problem, PruningProblem) else None
    if random is None:
        return Controls(unpruned)
    front = _predicted(random, random.front_index(), "front of the random masks", observe)
    return Controls(unpruned, drawn_masks(random, size, observe=observe), front)


def unpruned_heads(
    problem: PruningProblem, count: int, splits: Sequence[str] = SPLITS, observe: Observer | None = None
) -> Members:
    """Returns unpruned heads that differ in initial weights and order of batches; the first is the run's own.

    The others have run seeds derived from the problem's, so that more heads begin with the same ones.
    """
    everything = np.ones((1, problem.n_var), dtype=bool)
    parts = []
    for i in range(count):
        other = problem if i == 0 else problem.reseeded(derive(problem.seed, "unpruned ensemble", i))
        parts.append(predict(other, [f"{problem.seed}-unpruned-{i + 1}"], everything, splits))
        if observe is not None:
            observe("unpruned heads", i + 1, count)
    return Members(
        problem,
        tuple(each.solutions[0] for each in parts),
        np.concatenate([each.genomes for each in parts]),
        {split: tuple(each.outcomes[split][0] for each in parts) for split in splits},
    )


def drawn_masks(random: Run, count: int, splits: Sequence[str] = SPLITS, observe: Observer | None = None) -> Members:
    """Returns masks drawn blindly from all that a random search evaluated, fewer if it has not so many."""
    total = len(random.genomes())
    order = numpy_generator(random.seed, "random ensemble").permutation(total)
    return _predicted(random, order[:count], "random masks", observe, splits)


def _predicted(
    run: Run, rows: np.ndarray, what: str, observe: Observer | None, splits: Sequence[str] = SPLITS
) -> Members:
    solutions = run.history()["solution"].iloc[rows].tolist()
    report = None if observe is None else lambda done, total: observe(what, done, total)
    return predict(run.problem, solutions, run.genomes()[rows], splits, report)
