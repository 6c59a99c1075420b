"""A finished run as it lies in its folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.indicators import baselines
from experiments import plausible
from experiments.config import ExperimentConfig
from experiments.run_folder import RunFolder
from experiments.tasks import TaskKind, task_kind
from moprune.errors import MopruneError
from moprune.objectives import Objective, resolve


@dataclass(frozen=True)
class Result:
    """A finished run as it lies in its folder.

    Attributes:
        folder: the run folder.
        config: the experiment.
        front: all seeds' front members, a row each: ``solution``, ``seed``, each objective on each split.
        controls: the same columns for the controls, beside ``control``, their name.
        summary: what ``summary.json`` says.
    """

    folder: RunFolder
    config: ExperimentConfig
    front: pd.DataFrame
    controls: pd.DataFrame
    summary: Mapping[str, Any]

    @cached_property
    def environment(self) -> Mapping[str, Any]:
        """What ``environment.json`` says.

        Raises:
            MopruneError: it is damaged.
        """
        content: Mapping[str, Any] = self.folder.read_json("environment.json")
        if fault := plausible.environment_fault(content):
            raise self.folder.broken("environment.json", fault)
        return content

    @property
    def kind(self) -> TaskKind:
        """The run as its kind of task sees it."""
        return task_kind(self.config)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives, with the spans that counts (units, parameters) had in the problem."""
        return resolve(self.config.resolved_objectives(), _largest(self.summary["objectives"]))

    @property
    def reported(self) -> tuple[Objective, ...]:
        """What was measured beside the objectives, likewise."""
        given = self.config.resolved_reported()
        return resolve(given, _largest(self.summary["reported"])) if given else ()

    @property
    def measures(self) -> tuple[Objective, ...]:
        """The objectives, then what was measured beside them."""
        return (*self.objectives, *self.reported)

    @property
    def baselines(self) -> set[str]:
        """The controls of one point a seed, which span no front; random candidates are a search of their own."""
        return baselines(self.controls) - {self.kind.random}

    @property
    def optimistic(self) -> bool:
        """Whether members were selected on the test split, as a published method did."""
        return self.kind.optimistic


def _largest(described: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {name: float(each["worst"]) for name, each in described.items()}


def load_result(folder: RunFolder) -> Result:
    """Returns the result of a finished run from its folder.

    Raises:
        MopruneError: a file is damaged, or does not go with the others; names it.
    """
    folder.check_digests()
    config = folder.config()
    if config is None:
        raise MopruneError(f"{folder.path} has no experiment.yaml")
    front, controls = folder.read_table("front.csv"), folder.read_table("controls.csv")
    summary = folder.read_json("summary.json")
    if fault := plausible.fault(config, front, controls, summary):
        raise folder.broken(*fault)
    return Result(folder, config, front, controls, summary)
