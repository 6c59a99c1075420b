"""Every evaluation of a finished run as one table, from its folder alone: neither data nor network are opened."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.consensus import STAGE as CONSENSUS
from analysis.fronts import SPLITS
from experiments.finished import FinishedRun
from moprune.errors import MopruneError
from moprune.networks.heads import HeadSpec
from moprune.problem import Genomes, Outcomes, SearchProblem
from moprune.search import Run
from problems.pruning.encodings import Encoding

STAGES = ("search", CONSENSUS, "random")


def evaluations(run: FinishedRun) -> pd.DataFrame:
    """Returns what every seed and stage evaluated, in order, a row a genome at its first request.

    Columns: ``solution``, ``seed``, ``stage`` (``search``, ``consensus`` or ``random``), ``profile`` (``paper``:
    members were selected on the test, so that its figures are optimistic), ``generation`` (from 0), ``seconds`` (its
    share of the batch), each objective as ``<objective>_search`` in natural units, ``bits_on``, ``share_on`` and
    ``share_on_<layer>`` for each layer the genome covers (in [0, 1]), ``on_front`` (of its seed and stage), and for
    those on it ``<objective>_select`` and ``<objective>_test``, else NaN; likewise what is reported beside the
    objectives, on all three splits.
    """
    problem = _Recorded(run)
    tables = []
    for seed in run.seeds:
        for stage in STAGES:
            recorded = Run(problem, run.log, seed, stage)
            history, genomes = recorded.history(), recorded.genomes()
            if not len(history):
                continue
            history.insert(1, "seed", seed)
            history.insert(2, "stage", stage)
            history.insert(3, "profile", run.result.summary["profile"])
            tables.append(pd.concat([history, _summaries(genomes, problem.encoding)], axis=1))
    table = pd.concat(tables, ignore_index=True)
    assessed = pd.concat([run.result.front, run.result.controls], ignore_index=True)
    later = [f"{o.name}_{split}" for o in problem.objectives for split in SPLITS[1:]]
    later += [f"{o.name}_{split}" for o in problem.reported for split in SPLITS]
    table["on_front"] = table["solution"].isin(assessed["solution"])
    return table.merge(assessed[["solution", *later]], on="solution", how="left", validate="1:1")


def layer_names(encoding: Encoding) -> list[str]:
    """Returns a name for each layer a genome covers: ``features``, ``hidden_1``, or ``connections_1`` into it."""
    if encoding.edges:
        return [f"connections_{layer}" for layer in encoding.layers]
    return ["features" if layer == 0 else f"hidden_{layer}" for layer in encoding.layers]


def _summaries(genomes: Genomes, encoding: Encoding) -> pd.DataFrame:
    parts = np.split(genomes, np.cumsum(encoding.widths)[:-1], axis=1)
    return pd.DataFrame(
        {
            "bits_on": genomes.sum(axis=1),
            "share_on": genomes.mean(axis=1),
            **{f"share_on_{n}": part.mean(axis=1) for n, part in zip(layer_names(encoding), parts, strict=True)},
        }
    )


class _Recorded(SearchProblem):
    """A run's problem as far as its log tells: objectives and encoding. It scores nothing."""

    def __init__(self, run: FinishedRun) -> None:
        fingerprint = run.log.meta("fingerprint")
        if fingerprint is None:
            raise MopruneError(f"{run.result.folder.log} holds no run")
        self._fingerprint: dict[str, Any] = fingerprint["problem"]
        head = self._fingerprint["head"]
        spec = HeadSpec(**{**head, "hidden": tuple(head["hidden"])})
        self.encoding = Encoding(spec, tuple(self._fingerprint["layers"]), self._fingerprint["edges"])
        super().__init__(
            n_var=self.encoding.length, boolean=True,
            objectives=run.result.objectives, reported=run.result.reported,
        )  # fmt: skip

    def outcomes(self, X: Genomes, splits: Sequence[str]) -> Iterator[Outcomes]:  # noqa: ARG002
        """Raises: the data and the network are not here."""
        raise MopruneError("a recorded problem scores nothing; use FinishedRun.problem")

    def fingerprint(self) -> dict[str, Any]:
        """Returns what the log was made with."""
        return self._fingerprint
