"""A front in three and more objectives: in space, as a matrix of scatters, and on parallel axes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.indicators import is_baseline
from analysis.plots.style import SEARCH, area, axis_label, heading, legend, look, name_of, styled, tall_label
from moprune.errors import UsageError
from moprune.objectives import Objective

_GRADIENT = "viridis"  # even in lightness, so that it survives grey and colour blindness


def front_3d(
    members: pd.DataFrame,
    objectives: Sequence[Objective],
    *,
    split: str = "test",
    controls: Mapping[str, pd.DataFrame] | None = None,
    chosen: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Draws a front in space: three objectives as axes, a fourth as colour, further ones left out (the title says so).

    Takes what :func:`analysis.plots.front` takes.

    Raises:
        UsageError: fewer than three objectives.
    """
    if len(objectives) < 3:
        raise UsageError(f"a picture in space needs three objectives; there {_are(len(objectives))}")
    x, y, z = objectives[:3]
    points = {SEARCH: members, **(controls or {})}
    with styled():
        # In space a constrained layout cuts labels off; a fourth objective's colour bar gets room of its own.
        width = 6.4 if len(objectives) == 3 else 7.6
        figure = Figure(figsize=(width, 5.6))
        axes: Any = figure.add_axes((0.0, 0.1, 5.6 / width, 0.88), projection="3d", computed_zorder=False)
        for place, (name, each) in enumerate(points.items()):
            at = [each[f"{o.name}_{split}"] for o in (x, y, z)]
            style = look(place)
            fill = {"color": style["color"]}
            if place == 0 and len(objectives) > 3:
                fill = {"c": each[f"{objectives[3].name}_{split}"], "cmap": _GRADIENT}
            single = is_baseline(each) and place > 0
            drawn = axes.scatter(
                *at, s=40 if single else area(len(each)), marker=style["marker"], linewidths=0, label=name,
                alpha=0.45 if place and not single else 0.9, depthshade=False,
                zorder=4 if single else 3 if place == 0 else 2, **fill,
            )  # fmt: skip
            if "c" in fill:
                bar = figure.colorbar(drawn, cax=figure.add_axes((0.87, 0.25, 0.018, 0.5)))
                bar.set_label(axis_label(objectives[3]))
        if chosen:
            ringed = members[members["solution"].isin(list(chosen))]
            axes.scatter(
                *[ringed[f"{o.name}_{split}"] for o in (x, y, z)],
                s=90, facecolors="none", edgecolors="black", linewidths=1.1, label="chosen", depthshade=False, zorder=5,
            )  # fmt: skip
        axes.set_xlabel(axis_label(x), labelpad=8, fontsize="small")
        axes.set_ylabel(axis_label(y), labelpad=8, fontsize="small")
        axes.set_zlabel(tall_label(z), labelpad=8, fontsize="small")
        axes.locator_params(nbins=6)
        axes.view_init(elev=22, azim=-55)
        legend(figure)
        left_out = ", ".join(name_of(o) for o in objectives[4:])
        heading(figure, title + (f" (not shown: {left_out})" if left_out else ""))
    return figure


