"""The runs that faults befall, and what of a run folder has to be the same however a run came to its end."""

import contextlib
import json
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.process import run

Evaluations = dict[tuple[str, str], tuple[str, float]]
"""Values and seconds of what a log holds, by context and genome."""

_TINY = {
    "pruning": (
        "quickstart",
        {
            "objectives": "[brier,active_fraction]",
            "reported": "[error]",
            "controls": "[unpruned,random]",
            "data.ood.search": "[]",
            "data.ood.test": "[]",
            "pruning.hidden": "[4]",
            "pruning.folds": "2",
            "pruning.training.epochs": "1",
            "search.n_eval": "48",
            "search.pop_size": "6",
        },
    ),
    "refinement": (
        "sa-shade",
        {
            "controls": "[start,uniform_soup,random]",
            "data.exclude": "['5','6','7','8','9']",
            "network.arch": "digits",
            "refinement.members.count": "2",
            "refinement.members.epochs": "1",
            "search.n_eval": "40",
        },
    ),
    "selection": (
        "mo-selection",
        {
            "controls": "[linear_probe,random]",
            "data.splits.train.limit": "40",
            "selection.recipe.epochs": "2",
            "selection.seeds": "2",
            "search.n_eval": "48",
            "search.pop_size": "8",
        },
    ),
}

TASKS = tuple(_TINY)


@dataclass(frozen=True)
class Subject:
    """A tiny run of a task, and the folder of one that nothing befell.

    Attributes:
        task: what is searched.
        home: an empty folder of its own.
    """

    task: str
    home: Path

    @property
    def straight(self) -> Path:
        """The folder of the run that nothing befell."""
        return self.home / "straight"

    def command(self, folder: Path) -> list[str]:
        """Returns the arguments of ``moprune`` that run it in a folder."""
        name, settings = _TINY[self.task]
        sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return ["run", name, "--out", str(folder), *sets]

    def prepare(self) -> "Subject":
        """Makes the caches and the folder of the run that nothing befell."""
        ended = run(self.command(self.straight))
        assert ended.status == 0, ended.err
        return self

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yields a folder that is gone afterwards."""
        folder = Path(tempfile.mkdtemp(dir=self.home))
        try:
            yield folder / "run"
        finally:
            shutil.rmtree(folder)

    def half_done(self, folder: Path, chance: random.Random) -> None:
        """Leaves a run there that was killed between two generations."""
        from tests.faults.kills import killed_after

        killed_after(self, folder, chance.randrange(10, 60))

    def same(self, folder: Path) -> str:
        """Returns the name of the first thing that is not as in the run that nothing befell; empty if all is."""
        found, wanted = content(folder), content(self.straight)
        return next((name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)), "")

    def finishes_alike(self, folder: Path) -> str:
        """Runs the command to its end; returns what is wrong: how it failed, or what is not the same."""
        ended = run(self.command(folder))
        if ended.status != 0:
            return ended.last
        different = self.same(folder)
        return f"{different} differs" if different else ""


def content(folder: Path) -> dict[str, object]:
    """Returns all of a finished run's folder that is reproducible, by name: no times, no count of looks at the test."""
    summary = json.loads((folder / "summary.json").read_text())
    summary.pop("test_opened")
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("summary.json", "SHA256SUMS") and "log.sqlite" not in path.name
        and not path.name.startswith(".")
    }  # fmt: skip
    return {**files, "summary.json": json.dumps(summary), "log.sqlite": _rows(folder)}


def _rows(folder: Path) -> list[list[tuple[object, ...]]]:
    statements = (
        "SELECT * FROM meta WHERE key NOT IN ('seal', 'test_opened') ORDER BY key",
        'SELECT id, context, genome_sha256, genome, boolean, length, "values" FROM evaluation ORDER BY id',
        "SELECT * FROM request ORDER BY stage, seed, position",
    )
    return [_select(folder, statement) for statement in statements]


def evaluations(folder: Path) -> Evaluations:
    """Returns what the log of a folder holds, whatever state it was left in."""
    rows = _select(folder, 'SELECT context, genome_sha256, "values", seconds FROM evaluation')
    return {(str(row[0]), str(row[1])): (str(row[2]), float(str(row[3]))) for row in rows}


def requests(folder: Path) -> int:
    """Returns how many requests are logged in a run that may be under way."""
    return len(_select(folder, "SELECT 1 FROM request"))


def _select(folder: Path, statement: str) -> list[tuple[object, ...]]:
    """Reads a copy: opening the log would undo an unfinished transaction, which is for the product to do."""
    with tempfile.TemporaryDirectory() as copy:
        for path in folder.glob("log.sqlite*"):
            with contextlib.suppress(FileNotFoundError):  # a transaction that has just ended
                shutil.copy(path, copy)
        connection = sqlite3.connect(Path(copy) / "log.sqlite")
        try:
            return connection.execute(statement).fetchall()
        except sqlite3.DatabaseError:  # not made yet, or copied while it was written
            return []
        finally:
            connection.close()


def logged(folder: Path) -> Callable[[], bool]:
    """Returns a condition: whether the log of a folder is there."""
    return (folder / "log.sqlite").exists
