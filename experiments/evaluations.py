"""Every evaluation of a finished run as one table, from its folder alone: neither data nor network are opened."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from analysis.fronts import SPLITS
from experiments.finished import STAGES, FinishedRun
from moprune.errors import MopruneError, UsageError
from moprune.problem import Genomes, Outcomes, SearchProblem
from moprune.search import Run


def evaluations(run: FinishedRun) -> pd.DataFrame:
    """Returns what every seed and stage evaluated, in order, a row a genome at its first request.

    Columns: ``solution``, ``seed``, ``stage`` (``search``, ``consensus`` or ``random``), ``profile`` (``paper``:
    members were selected on the test, so that its figures are optimistic), ``generation`` (from 0), ``seconds`` (its
    share of the batch), each objective as ``<objective>_search`` in natural units, what the task says of genomes (of
    masks ``bits_on``, ``share_on`` and ``share_on_<layer>`` for each layer they cover, in [0, 1]; of weights
    ``distance`` from the start, see :meth:`experiments.tasks.TaskKind.columns`), ``on_front`` (of its seed and stage),
    and for those on it ``<objective>_select`` and ``<objective>_test``, else NaN; likewise what is reported beside the
    objectives, on all three splits.
    """
    problem = _Recorded(run)
    tables = []
    for seed in run.seeds:
        for stage in STAGES:
            recorded = Run(problem, run.log, seed, stage)
            history = recorded.history()
            if not len(history):
                continue
            history.insert(1, "seed", seed)
            history.insert(2, "stage", stage)
            history.insert(3, "profile", run.result.summary["profile"])
            tables.append(pd.concat([history, _columns(run, recorded)], axis=1))
    table = pd.concat(tables, ignore_index=True)
    assessed = pd.concat([run.result.front, run.result.controls], ignore_index=True)
    later = [f"{o.name}_{split}" for o in problem.objectives for split in SPLITS[1:]]
    later += [f"{o.name}_{split}" for o in problem.reported for split in SPLITS]
    table["on_front"] = table["solution"].isin(assessed["solution"])
    return table.merge(assessed[["solution", *later]], on="solution", how="left", validate="1:1")


def _columns(run: FinishedRun, recorded: Run) -> pd.DataFrame:
    """Returns what the task says of each genome; nothing where they were too long to be logged."""
    try:
        genomes = recorded.genomes()
    except UsageError:
        return pd.DataFrame()
    return run.kind.columns(genomes, recorded.problem.fingerprint())


class _Recorded(SearchProblem):
    """A run's problem as far as its log tells: its objectives. It scores nothing."""

    def __init__(self, run: FinishedRun) -> None:
        fingerprint = run.log.meta("fingerprint")
        if fingerprint is None:
            raise MopruneError(f"{run.result.folder.log} holds no run")
        self._fingerprint: dict[str, Any] = fingerprint["problem"]
        super().__init__(n_var=1, boolean=False, objectives=run.result.objectives, reported=run.result.reported)

    def outcomes(self, X: Genomes, splits: Sequence[str]) -> Iterator[Outcomes]:  # noqa: ARG002
        """Raises: the data and the network are not here."""
        raise MopruneError("a recorded problem scores nothing; use FinishedRun.problem")

    def fingerprint(self) -> dict[str, Any]:
        """Returns what the log was made with."""
        return self._fingerprint