def scatter_matrix(
    members: pd.DataFrame,
    objectives: Sequence[Objective],
    *,
    split: str = "test",
    controls: Mapping[str, pd.DataFrame] | None = None,
    chosen: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Draws every objective against every other below a diagonal of histograms (share of each source's points).

    Takes what :func:`analysis.plots.front` takes.
    """
    m = len(objectives)
    points = {SEARCH: members, **(controls or {})}
    ringed = members[members["solution"].isin(list(chosen))] if chosen else members[:0]
    with styled():
        figure = Figure(figsize=(max(4.2, 2.5 * m + 0.6), max(3.6, 2.2 * m + 0.8)), layout="constrained")
        grid: Any = figure.subplots(m, m, squeeze=False, sharex="col")
        for row, column in np.ndindex(m, m):
            axes, x, y = grid[row, column], objectives[column], objectives[row]
            if column > row:
                axes.set_axis_off()
            elif column == row:
                _histograms(axes, points, x, split)
            else:
                _scatter(axes, points, ringed, x, y, split)
            if column <= row:
                axes.set_xlabel(tall_label(x) if row == m - 1 else "")
                axes.tick_params(labelbottom=row == m - 1)
            if column == 0 and row > 0:
                axes.set_ylabel(tall_label(y))
            elif 0 < column < row:
                axes.tick_params(labelleft=False)
        handles = [
            Line2D([], [], linestyle="none", markersize=5, label=name, **look(place))
            for place, name in enumerate(points)
        ]
        if len(ringed):
            handles.append(Line2D([], [], linestyle="none", marker="o", mfc="none", mec="black", label="chosen"))
        legend(figure, handles)
        heading(figure, title)
    return figure


def parallel_coordinates(
    members: pd.DataFrame,
    objectives: Sequence[Objective],
    *,
    split: str = "test",
    controls: Mapping[str, pd.DataFrame] | None = None,
    chosen: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Draws each member as a line over one axis an objective, each in natural units with its better end up.

    Lines take their colour from the first objective. Of controls of one point a seed the mean is dashed; the others
    would hide the front and are left out. Takes what :func:`analysis.plots.front` takes.
    """
    baselines = {name: each for name, each in (controls or {}).items() if is_baseline(each)}
    heights, limits = positions([members, *baselines.values()], objectives, split)
    where = np.arange(len(objectives))
    with styled():
        figure = Figure(figsize=(max(4.2, 2.1 * len(objectives) + 1.4), 4.4), layout="constrained")
        axes = figure.subplots()
        strength = float(np.clip(40 / max(len(members), 1), 0.25, 0.9))
        lines = LineCollection(
            [np.column_stack([where, row]) for row in heights[0]],
            array=members[f"{objectives[0].name}_{split}"].to_numpy(float),
            cmap=_GRADIENT, linewidths=1, alpha=strength,
        )  # fmt: skip
        axes.add_collection(lines)
        handles = []
        for name, rows in zip(baselines, heights[1:], strict=True):
            style = look(list(controls or {}).index(name) + 1) | {"linestyle": "--", "markersize": 4, "linewidth": 1}
            axes.plot(where, rows.mean(axis=0), **style, zorder=3)
            several = f", mean of {len(rows)} seeds" if len(rows) > 1 else ""
            handles.append(Line2D([], [], label=name + several, **style))
        highlighted = (
            members["solution"].isin(list(chosen)).to_numpy() if chosen else np.zeros(len(members), dtype=bool)
        )
        if highlighted.any():
            style = {"color": "black", "marker": "o", "linewidth": 1.4, "markersize": 4}
            axes.plot(where, heights[0][highlighted].T, **style, zorder=4)
            handles.append(Line2D([], [], label="chosen", **style))
        if len(objectives) == 1:
            axes.scatter(np.zeros(len(members)), heights[0][:, 0], color=look(0)["color"])
        bar = figure.colorbar(lines, ax=axes, pad=0.06)
        if bar.solids is not None:
            bar.solids.set_alpha(1)
        bar.set_label(f"{name_of(objectives[0])} [{objectives[0].unit}]")
        _natural_axes(axes, objectives, limits)
        legend(figure, handles)
        heading(figure, title)
    return figure


def positions(
    frames: Sequence[pd.DataFrame], objectives: Sequence[Objective], split: str
) -> tuple[list[NDArray[np.float64]], list[tuple[float, float]]]:
    """Returns heights in [0, 1] on each axis, 1 the best of all frames, and each axis's ends in natural units.

    Args:
        frames: sets of points, with ``<objective>_<split>``.
        objectives: the axes.
        split: the split.

    Returns:
        For each frame its heights, ``(n, m)`` (0.5 where all frames are equal), and ``(bottom, top)`` of each axis.
    """
    natural = [f[[f"{o.name}_{split}" for o in objectives]].to_numpy(float) for f in frames]
    everything = np.concatenate(natural)
    limits = []
    for i, objective in enumerate(objectives):
        low, high = float(everything[:, i].min()), float(everything[:, i].max())
        if low == high:
            low, high = low - 0.5 * objective.scale, high + 0.5 * objective.scale
        limits.append((high, low) if objective.minimise else (low, high))
    bottom, top = np.array(limits).T
    return [(values - bottom) / (top - bottom) for values in natural], limits


def _natural_axes(axes: Axes, objectives: Sequence[Objective], limits: Sequence[tuple[float, float]]) -> None:
    axes.set_xticks(range(len(objectives)), [tall_label(o) for o in objectives])
    axes.set_xlim(-0.25, len(objectives) - 0.75 if len(objectives) > 1 else 0.75)
    axes.set_ylim(-0.04, 1.04)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.grid(False)
    axes.tick_params(axis="x", length=0, pad=8)
    for i, (bottom, top) in enumerate(limits):
        axes.axvline(i, color="black", linewidth=0.8, zorder=2)
        for height in np.linspace(0, 1, 5):
            axes.annotate(
                _short(bottom + height * (top - bottom)), (i, height), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=7, zorder=6,
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
            )  # fmt: skip
    axes.set_ylabel("better at the top of every axis")


def _histograms(axes: Axes, points: Mapping[str, pd.DataFrame], objective: Objective, split: str) -> None:
    column = f"{objective.name}_{split}"
    everything = np.concatenate([each[column].to_numpy(float) for each in points.values()])
    edges = np.histogram_bin_edges(everything, bins=20)
    for place, each in enumerate(points.values()):
        style = look(place)
        if is_baseline(each) and place > 0:
            axes.axvline(float(each[column].mean()), color=style["color"], linewidth=1.2)
            continue
        axes.hist(
            each[column], bins=edges.tolist(), weights=np.full(len(each), 1 / len(each)), color=style["color"],
            histtype="stepfilled" if place == 0 else "step", alpha=0.5 if place == 0 else 1.0, linewidth=1,
        )  # fmt: skip
    axes.set_ylabel("share of points", fontsize=7)
    axes.tick_params(axis="y", labelsize=7)


def _scatter(
    axes: Axes, points: Mapping[str, pd.DataFrame], ringed: pd.DataFrame, x: Objective, y: Objective, split: str
) -> None:
    for place, each in enumerate(points.values()):
        single = is_baseline(each) and place > 0
        axes.scatter(
            each[f"{x.name}_{split}"], each[f"{y.name}_{split}"],
            s=30 if single else 0.6 * area(len(each)), alpha=0.9 if single or len(each) < 100 else 0.6,
            **look(place), edgecolors="white", linewidths=0.5 if single else 0,
            zorder=4 if single else 3 if place == 0 else 2,
        )  # fmt: skip
    axes.scatter(
        ringed[f"{x.name}_{split}"], ringed[f"{y.name}_{split}"],
        s=50, facecolors="none", edgecolors="black", linewidths=0.9, zorder=5,
    )  # fmt: skip


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _are(count: int) -> str:
    return "is one" if count == 1 else f"are {count}"
