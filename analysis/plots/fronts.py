"""A front as one panel for each pair of objectives."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.style import COLOURS, MARKERS, axis_label, styled
from moprune.objectives import Objective


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
    with styled():
        figure = Figure(figsize=(4.2 * len(pairs), 4.4), layout="constrained")
        for axes, (first, second) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
            # Cost on the horizontal axis wherever there is one, as in the published fronts.
            x, y = (first, second) if first.is_cost or not second.is_cost else (second, first)
            for i, (name, points) in enumerate((controls or {}).items()):
                axes.scatter(
                    points[f"{x.name}_{split}"], points[f"{y.name}_{split}"],
                    s=64 if len(points) == 1 else 16, alpha=1.0 if len(points) == 1 else 0.7,
                    marker=MARKERS[i % len(MARKERS)], color=COLOURS[1 + i % (len(COLOURS) - 1)],
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
