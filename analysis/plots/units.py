"""Pictures of which units of a network the members of a front tune, how far and how fast."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from analysis.plots.style import heading, styled

_FROZEN = "0.85"
# The darker part of a map, so that white text is legible on all of it.
_COLOURS = LinearSegmentedColormap.from_list("rates", mpl.colormaps["viridis"](np.linspace(0.0, 0.8, 64)))
_NOTED = {"full": "", "frozen": "", "norms": "n"}  # and ranks, r4


def unit_rates(table: pd.DataFrame, *, below: str, chosen: Sequence[str] = (), title: str = "") -> Figure:
    """Draws units by members, coloured by the learning rate (logarithmic), grey where a unit is frozen.

    What is not tuned in full says so: ``n`` for the affine parameters of normalisation alone, ``r4`` for a change of at
    most rank 4.

    Args:
        table: a row for each member and unit: ``solution``, ``label`` (what stands below its column), ``unit``,
            ``rate`` (factor of the base rate, 0: frozen) and ``grade``; members and units in the order to be drawn.
        below: what the labels are, with units.
        chosen: solutions whose labels have an asterisk.
        title: above the picture.
    """
    solutions, units = list(dict.fromkeys(table["solution"])), list(dict.fromkeys(table["unit"]))
    rates = table.pivot(index="unit", columns="solution", values="rate").loc[units, solutions].to_numpy(float)
    grades = table.pivot(index="unit", columns="solution", values="grade").loc[units, solutions].to_numpy(str)
    firsts = table.drop_duplicates("solution")
    labels = np.where(firsts["solution"].isin(list(chosen)), "* " + firsts["label"], firsts["label"]).tolist()
    with styled():
        size = (3.0 + max(0.34 * len(solutions), 2.6), 1.6 + 0.34 * max(len(units), 5))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        _cells(figure, axes, rates)
        _notes(axes, rates, grades)
        axes.set_yticks(range(len(units)), units)
        axes.set_xticks(range(len(solutions)), labels, rotation=90, fontsize=7)
        axes.set_xlabel(below)
        axes.set_ylabel("unit, input first")
        axes.grid(visible=False)
        heading(figure, title)
    return figure


def _cells(figure: Figure, axes: Axes, rates: np.ndarray) -> None:
    tuned = np.ma.masked_equal(rates, 0.0)
    logs = np.ma.log10(tuned)
    # At least a decade, so that rates that hardly differ look alike.
    low, high = (float(logs.min()), float(logs.max())) if logs.count() else (-0.5, 0.5)
    slack = max(0.0, 1.0 - (high - low)) / 2
    axes.set_facecolor(_FROZEN)
    image = axes.imshow(logs, aspect="auto", cmap=_COLOURS, vmin=low - slack, vmax=high + slack)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label("learning rate\n[factor of the base rate]\n(grey: frozen)")
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{10**value:.2g}")


def _notes(axes: Axes, rates: np.ndarray, grades: np.ndarray) -> None:
    for (row, column), grade in np.ndenumerate(grades):
        note = _NOTED.get(grade, f"r{grade}")
        if note and rates[row, column] > 0:
            axes.text(column, row, note, ha="center", va="center", fontsize=7, color="white", fontweight="bold")
    if axes.texts:
        axes.set_title(
            "n: normalisation alone, r: by a change of such a rank", loc="right", fontsize=7, color="0.4", pad=3
        )
