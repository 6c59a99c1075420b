"""Runs of the command line as processes of their own, forked from one that has imported everything."""

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Fault = Callable[[], object]
"""Sets up a fault inside the process that is to suffer it."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, or minus the signal that killed it, and what it printed."""

    status: int
    out: str
    err: str

    def refuses(self, *words: str) -> bool:
        """Returns whether it ended with one clear line that has one of the words in it, and nothing worse."""
        lines = [line for line in self.err.splitlines() if line.startswith("moprune:")]
        one = len(lines) == 1 and lines[0].startswith("moprune: error: ") and self.status in (1, 2)
        return one and "Traceback" not in self.err and any(word in lines[0] for word in words)

    @property
    def last(self) -> str:
        """The last line it printed, for the table."""
        return next(iter(reversed((self.err or self.out).strip().splitlines())), f"status {self.status}")


class Process:
    """A ``moprune`` command that is under way.

    Args:
        arguments: those of the command.
        fault: what is done inside the process before the command starts.
    """

    def __init__(self, arguments: Sequence[str], fault: Fault | None = None) -> None:
        self._streams = [tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2)]  # noqa: SIM115
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(list(arguments), [stream.fileno() for stream in self._streams], fault)

    def over(self) -> bool:
        """Returns whether the process has ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status is not None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal unless it has ended."""
        if not self.over():
            os.kill(self.pid, number)

    def wait(self, condition: Callable[[], bool] = lambda: False, seconds: float = 300, every: float = 0.002) -> bool:
        """Waits for the end or a condition; returns whether the condition came first; kills what takes too long."""
        deadline = time.monotonic() + seconds
        while not self.over():
            if condition():
                return True
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
                raise AssertionError(f"process {self.pid} took more than {seconds} s")
            time.sleep(every)
        return False

    def ended(self) -> Ended:
        """Waits for the end and returns how it was."""
        self.wait()
        assert self._status is not None
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read())
            stream.close()
        return Ended(self._status, *texts)


def run(arguments: Sequence[str], fault: Fault | None = None) -> Ended:
    """Runs a command to its end."""
    return Process(arguments, fault).ended()


def preload() -> None:
    """Imports what commands import, so that what is killed is work and not the start of Python."""
    import experiments.cli
    import experiments.exports
    import experiments.runner
    import experiments.summary
    import experiments.verification  # noqa: F401


def _become(arguments: list[str], streams: list[int], fault: Fault | None) -> None:
    status = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(streams[0], 1)
        os.dup2(streams[1], 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if fault is not None:
            fault()
        from experiments.main import main

        status = main(arguments)
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)  # not exit: nothing of the parent is to be tidied up here
