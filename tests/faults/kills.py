"""SIGKILL at random points: of time, of files that are opened or renamed, of transactions under way; and Ctrl-C."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.process import Ended, Process
from tests.faults.runs import Evaluations, Subject, evaluations, logged, requests
from tests.faults.table import Trial, judged

_ATONCE = 5  # kills of one run at most, before it may end


def kills(subject: Subject, count: int, chance: random.Random) -> Iterator[Trial]:
    """Kills runs ``count`` times, each up to five times before it is left to end.

    A kill is survived if the run then ends with the bytes of one that was never killed, all that was logged still there
    and none of it evaluated again.
    """
    seconds, operations = _measured(subject)
    left = count
    while left > 0:
        with subject.scratch() as folder:
            done, lost = [], ""
            known: Evaluations = {}
            for _ in range(min(left, chance.randint(1, _ATONCE))):
                how = chance.choice(("at a random time", "at a file operation", "within a transaction"))
                if not _killed(subject, folder, how, chance, seconds, operations):
                    continue
                done.append(how)
                lost = lost or _lost(known, evaluations(folder))
                known = evaluations(folder)
            wrong = lost or subject.finishes_alike(folder) or _lost(known, evaluations(folder))
            yield from (judged(subject.task, f"SIGKILL {how}", wrong) for how in done)
            left -= len(done)


def interrupts(subject: Subject, count: int, chance: random.Random) -> Iterator[Trial]:
    """Presses Ctrl-C ``count`` times, each in a run of its own, and resumes it."""
    seconds, _ = _measured(subject)
    for _ in range(count):
        with subject.scratch() as folder:
            process = Process(subject.command(folder))
            process.wait(logged(folder))
            time.sleep(chance.uniform(0, seconds))
            process.send(signal.SIGINT)
            wrong = _impolite(process.ended())
            yield judged(subject.task, "Ctrl-C at a random time", wrong or subject.finishes_alike(folder))


def killed_after(subject: Subject, folder: Path, count: int) -> None:
    """Kills a run once so many requests are logged, or later."""
    process = Process(subject.command(folder))
    assert process.wait(lambda: requests(folder) >= count), process.ended().last
    process.send(signal.SIGKILL)
    process.ended()


def killed_within(subject: Subject, folder: Path, chance: random.Random) -> None:
    """Kills a run within a transaction, so that an unfinished one lies in the folder (as good as always)."""
    for _ in range(10):
        process = Process(subject.command(folder))
        process.wait(lambda: requests(folder) >= 10)
        _wait_within(process, folder, chance.randint(1, 5))
        process.send(signal.SIGKILL)
        process.ended()
        if (folder / "log.sqlite-journal").exists():
            return


def _impolite(ended: Ended) -> str:
    """Returns what was wrong with how Ctrl-C was taken; it may come too late."""
    if ended.status == 0 or (ended.status == 130 and "Traceback" not in ended.err):
        return ""
    return f"status {ended.status}: {ended.last}"


def _killed(subject: Subject, folder: Path, how: str, chance: random.Random, seconds: float, operations: int) -> bool:
    """Starts or resumes a run and kills it; returns whether it could be killed before it ended."""
    if how == "at a file operation":
        number = chance.randint(1, operations)
        return Process(subject.command(folder), lambda: _die_at(folder, number)).ended().status == -signal.SIGKILL
    process = Process(subject.command(folder))
    if how == "at a random time":
        pause = time.monotonic() + chance.uniform(0, seconds)
        process.wait(lambda: time.monotonic() > pause)
    else:
        _wait_within(process, folder, chance.randint(1, 12))
    process.send(signal.SIGKILL)
    return process.ended().status == -signal.SIGKILL


def _wait_within(process: Process, folder: Path, number: int) -> None:
    """Waits until SQLite's journal, which is there within transactions alone, was seen so often."""
    journal, seen = folder / "log.sqlite-journal", 0

    def within() -> bool:
        nonlocal seen
        seen += journal.exists()
        return seen >= number

    process.wait(within, every=0.0005)


def _die_at(folder: Path, number: int) -> None:
    """Kills this process at its ``number``-th opening, renaming or removing of a file in a folder."""
    _each_operation(folder, lambda done: os.kill(os.getpid(), signal.SIGKILL) if done == number else None)


def _each_operation(folder: Path, act: Callable[[int], object]) -> None:
    done, prefix = 0, str(folder)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal done
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "sqlite3.connect") and prefix in str(arguments[0]):
            done += 1
            act(done)

    sys.addaudithook(hook)


def _measured(subject: Subject) -> tuple[float, int]:
    """Returns the seconds and file operations of a run that nothing befalls."""
    with subject.scratch() as folder:
        count = folder.parent / "operations"
        started = time.monotonic()

        def note() -> None:
            folder.parent.mkdir(exist_ok=True)
            file = os.open(count, os.O_CREAT | os.O_WRONLY)
            _each_operation(folder, lambda done: os.pwrite(file, b"%8d" % done, 0))

        ended = Process(subject.command(folder), note).ended()
        assert ended.status == 0, ended.err
        return time.monotonic() - started, int(count.read_text())


def _lost(before: Evaluations, after: Evaluations) -> str:
    """Returns what of a log is gone or was evaluated again, which its seconds would tell."""
    gone = [key for key, value in before.items() if after.get(key) != value]
    return f"{len(gone)} of {len(before)} evaluations lost or done again" if gone else ""
