"""Each file of a run folder with a bit flipped or its end cut off: the same results afterwards, or its name."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.faults.kills import killed_within
from tests.faults.process import Ended, run
from tests.faults.runs import Subject
from tests.faults.table import FAILED, REFUSED, SAME, Trial

_OF_LOG = 4  # the log is damaged so many times as often: much of it is room that holds nothing

Outcome = tuple[str, dict[str, bytes]]
"""What a command printed, and what it wrote by file."""


def half_done(subject: Subject, each: int, chance: random.Random) -> Iterator[Trial]:
    """Damages each file that a killed run left, unfinished transactions included, then goes on."""
    with subject.scratch() as folder:
        killed_within(subject, folder, chance)
        kept = folder.parent / "kept"
        folder.rename(kept)
        for name, way, content in _damaged(kept, each, chance):
            shutil.copytree(kept, folder)
            (folder / name).write_bytes(content)
            ended = run(subject.command(folder))
            fault = f"half-done run, {name} {way}"
            if ended.status == 0:
                wrong = subject.same(folder)
                yield Trial(subject.task, fault, FAILED if wrong else SAME, f"{wrong} differs" if wrong else "")
            else:
                yield _refused(subject, fault, ended, folder / name)
            shutil.rmtree(folder)


def finished(subject: Subject, each: int, chance: random.Random) -> Iterator[Trial]:
    """Damages each file of a finished run, then resumes, shows, draws and exports it."""
    with subject.scratch() as folder:
        shutil.copytree(subject.straight, folder)
        commands = {
            "run": subject.command(folder),
            "show": ["show", str(folder), "--all"],
            "plot": ["plot", str(folder), "--out", str(folder.parent / "drawn")],
            "export": ["export", str(folder), "--format", "csv", "--out", str(folder.parent / "all.csv")],
        }
        wanted = {name: _outcome(run(command), folder) for name, command in commands.items()}
        for name, way, content in list(_damaged(folder, each, chance)):
            whole = (folder / name).read_bytes()
            (folder / name).write_bytes(content)
            for command, arguments in commands.items():
                ended = run(arguments)
                outcome = _outcome(ended, folder)
                fault = f"finished run, {name} {way}"
                if ended.status != 0:
                    yield _refused(subject, fault, ended, folder / name, command)
                elif outcome != wanted[command]:
                    yield Trial(subject.task, fault, FAILED, f"{command}: other numbers, nothing said")
                else:
                    yield Trial(subject.task, fault, SAME)
            (folder / name).write_bytes(whole)


def _refused(subject: Subject, fault: str, ended: Ended, path: Path, command: str = "run") -> Trial:
    # An unfinished transaction that is damaged is found as damage to the log; settings that read well, as others.
    names = [str(path), str(path).removesuffix("-journal"), "holds a run of another configuration"]
    if path.name == "SHA256SUMS":  # which of the two is damaged nobody knows
        names.append("it is not what SHA256SUMS says")
    clear = ended.refuses(*names)
    return Trial(subject.task, fault, REFUSED if clear else FAILED, f"{command}: {ended.last}")


def _damaged(folder: Path, each: int, chance: random.Random) -> Iterator[tuple[str, str, bytes]]:
    """Yields a file's name, what is done to it, and its content then."""
    # Not the figures, which no command reads; and an empty file (the lock) has nothing to damage.
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.stat().st_size):
        whole, name = path.read_bytes(), path.name
        for _ in range(each * (_OF_LOG if name == "log.sqlite" else 1)):
            flipped = bytearray(whole)
            flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            yield name, "with a bit flipped", bytes(flipped)
            yield name, "cut short", whole[: chance.randrange(len(whole))]


def _outcome(ended: Ended, folder: Path) -> Outcome:
    written = {path.name: path for path in (*folder.parent.glob("drawn/*"), *folder.parent.glob("all.csv"))}
    content = {name: path.read_bytes() for name, path in written.items()}
    for path in written.values():
        path.unlink()
    return ended.out, content
