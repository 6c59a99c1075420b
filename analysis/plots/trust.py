"""Whether a front can be trusted: what became of it on test, over seeds, and how the search got there."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from analysis.attainment import LEVELS
from analysis.attainment import attainment as attainment_of
from analysis.histories import band
from analysis.indicators import is_baseline
from analysis.plots.style import axis_label, dashes, heading, legend, look, styled, upright
from moprune.errors import UsageError
from moprune.objectives import Objective

_PANELS_A_ROW = 3


def search_to_test(
    members: pd.DataFrame,
    objectives: Sequence[Objective],
    *,
    chosen: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Draws where each member seemed to be on the search split (hollow) and where it is on test (filled).

    Args:
        members: the front, with ``<objective>_search`` and ``<objective>_test``.
        objectives: the objectives; of a single one search is on one side and test on the other.
        chosen: solutions to be ringed on test, by the column ``solution``.
        title: above the panels.
    """
    ringed = members[members["solution"].isin(list(chosen))] if chosen else members[:0]
    colour = look(0)["color"]
    with styled():
        figure, panels = _panels(max(1, len(objectives) * (len(objectives) - 1) // 2))
        pairs: list[tuple[Objective, ...]] = [*combinations(objectives, 2)]
        for axes, pair in zip(panels, pairs or [tuple(objectives)], strict=True):
            starts, ends, rings = (_coordinates(frame, pair, s) for frame, s in _three(members, ringed))
            axes.add_collection(
                LineCollection(
                    list(np.stack([starts, ends], axis=1)), colors="0.6", linewidths=0.6, alpha=0.7, zorder=2
                )
            )
            axes.scatter(starts[:, 0], starts[:, 1], s=14, facecolors="white", edgecolors="0.4", linewidths=0.9,
                         label="on search", zorder=3)  # fmt: skip
            axes.scatter(ends[:, 0], ends[:, 1], s=14, color=colour, linewidths=0, label="on test", zorder=4)
            if len(rings):
                axes.scatter(rings[:, 0], rings[:, 1], s=90, facecolors="none", edgecolors="black", linewidths=1.1,
                             label="chosen, on test", zorder=5)  # fmt: skip
            _label(axes, pair)
            if len(pair) == 1:
                axes.set_xticks([0, 1], ["search", "test"])
                axes.set_xlim(-0.5, 1.5)
        legend(figure)
        heading(figure, title)
    return figure


def attainment(
    sources: Mapping[str, pd.DataFrame],
    objectives: Sequence[Objective],
    *,
    split: str = "test",
    title: str = "",
) -> Figure:
    """Draws median attainment surfaces with the band from best to worst seed, one panel for each pair of objectives.

    Args:
        sources: points of all seeds by source (:func:`analysis.indicators.sources`), the search first; those of one
            point a seed are drawn as points.
        objectives: the objectives, at least two.
        split: the split.
        title: above the panels.

    Raises:
        UsageError: a single objective.
    """
    if len(objectives) < 2:
        raise UsageError("an attainment surface needs two objectives; there is one")
    pairs = [upright(*pair) for pair in combinations(objectives, 2)]
    with styled():
        figure, panels = _panels(len(pairs))
        for axes, (x, y) in zip(panels, pairs, strict=True):
            seen: list[pd.DataFrame] = []
            limits = [_range(sources, o, split) for o in (x, y)]
            for place, (name, points) in enumerate(sources.items()):
                style = look(place)
                if is_baseline(points) and place > 0:
                    axes.scatter(
                        points[f"{x.name}_{split}"],
                        points[f"{y.name}_{split}"],
                        s=30,
                        **style,
                        edgecolors="white",
                        linewidths=0.5,
                        label=name,
                        zorder=4,
                    )
                    seen.append(points[[f"{x.name}_{split}", f"{y.name}_{split}"]].set_axis([x.name, y.name], axis=1))
                    continue
                table = attainment_of(points, x, y, split)
                seen.append(table[table["level"] == "median"])
                seeds = points["seed"].nunique()
                note = f"{name}: median of {seeds} seeds, from best to worst" if seeds > 1 else name
                outlines = {
                    level: outline(table[table["level"] == level], x, y, limits[0], limits[1]) for level in LEVELS
                }
                if seeds > 1:
                    ring = np.concatenate([outlines["best"], outlines["worst"][::-1]])
                    axes.fill(*ring.T, color=style["color"], alpha=0.18, linewidth=0, zorder=2)
                axes.plot(*outlines["median"].T, color=style["color"], linewidth=1.4, label=note, zorder=3,
                          linestyle=dashes(place))  # fmt: skip
            axes.set_xlabel(axis_label(x))
            axes.set_ylabel(axis_label(y))
            # Where the medians bend; bands and the flat ends run out of the panel.
            corners = pd.concat(seen)
            axes.set_xlim(_stretched(corners[x.name], limits[0], x))
            axes.set_ylim(_stretched(corners[y.name], limits[1], y))
        legend(figure)
        heading(figure, title)
    return figure


def outline(
    corners: pd.DataFrame,
    x: Objective,
    y: Objective,
    horizontal: tuple[float, float],
    vertical: tuple[float, float],
) -> np.ndarray:
    """Returns an attainment surface as a polyline in natural units, ``(k, 2)``, out to the worse end of both axes.

    Args:
        corners: rows of one level of :func:`analysis.attainment.attainment`.
        x: the horizontal objective.
        y: the vertical objective.
        horizontal: natural range of the horizontal axis, (least, greatest).
        vertical: that of the vertical axis.
    """
    a, b = corners[x.name].to_numpy(float), corners[y.name].to_numpy(float)
    worst_x = horizontal[1] if x.minimise else horizontal[0]
    worst_y = vertical[1] if y.minimise else vertical[0]
    across = np.repeat(np.append(a, worst_x), 2)[:-1]
    up = np.repeat(np.concatenate([[worst_y], b]), 2)[1:]
    return np.column_stack([across, up])


def hypervolume_history(histories: Mapping[str, Sequence[pd.DataFrame]], *, title: str = "") -> Figure:
    """Draws the hypervolume of everything evaluated so far, by source: median over seeds, band from least to greatest.

    Args:
        histories: by source, a table of :func:`analysis.histories.progress` for each seed; the search first.
        title: above the panel.
    """
    return _over_evaluations(
        histories, "hypervolume", "hypervolume on the search split\n[share of objective space]", title
    )


def operator_success(histories: Mapping[str, Sequence[pd.DataFrame]], *, title: str = "") -> Figure:
    """Draws the share of each generation's new solutions that entered the non-dominated set when they came.

    Takes what :func:`hypervolume_history` takes.
    """
    label = "new solutions that entered the front\n[share of the generation]"
    return _over_evaluations(histories, "entered", label, title)


def _over_evaluations(histories: Mapping[str, Sequence[pd.DataFrame]], column: str, label: str, title: str) -> Figure:
    with styled():
        figure = Figure(figsize=(5.6, 3.8), layout="constrained")
        axes = figure.subplots()
        for place, (name, tables) in enumerate(histories.items()):
            curve, style = band(tables, column), look(place)
            several = len(tables) > 1
            axes.plot(
                curve["evaluations"], curve["median"], color=style["color"], linewidth=1.5, marker=style["marker"],
                markersize=3, linestyle="-" if place == 0 else "--", zorder=3,
                label=f"{name}: median and range of {len(tables)} seeds" if several else name,
            )  # fmt: skip
            if several:
                axes.fill_between(
                    curve["evaluations"], curve["low"], curve["high"], color=style["color"], alpha=0.18, linewidth=0
                )
        axes.set_xlabel("evaluations")
        axes.set_ylabel(label)
        axes.set_xlim(left=0)
        if column == "entered":
            axes.set_ylim(bottom=0)
        legend(figure)
        heading(figure, title)
    return figure


def _panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    columns = min(count, _PANELS_A_ROW)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(4.2 * columns, 5.2), 3.7 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[count:]:
        axes.remove()
    return figure, list(panels[:count])


def _three(members: pd.DataFrame, ringed: pd.DataFrame) -> list[tuple[pd.DataFrame, str]]:
    return [(members, "search"), (members, "test"), (ringed, "test")]


def _coordinates(points: pd.DataFrame, pair: Sequence[Objective], split: str) -> np.ndarray:
    if len(pair) == 1:
        side = np.full(len(points), 0.0 if split == "search" else 1.0)
        return np.column_stack([side, points[f"{pair[0].name}_{split}"]])
    x, y = upright(pair[0], pair[1])
    return np.column_stack([points[f"{x.name}_{split}"], points[f"{y.name}_{split}"]])


def _label(axes: Axes, pair: Sequence[Objective]) -> None:
    if len(pair) == 1:
        axes.set_ylabel(axis_label(pair[0]))
        return
    x, y = upright(pair[0], pair[1])
    axes.set_xlabel(axis_label(x))
    axes.set_ylabel(axis_label(y))


def _range(sources: Mapping[str, pd.DataFrame], objective: Objective, split: str) -> tuple[float, float]:
    values = np.concatenate([points[f"{objective.name}_{split}"].to_numpy(float) for points in sources.values()])
    return float(values.min()), float(values.max())


def _stretched(shown: pd.Series, whole: tuple[float, float], objective: Objective) -> tuple[float, float]:
    """Returns axis limits around values, out to the best there is (which no band may leave), with a margin."""
    low, high = float(shown.min()), float(shown.max())
    low, high = (min(low, whole[0]), high) if objective.minimise else (low, max(high, whole[1]))
    margin = 0.06 * (high - low) or 0.05 * objective.scale
    return low - margin, high + margin
