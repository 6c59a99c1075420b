"""What a report is made from, and the words all its parts use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from analysis.indicators import baselines
from moprune.log import EvaluationLog
from moprune.objectives import Objective

SEARCH, UNPRUNED = "search", "unpruned"

STAGES: Mapping[str, str] = MappingProxyType({SEARCH: "search", "random masks": "random", "random search": "random"})
"""The stage of the log in which a group of points was evaluated."""


@dataclass(frozen=True)
class FinishedFiles:
    """A finished run as a report takes it.

    Attributes:
        folder: the run folder, for its optional outputs (ensembles, explanations) and the commands to repeat.
        title: what the run is about, in a line.
        findings: plain sentences of what was found.
        front: all seeds' front members, as ``front.csv``.
        controls: the controls, as ``controls.csv``.
        summary: as ``summary.json``.
        objectives: the objectives, in order.
        reported: what was measured beside them.
        log: the evaluation log, open.
        experiment: the experiment file's text.
        environment: as ``environment.json``.
        optimistic: whether members were selected on the test split, as a published method did.
    """

    folder: Path
    title: str
    findings: Sequence[str]
    front: pd.DataFrame
    controls: pd.DataFrame
    summary: Mapping[str, Any]
    objectives: Sequence[Objective]
    reported: Sequence[Objective]
    log: EvaluationLog
    experiment: str
    environment: Mapping[str, Any]
    optimistic: bool = False

    @property
    def seeds(self) -> list[int]:
        """The run seeds."""
        return [int(seed) for seed in self.summary["seeds"]]

    @property
    def measures(self) -> list[Objective]:
        """The objectives, then what was measured beside them."""
        return [*self.objectives, *self.reported]

    @property
    def baselines(self) -> set[str]:
        """The controls of one point a seed: they span no front, and what they cost is no result."""
        return baselines(self.controls) - set(STAGES)

    @property
    def compared(self) -> list[str]:
        """Who is compared on test: the search, then its controls."""
        first = next(iter(self.summary["seeds"].values()))
        return [SEARCH, *(name for name in first["test"] if name != SEARCH)]

    @property
    def searched(self) -> list[str]:
        """The groups that were evaluated one after another: the search and, if it was run, the random control."""
        return [group for group in self.compared if group in STAGES]

    @property
    def evaluations(self) -> dict[str, str]:
        """Evaluations asked for by stage, in words: seeds may differ where proposals repeated."""
        counts: dict[str, list[int]] = {}
        for entry in self.summary["seeds"].values():
            for stage, count in entry["evaluations"].items():
                counts.setdefault(stage, []).append(int(count))
        ends = {stage: sorted({min(found), max(found)}) for stage, found in counts.items()}
        return {stage: " to ".join(f"{count:,}" for count in found) for stage, found in ends.items()}

    def tested(self, who: str, objective: str) -> list[float]:
        """Returns what the chosen of a group reach on test, seed by seed."""
        return [float(entry["test"][who][objective]) for entry in self.summary["seeds"].values()]

    def volumes(self, who: str, split: str) -> list[float]:
        """Returns the hypervolume of a group's front on a split, seed by seed."""
        return [float(entry["hypervolume"][who][split]) for entry in self.summary["seeds"].values()]


def in_words(name: str) -> str:
    """Returns an objective's name as people write it: ``ood_auroc`` is ``OOD AUROC``."""
    upper = {"ood", "auroc", "nll", "ece", "id", "fpr95", "flops"}
    return " ".join(word.upper() if word in upper else word for word in name.split("_"))


def shown(value: float) -> str:
    """Returns a share with three decimals (a tiny one by its power of ten), a count in full."""
    if 1e-12 < abs(value) < 5e-4:
        return f"{value:.0e}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def called(group: str) -> str:
    """Returns what people call a group of points."""
    return "front of the search" if group == SEARCH else group


def spread(values: Sequence[float]) -> str:
    """Returns mean and standard deviation (n - 1) of values, of a single one the value."""
    return with_deviation(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan)


def with_deviation(mean: float, deviation: float) -> str:
    """Returns a mean with its deviation, where there is one."""
    return shown(mean) + (f" ± {shown(deviation)}" if np.isfinite(deviation) else "")
