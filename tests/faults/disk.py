"""A disk that is full and a folder that cannot be written to."""

import os
import random
import resource
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.faults.process import Fault, run
from tests.faults.runs import Subject, evaluations
from tests.faults.table import FAILED, REFUSED, SAME, Trial, judged


class SmallDisk:
    """A small file system in memory; a context manager. Not everybody may mount one.

    Args:
        path: an empty folder, where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> "SmallDisk":
        _mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.path)], check=True)

    def remount(self, options: str) -> None:
        """Changes its ``size`` or makes it read-only (``ro``, ``rw``)."""
        _mount("-o", f"remount,{options}", str(self.path))


class PlainFolder:
    """A folder where nothing may be mounted; it can be made read-only, though not for root.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def remount(self, options: str) -> None:
        """Makes it read-only (``ro``) or writable again."""
        for folder in (self.path, *filter(Path.is_dir, self.path.rglob("*"))):
            folder.chmod(0o500 if options == "ro" else 0o700)


def may_mount() -> bool:
    """Returns whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with SmallDisk(Path(folder)):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


def full_disk(subject: Subject, count: int, chance: random.Random) -> Iterator[Trial]:
    """Runs into a full disk ``count`` times, at random sizes, then on with space enough."""
    if not may_mount():
        yield from _limited_files(subject, count, chance)
        return
    for _ in range(count):
        with _mounted(subject) as (disk, folder):
            size = chance.randrange(8, 320, 4)
            disk.remount(f"size={size}k")
            refused = run(subject.command(folder))
            known = evaluations(folder) if folder.exists() else {}
            disk.remount("size=16m")
            yield _continued(subject, "full disk (tmpfs)", folder, known, refused.status == 0 or refused.refuses(
                str(folder)), refused.last)  # fmt: skip


def _limited_files(subject: Subject, count: int, chance: random.Random) -> Iterator[Trial]:
    """Limits the size of each file instead, where nothing may be mounted."""
    for _ in range(count):
        with subject.scratch() as folder:
            refused = run(subject.command(folder), _limit(chance.randrange(1, 100) << 10))
            clear = refused.status == 0 or refused.refuses(str(folder))
            yield _continued(subject, "full disk (limit)", folder, evaluations(folder), clear, refused.last)


def _limit(size: int) -> Fault:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def _continued(
    subject: Subject, fault: str, folder: Path, known: dict[tuple[str, str], tuple[str, float]], clear: bool, said: str
) -> Trial:
    if not clear:
        return Trial(subject.task, fault, FAILED, said)
    wrong = subject.finishes_alike(folder)
    after = evaluations(folder)
    if not wrong and any(after.get(key) != value for key, value in known.items()):
        wrong = "evaluations lost"
    return judged(subject.task, fault, wrong)


def read_only(subject: Subject, chance: random.Random) -> Iterator[Trial]:
    """Makes the folder read-only before a run, half-way and at the end; then lets it be written to again."""
    if not may_mount() and os.geteuid() == 0:
        return  # root writes to every folder
    for state in ("new", "half-done", "finished"):
        with _protectable(subject) as (disk, folder):
            if state == "half-done":
                subject.half_done(folder, chance)
            elif state == "finished":
                assert not subject.finishes_alike(folder)
            else:
                folder.mkdir()
            disk.remount("ro")
            ended = run(subject.command(folder))
            plotted = run(["plot", str(folder)]) if state == "finished" else ended
            disk.remount("rw")
            fault = f"read-only folder, {state} run"
            if state == "finished" and (ended.status != 0 or not plotted.refuses(str(folder))):
                yield Trial(subject.task, fault, FAILED, plotted.last if ended.status == 0 else ended.last)
            elif state != "finished" and not ended.refuses(str(folder)):
                yield Trial(subject.task, fault, FAILED, ended.last)
            else:
                wrong = subject.finishes_alike(folder)
                yield Trial(subject.task, fault, FAILED if wrong else REFUSED if state != "finished" else SAME, wrong)


def _protectable(subject: Subject) -> AbstractContextManager[tuple[SmallDisk | PlainFolder, Path]]:
    return _mounted(subject) if may_mount() else _plain(subject)


@contextmanager
def _mounted(subject: Subject) -> Iterator[tuple[SmallDisk, Path]]:
    with subject.scratch() as folder:
        folder.mkdir()
        with SmallDisk(folder) as disk:
            yield disk, folder / "run"


@contextmanager
def _plain(subject: Subject) -> Iterator[tuple[PlainFolder, Path]]:
    with subject.scratch() as folder:
        yield PlainFolder(folder), folder


def _mount(*options: str) -> None:
    subprocess.run(["mount", *options], check=True, capture_output=True)
