"""The run folder: one experiment with all its seeds, whole or resumable."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.config import ExperimentConfig
from experiments.loading import dump, validate
from experiments.yaml_file import read_yaml
from moprune.errors import MopruneError, UsageError
from moprune.files import write_text


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds one run.

    It has ``experiment.yaml``, ``environment.json`` and ``log.sqlite`` from the start and, once the run has ended,
    ``front.csv``, ``controls.csv``, ``figures`` and, written last, ``summary.json``.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def log(self) -> Path:
        """The evaluation log."""
        return self.path / "log.sqlite"

    @property
    def figures(self) -> Path:
        """The folder of pictures."""
        return self.path / "figures"

    @property
    def finished(self) -> bool:
        """Whether the run has ended: the summary is written last."""
        return (self.path / "summary.json").is_file()

    def check(self, config: ExperimentConfig) -> None:
        """Raises if the folder holds another experiment, or a log that nothing explains.

        Raises:
            UsageError: names the keys that differ.
        """
        held = self.config()
        if held is None and self.log.exists():
            raise UsageError(f"{self.path} holds a log but no experiment.yaml; choose another --out")
        if held is not None and held != config and self.log.exists():
            keys = ", ".join(sorted(_changed(held.model_dump(), config.model_dump())))
            raise UsageError(
                f"{self.path} holds a run of another configuration (differs in: {keys}); choose another --out, or "
                "delete that folder"
            )

    def claim(self, config: ExperimentConfig) -> None:
        """Makes the folder this experiment's."""
        self.check(config)
        if self.config() != config:
            write_text(self.path / "experiment.yaml", dump(config))

    def config(self) -> ExperimentConfig | None:
        """Returns the experiment the folder holds, or None."""
        path = self.path / "experiment.yaml"
        return validate(read_yaml(path)) if path.is_file() else None

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON file into the folder."""
        write_text(self.path / name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Returns the content of a JSON file of the folder."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._broken(name, error) from error

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Writes a table as CSV; floats with the fewest digits that read back as the same double."""
        write_text(self.path / name, table.to_csv(index=False, lineterminator="\n"))

    def read_table(self, name: str) -> pd.DataFrame:
        """Returns a table of the folder."""
        try:
            return pd.read_csv(self.path / name, dtype={"solution": str}, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise self._broken(name, error) from error

    def _broken(self, name: str, error: Exception) -> MopruneError:
        return MopruneError(
            f"cannot read {self.path / name} ({error}); delete summary.json there and run the same command again: "
            "the files are written anew from the log"
        )


def open_finished(path: Path) -> RunFolder:
    """Returns the folder of a finished run.

    Raises:
        UsageError: there is no run, or it has not ended.
    """
    folder = RunFolder(path)
    if not (path / "experiment.yaml").is_file():
        raise UsageError(f"{path} is no run folder (it has no experiment.yaml); make one with: moprune run")
    if not folder.finished:
        raise UsageError(f"the run in {path} has not ended; run its command again to resume it")
    return folder


def _changed(a: Any, b: Any, path: str = "") -> set[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        return {
            key
            for name in a.keys() | b.keys()
            for key in _changed(a.get(name), b.get(name), f"{path}.{name}" if path else str(name))
        }
    return set() if a == b else {path}
