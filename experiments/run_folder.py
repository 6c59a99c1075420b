"""The run folder: one experiment with all its seeds, whole or resumable."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.config import ExperimentConfig
from experiments.loading import dump, validate
from experiments.yaml_file import read_yaml
from moprune.errors import MopruneError, UsageError
from moprune.files import sha256_of_file, write_text

_SUMS = "SHA256SUMS"
_GUARDED = ("experiment.yaml", "environment.json", "front.csv", "controls.csv")


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds one run.

    It has ``experiment.yaml``, ``environment.json`` and ``log.sqlite`` from the start and, once the run has ended,
    ``front.csv``, ``controls.csv``, ``figures``, ``SHA256SUMS`` and, written last, ``summary.json``.

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
        try:
            return validate(read_yaml(path)) if path.is_file() else None
        except UsageError as error:
            raise self._damaged_config("; ".join(str(error).splitlines())) from error

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON file into the folder."""
        write_text(self.path / name, _json(value))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Writes the digests of all that will be read again, then the summary, which says that the run has ended.

        ``sha256sum -c SHA256SUMS`` checks them too. The log guards itself (:mod:`moprune.seal`).
        """
        digests = {name: sha256_of_file(self.path / name) for name in _GUARDED}
        digests["summary.json"] = hashlib.sha256(_json(summary).encode()).hexdigest()
        write_text(self.path / _SUMS, "".join(f"{digest}  {name}\n" for name, digest in digests.items()))
        self.write_json("summary.json", summary)

    def check_digests(self) -> None:
        """Checks that the files of a finished run are those it wrote; runs from before there were digests pass.

        Raises:
            MopruneError: names the first file that is not.
        """
        path = self.path / _SUMS
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            digests = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        except (OSError, ValueError) as error:
            raise self.broken(_SUMS, error) from error
        for name in (*_GUARDED, "summary.json") if path.exists() else ():
            try:
                digest = sha256_of_file(self.path / name)
            except OSError as error:
                raise self.broken(name, error) from error
            if digests.get(name) != digest:
                reason = f"it is not what {_SUMS} says the run wrote"
                raise self._damaged_config(reason) if name == "experiment.yaml" else self.broken(name, reason)

    def read_json(self, name: str) -> Any:
        """Returns the content of a JSON file of the folder."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise self.broken(name, error) from error

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Writes a table as CSV; floats with the fewest digits that read back as the same double."""
        write_text(self.path / name, table.to_csv(index=False, lineterminator="\n"))

    def read_table(self, name: str) -> pd.DataFrame:
        """Returns a table of the folder."""
        try:
            return pd.read_csv(self.path / name, dtype={"solution": str}, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise self.broken(name, error) from error

    def _damaged_config(self, reason: str) -> UsageError:
        return UsageError(
            f"{self.path / 'experiment.yaml'} is damaged ({reason}); restore it from a copy, or choose another folder"
        )

    def broken(self, name: str, error: Exception | str) -> MopruneError:
        """Returns the error for a file of results that cannot be read, with the reason and what to do."""
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


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _changed(a: Any, b: Any, path: str = "") -> set[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        return {
            key
            for name in a.keys() | b.keys()
            for key in _changed(a.get(name), b.get(name), f"{path}.{name}" if path else str(name))
        }
    return set() if a == b else {path}
