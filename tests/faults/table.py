"""What came of each fault, as a table."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

SAME, REFUSED, FAILED = "same bytes", "one clear line", "failed"


@dataclass(frozen=True)
class Trial:
    """One fault done to one run.

    Attributes:
        task: what was searched.
        fault: what was done, in words.
        came: :data:`SAME`, :data:`REFUSED` (a line that names the file or says what to do) or :data:`FAILED`.
        detail: the line, or what went wrong.
    """

    task: str
    fault: str
    came: str
    detail: str = ""


def judged(task: str, fault: str, wrong: str) -> Trial:
    """Returns a trial that had to end with the same bytes: ``wrong`` says how it did not."""
    return Trial(task, fault, FAILED if wrong else SAME, wrong)


def rows(trials: Iterable[Trial]) -> list[dict[str, str | int]]:
    """Returns a row a task and fault: how often it was tried, and how often each came of it."""
    counted: dict[tuple[str, str], dict[str, str | int]] = {}
    for trial in trials:
        row = counted.setdefault(
            (trial.task, trial.fault),
            {"fault": trial.fault, "task": trial.task, "tried": 0, SAME: 0, REFUSED: 0, FAILED: 0},
        )
        for name in ("tried", trial.came):
            row[name] = int(row[name]) + 1
    return list(counted.values())


def as_csv(trials: Iterable[Trial]) -> str:
    """Returns the table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["fault", "task", "tried", SAME, REFUSED, FAILED], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(trials))
    return text.getvalue()


def as_markdown(trials: Iterable[Trial]) -> str:
    """Returns the table as Markdown, and below it what failed."""
    trials = list(trials)
    lines = [f"| fault | task | tried | {SAME} | {REFUSED} | {FAILED} |", "|---|---|--:|--:|--:|--:|"]
    lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows(trials)]
    failed = [f"- {t.task}, {t.fault}: {t.detail}" for t in trials if t.came == FAILED]
    return "\n".join([*lines, *([""] if failed else []), *failed]) + "\n"
