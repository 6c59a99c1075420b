"""A finished run opened again: its tables, and its problem and log where an analysis needs more than tables."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from analysis.consensus import STAGE as CONSENSUS
from analysis.members import Members, predict
from experiments import factories
from experiments.result import Result, load_result
from experiments.run_folder import open_finished
from experiments.tasks import Working
from experiments.tasks.kind import quietly
from moprune.errors import UsageError
from moprune.log import EvaluationLog
from moprune.problem import Genomes, SearchProblem
from moprune.search import Run

STAGES = ("search", CONSENSUS, "random")
"""The stages that a log may hold."""


class FinishedRun:
    """A finished run.

    Its problem is built when first asked for (the data are opened again, the features come from the cache), its log is
    read without a lock.

    Args:
        result: its tables and summary.
        log: its evaluation log, opened to be read.
        working: told of what has to be computed again, features for one.
    """

    def __init__(self, result: Result, log: EvaluationLog, working: Working = quietly) -> None:
        self.result = result
        self.kind = result.kind
        self.log = log
        self._working = working

    @property
    def seeds(self) -> tuple[int, ...]:
        """The run seeds."""
        return self.result.config.seeds

    def problem(self, seed: int | None = None) -> SearchProblem:
        """Returns the problem of a run seed, by default the first.

        Raises:
            UsageError: its network is made by a function that the person has not named.
        """
        factories.check(self.result.config.network.arch, self.result.folder.path)
        return self.kind.problem(self.seeds[0] if seed is None else seed, self._working)

    def search(self, seed: int, stage: str = "search") -> Run:
        """Returns the search (or the control of that stage) of a seed, with its history and genomes."""
        return Run(self.problem(seed), self.log, seed, stage)

    def genomes(self, solutions: Sequence[str]) -> Genomes:
        """Returns the genomes of solution ids of any seed and stage, ``(n, n_var)``.

        Raises:
            UsageError: an id that this run does not have.
        """
        places = {_prefix(seed, stage): (seed, stage) for seed in self.seeds for stage in STAGES}
        runs: dict[str, Run] = {}
        genomes: list[Genomes] = []
        for solution in solutions:
            prefix = solution[: solution.rfind("-") + 1]
            if prefix not in places:
                raise UsageError(f"no solution {solution!r} in this run (ids begin with {', '.join(sorted(places))})")
            if prefix not in runs:
                runs[prefix] = self.search(*places[prefix])
            genomes.append(runs[prefix].genome(solution))
        stacked: Genomes = np.stack(genomes)
        return stacked

    def members(self, seed: int, splits: Sequence[str] = ("select", "test")) -> Members:
        """Returns the front of a seed with its predictions."""
        front = self.result.front
        solutions = front[front["seed"] == seed]["solution"].tolist()
        return predict(self.problem(seed), solutions, self.genomes(solutions), splits)


def _prefix(seed: int, stage: str) -> str:
    """Returns what :attr:`moprune.search.Run.prefix` is, without the problem."""
    return f"{'' if stage == 'search' else stage[0]}{seed}-"


def seed_of(solution: str) -> int:
    """Returns the run seed of a solution id, such as ``1-17``, ``c1-0`` or ``r1-3`` (see :attr:`Run.prefix`)."""
    return int(solution[: solution.rfind("-")].lstrip("cr"))


@contextmanager
def opened(path: Path, working: Working = quietly) -> Iterator[FinishedRun]:
    """Opens the run in a folder and closes it again.

    Raises:
        UsageError: there is no run, or it has not ended.
    """
    result = load_result(open_finished(path))
    with EvaluationLog(result.folder.log, read_only=True) as log:
        yield FinishedRun(result, log, working)
