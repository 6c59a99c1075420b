"""A finished run opened again: its tables, and its problem and log where an analysis needs more than tables."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from analysis.consensus import STAGE as CONSENSUS
from analysis.members import Members, predict
from experiments.build import FeatureProgress, build_problem
from experiments.result import Result, load_result
from experiments.run_folder import open_finished
from moprune.errors import UsageError
from moprune.log import EvaluationLog
from moprune.problem import Genomes, SearchProblem
from moprune.search import Run
from problems.pruning import PruningProblem


class FinishedRun:
    """A finished run.

    Its problem is built when first asked for (the data are opened again, the features come from the cache), its log is
    read without a lock.

    Args:
        result: its tables and summary.
        log: its evaluation log, opened to be read.
        on_features: told of features that have to be computed again.
    """

    def __init__(self, result: Result, log: EvaluationLog, on_features: FeatureProgress | None = None) -> None:
        self.result = result
        self.log = log
        self._on_features = on_features
        self._problem: PruningProblem | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """The run seeds."""
        return self.result.config.seeds

    def problem(self, seed: int | None = None) -> SearchProblem:
        """Returns the problem of a run seed, by default the first."""
        if self._problem is None:
            self._problem = build_problem(self.result.config, self.seeds[0], self._on_features)
        return self._problem.reseeded(self.seeds[0] if seed is None else seed)

    def search(self, seed: int, stage: str = "search") -> Run:
        """Returns the search (or the control of that stage) of a seed, with its history and genomes."""
        return Run(self.problem(seed), self.log, seed, stage)

    def genomes(self, solutions: Sequence[str]) -> Genomes:
        """Returns the genomes of solution ids of any seed and stage, ``(n, n_var)``.

        Raises:
            UsageError: an id that this run does not have.
        """
        runs: dict[str, Run] = {}
        for seed in self.seeds:
            for stage in ("search", CONSENSUS, "random"):
                run = self.search(seed, stage)
                runs[run.prefix] = run
        genomes: list[Genomes] = []
        for solution in solutions:
            prefix = solution[: solution.rfind("-") + 1]
            if prefix not in runs:
                raise UsageError(f"no solution {solution!r} in this run (ids begin with {', '.join(sorted(runs))})")
            genomes.append(runs[prefix].genome(solution))
        stacked: Genomes = np.stack(genomes)
        return stacked

    def members(self, seed: int, splits: Sequence[str] = ("select", "test")) -> Members:
        """Returns the front of a seed with its predictions."""
        front = self.result.front
        solutions = front[front["seed"] == seed]["solution"].tolist()
        return predict(self.problem(seed), solutions, self.genomes(solutions), splits)


def seed_of(solution: str) -> int:
    """Returns the run seed of a solution id, such as ``1-17``, ``c1-0`` or ``r1-3`` (see :attr:`Run.prefix`)."""
    return int(solution[: solution.rfind("-")].lstrip("cr"))


@contextmanager
def opened(path: Path, on_features: FeatureProgress | None = None) -> Iterator[FinishedRun]:
    """Opens the run in a folder and closes it again.

    Raises:
        UsageError: there is no run, or it has not ended.
    """
    result = load_result(open_finished(path))
    with EvaluationLog(result.folder.log, read_only=True) as log:
        yield FinishedRun(result, log, on_features)
