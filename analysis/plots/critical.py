"""Pictures of which changed weights carry what a search gained."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import COLOURS, axis_label, heading, legend, look, styled
from moprune.objectives import Objective

_TESTS = {"reverted": "without this layer's changes", "kept": "with this layer's changes alone"}
_ORDERS = {
    "largest": "largest changes first",
    "random": "at random",
    "smallest": "smallest changes first",
}
_PRETRAINED, _FOUND = "0.45", "black"


def layer_reverts(
    table: pd.DataFrame, tensors: pd.DataFrame, objectives: Sequence[Objective], *, title: str = ""
) -> Figure:
    """Draws, layer by layer in the network's order, how much tensors changed and what is left when they are reverted.

    Args:
        table: as :func:`analysis.critical.revert_layers` returns it.
        tensors: as :meth:`analysis.critical.Changes.by_tensor` returns it; those that were zeros have no point.
        objectives: those of the table to draw, a panel each.
        title: above the panels.
    """
    layers = list(dict.fromkeys(table["layer"]))
    with styled():
        size = (3.2 + 3.1 * (1 + len(objectives)), 2.2 + 0.19 * max(len(layers), 6))
        figure = Figure(figsize=size, layout="constrained")
        first, *panels = figure.subplots(1, 1 + len(objectives), sharey=True)
        _layer_changes(first, tensors[tensors["changed"] > 0], layers)
        for axes, objective in zip(panels, objectives, strict=True):
            some = table[table["objective"] == objective.name]
            for place, (test, label) in enumerate(_TESTS.items()):
                values = some[some["test"] == test].set_index("layer")["value"].reindex(layers)
                axes.scatter(values, range(len(layers)), s=22, **look(place), linewidths=0, label=label, zorder=3)
            for name, colour, style in _references():
                axes.axvline(some[name].iloc[0], color=colour, linestyle=style, lw=1, label=_named(name), zorder=2)
            axes.set_xlabel(axis_label(objective))
            _add_shares(axes, some, "x")
        first.set_yticks(range(len(layers)), layers)
        first.set_ylim(len(layers) - 0.4, -0.6)
        legend(figure)
        heading(figure, title)
    return figure


def weight_reverts(table: pd.DataFrame, objectives: Sequence[Objective], *, title: str = "") -> Figure:
    """Draws what is left as ever more changes are taken back, the largest, the smallest, or any, first.

    Args:
        table: as :func:`analysis.critical.revert_weights` returns it; over its draws the median and the range are
            drawn.
        objectives: those of the table to draw, a panel each.
        title: above the panels.
    """
    with styled():
        figure = Figure(figsize=(max(5.6, 4.8 * len(objectives)), 4.4), layout="constrained")
        for axes, objective in zip(figure.subplots(1, len(objectives), squeeze=False)[0], objectives, strict=True):
            some = table[table["objective"] == objective.name]
            for place, (order, label) in enumerate(_ORDERS.items()):
                _curve(axes, some[some["order"] == order], place, label)
            for name, colour, style in _references():
                axes.axhline(some[name].iloc[0], color=colour, linestyle=style, lw=1, label=_named(name), zorder=2)
            axes.set_xscale("log")
            axes.set_xlabel(f"changed weights taken back [% of {some['reverted'].max():,}]")
            axes.set_ylabel(axis_label(objective))
            axes.xaxis.set_major_formatter("{x:g}")
            _add_shares(axes, some, "y")
        legend(figure)
        heading(figure, title)
    return figure


def _layer_changes(axes: Axes, tensors: pd.DataFrame, layers: Sequence[str]) -> None:
    """Draws a point for each tensor, of one look for all of a name."""
    own = np.where(tensors["tensor"] == tensors["layer"], "", tensors["tensor"].str.rpartition(".")[2])
    rows = tensors["layer"].map({layer: row for row, layer in enumerate(layers)})
    for place, name in enumerate(dict.fromkeys(own)):
        some = own == name
        axes.scatter(
            100 * tensors["relative_change"][some], rows[some], s=18, facecolors="none",
            edgecolors=COLOURS[(place + 2) % len(COLOURS)], marker="sDvPX*"[place % 6],
            label=f"change of {name or 'tensor'}", zorder=3,
        )  # fmt: skip
    axes.set_xlim(left=-0.04 * axes.get_xlim()[1])  # so that the markers of small changes are whole
    axes.set_xlabel("change\n[% of the tensor's Euclidean norm]")


def _curve(axes: Axes, points: pd.DataFrame, place: int, label: str) -> None:
    over = points.groupby("share")["value"].agg(["median", "min", "max"])
    draws, style = points["draw"].nunique(), look(place)
    shares = 100 * over.index.to_numpy(float)
    note = f"{label}: median and range of {draws} draws" if draws > 1 else label
    axes.plot(shares, over["median"], linewidth=1.4, markersize=4, **style, label=note, zorder=3)
    if draws > 1:
        axes.fill_between(shares, over["min"], over["max"], color=style["color"], alpha=0.2, linewidth=0, zorder=1)


def _references() -> list[tuple[str, str, str]]:
    return [("pretrained", _PRETRAINED, "--"), ("found", _FOUND, ":")]


def _named(reference: str) -> str:
    return {"pretrained": "pre-trained network", "found": "as found"}[reference]


def _add_shares(axes: Axes, table: pd.DataFrame, along: str) -> None:
    """Puts the share of the gain on the other side of an axis of values, where something was gained."""
    if table["retained"].isna().all():
        return
    before, after = table["pretrained"].iloc[0], table["found"].iloc[0]
    functions = (
        lambda value: 100 * (value - before) / (after - before),
        lambda share: before + share / 100 * (after - before),
    )
    if along == "x":
        axes.secondary_xaxis("top", functions=functions).set_xlabel("gain left [%]")
    else:
        axes.secondary_yaxis("right", functions=functions).set_ylabel("gain left [%]")
