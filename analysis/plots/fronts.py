"""A front as one panel for each pair of objectives."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.fronts import matrix
from analysis.indicators import is_baseline
from analysis.plots.style import SEARCH, area, axis_label, heading, legend, look, styled, upright
from moprune.fronts import nondominated
from moprune.objectives import Objective

_PANELS_A_ROW = 3
_NAMES_A_ROW = 5


def front(
    members: pd.DataFrame,
    objectives: Sequence[Objective],
    *,
    split: str = "test",
    controls: Mapping[str, pd.DataFrame] | None = None,
    chosen: Sequence[str] = (),
    title: str = "",
    whole: bool = False,
) -> Figure:
    """Draws a front, one panel for each pair of objectives, with the controls on the same axes.

    A thin staircase bounds what the front dominates in the two objectives of a panel. Axes show
    :func:`view`, so that a few useless extremes do not squeeze the rest; a note counts the points beyond.

    Args:
        members: the front, with columns ``<objective>_<split>``, as ``assess`` returns them.
        objectives: the objectives, in natural units on the axes; of a single one each source is a column of points.
        split: the split to draw.
        controls: other sets of points by name, with the same columns.
        chosen: solutions to be ringed, by the column ``solution``.
        title: above the panels.
        whole: show every point, however extreme.
    """
    points = {SEARCH: members, **(controls or {})}
    ringed = members[members["solution"].isin(list(chosen))] if chosen else members[:0]
    with styled():
        if len(objectives) == 1:
            return _strips(points, ringed, objectives[0], split, title)
        pairs = [upright(*pair) for pair in combinations(objectives, 2)]
        columns = min(len(pairs), _PANELS_A_ROW)
        rows = -(-len(pairs) // columns)
        figure = Figure(figsize=(max(4.2 * columns, 5.2), 3.7 * rows + 0.7), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        must = [ringed, *(each for each in points.values() if is_baseline(each))]
        for axes, (x, y) in zip(panels, pairs, strict=False):
            _panel(axes, points, ringed, (x, y), split)
            if not whole:
                _zoom(axes, points, must, (x, y), split)
        for axes in panels[len(pairs) :]:
            axes.remove()
        legend(figure)
        heading(figure, title)
    return figure


def view(
    members: pd.DataFrame, objective: Objective, split: str, must: Sequence[pd.DataFrame] = ()
) -> tuple[float, float]:
    """Returns the range of an objective worth showing, natural units, ``(least, greatest)``.

    From the best value to the 95th percentile towards the worse end, if that saves a third of the axis or more; points
    that must be seen (what was chosen, baselines) are always within.
    """
    best_first = np.sort(matrix(members, [objective], split)[:, 0])
    end = float(np.quantile(best_first, 0.95))
    if end - best_first[0] > (best_first[-1] - best_first[0]) * 2 / 3:
        end = float(best_first[-1])
    shown = np.concatenate([[best_first[0], end], *(matrix(each, [objective], split)[:, 0] for each in must)])
    low, high = np.sort(objective.natural(np.array([shown.min(), shown.max()])))
    return float(low), float(high)


def staircase(points: pd.DataFrame, x: Objective, y: Objective, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the corners of the non-dominated points in two objectives, natural units, from the best of ``x`` on."""
    F = matrix(points, (x, y), split)
    F = F[nondominated(F)]
    F = F[np.argsort(F[:, 0])]
    return x.natural(F[:, 0]), y.natural(F[:, 1])


def _panel(
    axes: Axes, points: Mapping[str, pd.DataFrame], ringed: pd.DataFrame, pair: tuple[Objective, Objective], split: str
) -> None:
    x, y = pair
    for place, (name, each) in enumerate(points.items()):
        single = is_baseline(each) and place > 0
        axes.scatter(
            each[f"{x.name}_{split}"], each[f"{y.name}_{split}"],
            s=40 if single else area(len(each)), alpha=0.9 if single or len(each) < 100 else 0.6,
            **look(place), edgecolors="white", linewidths=0.5 if single else 0, label=name,
            zorder=4 if single else 3 if place == 0 else 2,
        )  # fmt: skip
    axes.step(*staircase(points[SEARCH], x, y, split), where="post", color=look(0)["color"], linewidth=0.8, zorder=2.5)
    if len(ringed):
        axes.scatter(
            ringed[f"{x.name}_{split}"], ringed[f"{y.name}_{split}"],
            s=90, facecolors="none", edgecolors="black", linewidths=1.1, label="chosen", zorder=5,
        )  # fmt: skip
    axes.set_xlabel(axis_label(x))
    axes.set_ylabel(axis_label(y))


def _zoom(
    axes: Axes,
    points: Mapping[str, pd.DataFrame],
    must: Sequence[pd.DataFrame],
    pair: tuple[Objective, Objective],
    split: str,
) -> None:
    # The view follows the search's own members; controls are points to compare with and may reach beyond.
    limits = [view(points[SEARCH], o, split, must) for o in pair]
    everything = pd.concat([each[[f"{o.name}_{split}" for o in pair]] for each in points.values()])
    for i, (o, (low, high)) in enumerate(zip(pair, limits, strict=True)):
        values = everything[f"{o.name}_{split}"]
        # Towards the better end nothing is cut, whoever got there.
        low, high = (min(low, values.min()), high) if o.minimise else (low, max(high, values.max()))
        margin = 0.04 * (high - low) or 0.05 * o.scale
        limits[i] = (low - margin, high + margin)
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])
    inside = np.logical_and.reduce(
        [everything[f"{o.name}_{split}"].between(low, high) for o, (low, high) in zip(pair, limits, strict=True)]
    )
    if not inside.all():
        axes.set_title(
            f"{(~inside).sum()} of {len(inside)} points lie beyond the axes",
            loc="right",
            fontsize=7,
            color="0.4",
            pad=3,
        )


def _strips(
    points: Mapping[str, pd.DataFrame], ringed: pd.DataFrame, objective: Objective, split: str, title: str
) -> Figure:
    many = len(points) > _NAMES_A_ROW  # whose names would run into each other
    figure = Figure(figsize=(max(4.2, (0.9 if many else 1.6) * len(points) + 1), 3.8), layout="constrained")
    axes = figure.subplots()
    for place, each in enumerate(points.values()):
        values = each[f"{objective.name}_{split}"].to_numpy(float)
        # Side by side in the order of the rows, so that equal values can be counted.
        aside = place + (np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else np.zeros(1))
        axes.scatter(aside, values, s=area(len(values)), **look(place), linewidths=0, zorder=3)
        if place == 0 and len(ringed):
            rings = aside[each["solution"].isin(ringed["solution"]).to_numpy()]
            axes.scatter(
                rings, ringed[f"{objective.name}_{split}"],
                s=90, facecolors="none", edgecolors="black", linewidths=1.1, label="chosen", zorder=5,
            )  # fmt: skip
    axes.set_xticks(range(len(points)), list(points), rotation=30 if many else 0, ha="right" if many else "center")
    axes.set_xlim(-0.5, len(points) - 0.5)
    axes.set_ylabel(axis_label(objective))
    legend(figure)
    heading(figure, title)
    return figure
