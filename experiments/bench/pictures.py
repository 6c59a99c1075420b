"""Pictures of a benchmark: ratios as bars with their spread, rates along one axis."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import dashes, legend, look, styled
from experiments.bench.report import Report
from experiments.bench.rows import OURS, Row
from moprune.errors import UsageError

SUFFIXES = (".png", ".svg", ".pdf")


def check_suffix(path: Path) -> None:
    """Refuses a file that no picture can be written to, before anything is measured.

    Raises:
        UsageError: its suffix is none of :data:`SUFFIXES`.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--picture {path}: no kind of picture; end it in one of {', '.join(SUFFIXES)}")


def bars(report: Report) -> Figure:
    """Returns the ratios of all rows: how many times as many units a second moprune does as another way."""
    ways = list(dict.fromkeys(way for row in report.rows for way in row.ways))
    entries = [(row, way) for row in reversed(report.rows) for way in reversed(ways) if way in row.ways]
    with styled():
        figure = Figure(figsize=(6.4, 1.2 + 0.28 * len(entries)), layout="constrained")
        axes = figure.subplots()
        for place, (row, way) in enumerate(entries):
            ratio = row.ways[way].ratio
            error = [[ratio.median - ratio.least], [ratio.most - ratio.median]]
            colour = look(1 + ways.index(way))["color"]
            axes.barh(place, ratio.median, xerr=error, color=colour, capsize=2, label=way)
        axes.set_yticks(range(len(entries)), [row.name for row, _ in entries])
        axes.axvline(1, color="0.3", linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.xaxis.set_minor_formatter("{x:,g}")
        axes.set_xlabel(f"rate of moprune over the other way's [times], median and range of {report.rounds} rounds")
        legend(figure)
    return figure


def curves(report: Report, axis: str, values: Sequence[int]) -> Figure:
    """Returns the rates of all ways along an axis, one row a value.

    Args:
        report: the rows.
        axis: what changes from row to row.
        values: of each row.
    """
    ways = list(dict.fromkeys(way for row in report.rows for way in row.ways))
    with styled():
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        axes = figure.subplots()
        for place, way in enumerate([OURS, *ways]):
            axes.plot(values, [_rate(row, way) for row in report.rows], dashes(place), label=way, **look(place))
        _both_log(axes, values)
        axes.set_xlabel(axis)
        axes.set_ylabel(f"{report.rows[0].unit} a second [1/s]")
        legend(figure)
    return figure


def _rate(row: Row, way: str) -> float:
    return row.rate if way == OURS else row.ways[way].rate


def _both_log(axes: Axes, values: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(list(values), [str(value) for value in values])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:,g}")
