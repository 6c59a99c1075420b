"""Live progress of a run: a bar on a terminal, a line now and then elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from moprune.search import Progress as Generation

_QUIET_SECONDS = 10.0


class LiveProgress:
    """Shows how a run goes on; a context manager.

    Each stage of each seed has a bar with its evaluations, the best of each objective and the hypervolume so far, and
    the time left. Where standard error is no terminal, a plain line is written every ten seconds instead.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._spoken: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the live display; what was shown stays."""
        self._bars.stop()

    def features(self, split: str, done: int, total: int) -> None:
        """Shows that features of a split are being computed."""
        self._show(f"features of {split}", done, total, "images")

    def generation(self, progress: Generation) -> None:
        """Shows a generation of a search or control."""
        best = "  ".join(f"{name} {value:.3g}" for name, value in progress.best.items())
        volume = "" if progress.hypervolume is None else f"  hypervolume {progress.hypervolume:.3f}"
        resumed = "  (from the log)" if progress.replayed == progress.evaluations else ""
        self._show(
            f"{progress.stage}, seed {progress.seed}",
            progress.evaluations,
            max(progress.budget, progress.evaluations),
            f"evaluations; best: {best}{volume}{resumed}",
        )

    def assessing(self, what: str) -> None:
        """Shows that front members are being retrained and scored on every split."""
        self._show(f"assessing the front, {what}", 0, 1, "")

    def _show(self, name: str, done: int, total: int, note: str) -> None:
        if self._console.is_terminal:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, note=note)
            self._bars.update(self._tasks[name], completed=done, total=total, note=note)
            return
        now = time.monotonic()
        if done >= total or now - self._spoken.get(name, 0.0) > _QUIET_SECONDS:
            self._spoken[name] = now
            self._console.print(f"{name}: {done}/{total} {note}", highlight=False, soft_wrap=True)
