"""Pictures of fronts (matplotlib, colour-blind safe, units on every axis)."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from moprune.files import replacing
from moprune.objectives import Objective

# Okabe & Ito's palette: distinguishable with every common form of colour blindness, and in grey by its lightness.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_MARKERS = ("^", "s", "D", "v", "P", "X")

_STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
    "legend.frameon": False,
    "figure.dpi": 200,
}


def front(
    members: pd.DataFrame,
    objectives: Sequence[Objective],
    *,
    split: str = "test",
    controls: Mapping[str, pd.DataFrame] | None = None,
    chosen: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Draws a front, one panel for each pair of objectives, with the controls on the same axes.

    Args:
        members: the front, with columns ``<objective>_<split>``, as ``assess`` returns them.
        objectives: the objectives, in natural units on the axes; at least two.
        split: the split to draw.
        controls: other sets of points by name, with the same columns.
        chosen: solutions to be ringed, by the column ``solution``.
        title: above the panels.
    """
    pairs = list(combinations(objectives, 2)) or [(objectives[0], objectives[0])]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.2 * len(pairs), 4.4), layout="constrained")
        for axes, (first, second) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
            # Cost on the horizontal axis wherever there is one, as in the published fronts.
            x, y = (first, second) if first.is_cost or not second.is_cost else (second, first)
            for i, (name, points) in enumerate((controls or {}).items()):
                axes.scatter(
                    points[f"{x.name}_{split}"], points[f"{y.name}_{split}"],
                    s=64 if len(points) == 1 else 16, alpha=1.0 if len(points) == 1 else 0.7,
                    marker=_MARKERS[i % len(_MARKERS)], color=COLOURS[1 + i % (len(COLOURS) - 1)],
                    linewidths=0, label=name, zorder=4 if len(points) == 1 else 2,
                )  # fmt: skip
            axes.scatter(
                members[f"{x.name}_{split}"], members[f"{y.name}_{split}"],
                s=22, color=COLOURS[0], label="front of the search", zorder=3, linewidths=0,
            )  # fmt: skip
            if chosen:
                ringed = members[members["solution"].isin(list(chosen))]
                axes.scatter(
                    ringed[f"{x.name}_{split}"], ringed[f"{y.name}_{split}"],
                    s=120, facecolors="none", edgecolors="black", linewidths=1.4, label="chosen", zorder=5,
                )  # fmt: skip
            axes.set_xlabel(axis_label(x))
            axes.set_ylabel(axis_label(y))
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        if title:
            figure.suptitle(title)
    return figure


def axis_label(objective: Objective) -> str:
    """Returns the label of an objective's axis: its name, unit and which way is better."""
    name = objective.name.replace("_", " ").replace("ood", "OOD").replace("auroc", "AUROC")
    better = "lower is better" if objective.minimise else "higher is better"
    return f"{name} [{objective.unit}]\n({better})"


def save(figure: Figure, path: Path) -> None:
    """Writes a figure to ``path`` (PNG, PDF or SVG by its suffix), atomically."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."), metadata=_plain_metadata(path))


def _plain_metadata(path: Path) -> dict[str, Any]:
    # Without dates and versions the same figure is the same file.
    return {{".png": "Software", ".pdf": "CreationDate"}.get(path.suffix, "Date"): None}
