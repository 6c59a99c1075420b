"""A finished run as it lies in its folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.config import ExperimentConfig
from experiments.run_folder import RunFolder
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

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives, with the spans that counts (units, parameters) had in the problem."""
        largest = {name: each["worst"] for name, each in self.summary["objectives"].items() if "worst" in each}
        return resolve(self.config.resolved_objectives(), largest)


def load_result(folder: RunFolder) -> Result:
    """Returns the result of a finished run from its folder."""
    config = folder.config()
    if config is None:
        raise MopruneError(f"{folder.path} has no experiment.yaml")
    return Result(
        folder, config, folder.read_table("front.csv"), folder.read_table("controls.csv"),
        folder.read_json("summary.json"),
    )  # fmt: skip
