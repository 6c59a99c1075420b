"""What the tables of the studies share: Markdown, the page they are written into, and a test of paired differences."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import typer
from scipy.stats import ttest_1samp

from moprune.errors import UsageError
from moprune.files import write_text

MARKER = "<!-- tables -->"
"""The line of a page behind which its tables stand; what is above it is written by hand."""


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *rows])


def paired_t(differences: pd.Series) -> float:
    """Returns the p of a paired t-test; 1 where nothing can be told: one seed, or no spread."""
    if len(differences) < 2 or np.ptp(differences) == 0:
        return 1.0
    return float(ttest_1samp(differences, 0).pvalue)


def latest(results: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Returns one row for each value of the keys, the last, in the place of the first."""
    first = results.drop_duplicates(keys)[keys]
    return first.merge(results.drop_duplicates(keys, keep="last"), on=keys, how="left")[list(results.columns)]


def publish(tables: str, page: Path | None) -> None:
    """Puts tables into a page, in place of those behind its :data:`MARKER`; without a page they are printed.

    Raises:
        UsageError: the page has no such line.
    """
    if page is None:
        typer.echo(tables)
        return
    written, marker, _ = page.read_text(encoding="utf-8").partition(MARKER) if page.is_file() else ("", "", "")
    if not marker:
        raise UsageError(f"{page} has no line {MARKER}; put one where the tables shall begin")
    write_text(page, f"{written}{MARKER}\n\n{tables}")
