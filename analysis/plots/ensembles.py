"""Ensembles beside single members and controls of the same number: what their errors cost."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.plots.style import COLOURS, MARKERS, styled

_COSTS = {
    "parameters": "weights and biases of the distinct heads",
    "active_units": "active units of the distinct heads",
}
_METHODS = ("best_k", "greedy", "diverse", "front", "window_error", "window_auroc")


def ensemble(table: pd.DataFrame, *, cost: str = "parameters", split: str = "test", title: str = "") -> Figure:
    """Draws error against cost: the mean over seeds, with a bar of one sample standard deviation each way.

    A colour says where the heads come from (front, random masks, unpruned), a marker how they were chosen.

    Args:
        table: of :func:`analysis.ensembles.compare_ensembles`, of one or more seeds.
        cost: ``parameters`` or ``active_units``, summed over the distinct members; logarithmic.
        split: ``test`` or ``select``.
        title: above the axes.
    """
    error, seeds = f"error_{split}", table["seed"].nunique()
    with styled():
        figure = Figure(figsize=(7.6, 4.2), layout="constrained")
        axes = figure.subplots()
        for name, rows in table.groupby("ensemble", sort=False):
            colour, marker = _look(str(name))
            across, up = (rows[column].std(ddof=1) if len(rows) > 1 else np.nan for column in (cost, error))
            axes.errorbar(
                rows[cost].mean(), rows[error].mean(), xerr=across, yerr=up, color=colour, ecolor=(colour, 0.35),
                marker=marker, markersize=7, linestyle="none", elinewidth=0.9, label=str(name),
            )  # fmt: skip
        axes.set_xscale("log")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
        axes.set_xlabel(f"{_COSTS[cost]}\n(lower is better)")
        over = f", mean and sd of {seeds} seeds" if seeds > 1 else ""
        axes.set_ylabel(f"error [share of {split} images]{over}\n(lower is better)")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
        if title:
            figure.suptitle(title)
    return figure


def _look(name: str) -> tuple[str, str]:
    """Returns colour and marker of a row."""
    method = name.split(": ")[-1]
    colour = COLOURS[1] if name.startswith("random") else COLOURS[2] if name.startswith("unpruned") else COLOURS[0]
    if method in _METHODS:
        return colour, MARKERS[_METHODS.index(method)]
    return colour, {"drawn": "<", "unpruned heads": "h"}.get(method, "o")
