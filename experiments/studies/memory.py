"""The largest memory that a part of a process held, so that arms of a study can be told apart."""

import re
from pathlib import Path
from types import TracebackType
from typing import Self

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Measures the process's largest resident memory while it is entered.

    What the process held before counts too: its libraries and data.

    Attributes:
        peak: GB; NaN while entered, and where the system does not tell (other than Linux).
    """

    peak: float = float("nan")

    def __enter__(self) -> Self:
        if _RESET.exists():
            _RESET.write_text("5")  # the high-water mark falls to what is resident now: proc(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        found = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text()) if _RESET.exists() else None
        if found:
            self.peak = int(found[1]) * 1024 / 1e9
