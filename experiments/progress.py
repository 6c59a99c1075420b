"""Live progress of a run: a bar on a terminal, a line now and then elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from moprune.search import Progress as Generation

_QUIET_SECONDS = 10.0
_OPENING = "opening data and network"


class LiveProgress:
    """Shows how a run goes on; a context manager.

    Each stage of each seed has a bar with its evaluations and the time left, and below the bars stand the best of each
    objective and the hypervolume so far. Where standard error is no terminal, a plain line is written every ten seconds
    instead.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._console,
        )
        self._note = Text()
        self._live = Live(Group(self._bars, self._note), console=self._console, refresh_per_second=8)
        self._tasks: dict[str, TaskID] = {}
        self._spoken: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the live display; what was shown stays, but for what is no longer so."""
        if self._note.plain == _OPENING:
            self._note.plain = ""
        self._live.stop()

    def opening(self) -> None:
        """Shows on a terminal that data and network are being opened, which is all there is to see for some seconds."""
        if self._console.is_terminal:
            self._note.plain = _OPENING
            self._live.refresh()

    def generation(self, progress: Generation) -> None:
        """Shows a generation of a search or control."""
        best = ", ".join(f"{name} {value:.3g}" for name, value in progress.best.items())
        volume = "" if progress.hypervolume is None else f"; hypervolume {progress.hypervolume:.3f}"
        resumed = " (from the log)" if progress.replayed == progress.evaluations else ""
        self._show(
            f"{progress.stage}, seed {progress.seed}",
            progress.evaluations,
            max(progress.budget, progress.evaluations),
            f"evaluations{resumed}",
            f"{'scored in part, best of each' if progress.provisional else 'best of each so far'}: {best}{volume}",
        )

    def working(self, what: str, done: int, total: int, unit: str) -> None:
        """Shows how far some other work is: features, members."""
        self._show(what, done, total, unit)

    def assessing(self, what: str) -> None:
        """Shows that front members and controls are being made and scored on every split."""
        self._speak(f"making the fronts and controls, and scoring them on every split, {what}")

    def _show(self, name: str, done: int, total: int, unit: str, note: str = "") -> None:
        if self._console.is_terminal:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, unit=unit)
            self._bars.update(self._tasks[name], completed=done, total=total, unit=unit)
            self._note.plain = note
            return
        now = time.monotonic()
        if now - self._spoken.setdefault(name, now) > _QUIET_SECONDS or (done >= total and note):
            self._spoken[name] = now
            self._speak(f"{name}: {done}/{total} {unit}{'; ' if note else ''}{note}")

    def _speak(self, line: str) -> None:
        if self._console.is_terminal:
            self._note.plain = line
        else:
            self._console.print(line, highlight=False, soft_wrap=True)
