"""Tables of a report: cells as values, not as text."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

Cell = str | int | float | None
"""None is a cell without a value."""


@dataclass(frozen=True)
class Column:
    """A column's heading, and whether it holds numbers."""

    name: str
    numeric: bool


@dataclass(frozen=True)
class Table:
    """A table."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]


def of_frame(frame: pd.DataFrame, caption: str, *, numeric: Collection[str] = ()) -> Table:
    """Returns a data frame as a table; what is not finite is left empty.

    Args:
        frame: the values.
        caption: above the table.
        numeric: columns of text that are set as numbers, beside those that are numbers.
    """
    columns = [
        Column(str(name).replace("_", " "), name in numeric or _is_number(frame[name])) for name in frame.columns
    ]
    return Table(caption, columns, [[_cell(value) for value in row] for row in frame.itertuples(index=False)])


def _is_number(values: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values))


def _cell(value: object) -> Cell:
    if value is None:
        return None
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return str(value)
