"""Pictures of what matters to a pruned network: its units, and where it looks in images."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from analysis.attribution.faithfulness import CONTROLS, MODES, Faithfulness
from analysis.plots.style import COLOURS, styled

_BANDS = {
    ("kin_low", "kin_high"): ("#DDDDDD", "shared ancestry alone, 95%"),
    ("low", "high"): ("#AAAAAA", "chance alone, 95%"),
}
_KEPT, _AVOIDED, _PLAIN = COLOURS[5], COLOURS[0], "#555555"


def unit_frequencies(table: pd.DataFrame, *, top: int = 30, title: str = "") -> Figure:
    """Draws how often the search kept each unit, with the bands of both null models.

    Args:
        table: as :func:`analysis.attribution.frequency.over_seeds` returns it.
        top: units to draw one by one, those kept most often.
        title: above the panels.
    """
    layers = sorted(table["layer"].unique())
    first = table.sort_values(["frequency", "unit"], ascending=[False, True]).head(top).iloc[::-1]
    tested = bool(table["q"].notna().any())
    reach = min(1.02, 1.1 * float(table[["frequency", "kin_high", "high"]].max().max()))
    with styled():
        figure = Figure(figsize=(9.6, 1.7 + 0.17 * max(len(first), 16)), layout="constrained")
        grid = figure.add_gridspec(len(layers), 2, width_ratios=[1, 1.1])
        bars = figure.add_subplot(grid[:, 0])
        places = np.arange(len(first))
        for (low, high), (colour, label) in _BANDS.items():
            bars.barh(
                places, first[high] - first[low], left=first[low], height=0.95, color=colour, label=label, zorder=1
            )
        bars.scatter(first["frequency"], places, s=18, c=[_colour(q, True) for q in first["q"]], zorder=3)
        bars.hlines(places, 0, first["frequency"], color=[_colour(q, True) for q in first["q"]], lw=1, zorder=2)
        bars.set(yticks=places, yticklabels=first["unit"], xlim=(0, reach), ylim=(-0.7, len(first) - 0.3))
        bars.set_xlabel("share of the front that keeps the unit (mean over seeds)")
        bars.set_title(f"the {len(first)} units kept most often", fontsize=9)
        bars.grid(axis="y", visible=False)
        for row, layer in enumerate(layers):
            axes = figure.add_subplot(grid[row, 1])
            _profile(axes, table[table["layer"] == layer], reach)
            axes.set_title(f"all {(table['layer'] == layer).sum()} units: {_layer(layer)}", fontsize=9)
        axes.set_xlabel("rank")
        handles, labels = bars.get_legend_handles_labels()
        looks = [(_KEPT, "kept more, q < 0.05"), (_AVOIDED, "kept less, q < 0.05"), (_PLAIN, "unit")]
        for colour, label in looks if tested else [(_PLAIN, "unit (too few seeds, or none the same, for a test)")]:
            handles.append(bars.scatter([], [], s=18, color=colour))
            labels.append(label)
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
        if title:
            figure.suptitle(title)
    return figure


def frequency_effects(table: pd.DataFrame, *, value: str = "error", title: str = "") -> Figure:
    """Draws how often the search kept each unit against the effect of keeping it in random masks.

    Args:
        table: frequencies with the columns ``effect`` and ``effect_q`` of :mod:`analysis.attribution.randomised`.
        value: what the effect is on, a share.
        title: above the panel.
    """
    known = table[np.isfinite(table["effect"])].assign(effect=100 * table["effect"])
    with styled():
        figure = Figure(figsize=(5.6, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for sure, colour, label in ((False, "#AAAAAA", "q >= 0.05"), (True, _KEPT, "q < 0.05 in random masks")):
            some = known[(known["effect_q"] < 0.05) == sure]
            axes.scatter(some["frequency"], some["effect"], s=20, color=colour, label=label, linewidths=0)
        apart = (known["frequency"] - known["expected"]).abs()
        reach = known["effect"].abs() / known["effect"].abs().max() + apart / max(apart.max(), 1e-9)
        for _, row in known.assign(reach=reach).nlargest(6, "reach").iterrows():
            axes.annotate(
                _short(str(row["unit"])),
                (row["frequency"], row["effect"]),
                textcoords="offset points",
                xytext=(5, 3),
                fontsize=7,
            )
        axes.axhline(0, color="black", lw=0.8)
        axes.margins(0.08)
        axes.set_xlabel("share of the front that keeps the unit (mean over seeds)")
        axes.set_ylabel(f"change of the {value} [percentage points]\nwhen kept in place of another unit")
        axes.legend(loc="best", fontsize=8, title="numbers: features", title_fontsize=8)
        if title:
            figure.suptitle(title)
    return figure


def class_importance(
    table: pd.DataFrame, classes: Sequence[str], *, measure: str = "conductance", top: int = 20, title: str = ""
) -> Figure:
    """Draws the importance of units for each class as one heat map a layer.

    Args:
        table: as :func:`analysis.attribution.neurons.importance` returns it.
        classes: names of the classes.
        measure: its column to draw: conductance, influence, ablation or ablation_loss.
        top: units a layer, those with the greatest magnitude over all images.
        title: above the panels.
    """
    layers = sorted(table["layer"].unique())
    shown = [c for c in sorted(table["class"].unique()) if c >= 0]
    names = ["all", *(classes[c] for c in shown)]
    panels = []
    for layer in layers:
        wide = table[table["layer"] == layer].pivot(index="unit", columns="class", values=measure)[[-1, *shown]]
        order = wide[-1].abs().sort_values(ascending=False, kind="stable").index[:top]
        panels.append(wide.loc[order])
    limit = max(float(np.abs(panel.to_numpy()).max()) for panel in panels) or 1.0
    unit = {"ablation_loss": "nats per image", "influence": "logits per unit of activation"}.get(measure, "logits")
    rows = max(len(panel) for panel in panels)
    with styled():
        width = 1.6 + 0.34 * len(names)
        figure = Figure(figsize=(width * len(layers) + 1.0, 1.6 + 0.2 * rows), layout="constrained")
        for axes, panel, layer in zip(figure.subplots(1, len(layers), squeeze=False)[0], panels, layers, strict=True):
            picture = axes.imshow(panel.to_numpy(), cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
            axes.set(xticks=range(len(names)), yticks=range(len(panel)), yticklabels=[_short(u) for u in panel.index])
            axes.set_xticklabels(names, rotation=90 if max(map(len, names)) > 3 else 0)
            axes.axvline(0.5, color="black", lw=1)
            axes.grid(visible=False)
            axes.set_title(_layer(layer), fontsize=9)
            axes.set_xlabel("class of the image")
        figure.colorbar(picture, ax=figure.axes, shrink=0.8, label=f"{measure.replace('_', ' ')} [{unit}]")
        if title:
            figure.suptitle(title)
    return figure


def attribution_panels(
    images: Tensor, maps: Mapping[str, Tensor], *, labels: Sequence[str] = (), title: str = ""
) -> Figure:
    """Draws images, a row each, and maps over them, a column each.

    Args:
        images: as a person sees them, ``(n, C, H, W)`` in [0, 1], of 1 or 3 channels.
        maps: by name, ``(n, H, W)``, >= 0; each is drawn on its own scale, from 0 to its maximum.
        labels: a text for each image.
        title: above the panels.
    """
    count = len(images)
    with styled():
        figure = Figure(figsize=(1.35 * (1 + len(maps)) + 0.9, 1.38 * count + 0.9), layout="constrained")
        panels = figure.subplots(count, 1 + len(maps), squeeze=False)
        for i in range(count):
            seen = images[i].clamp(0, 1).permute(1, 2, 0).numpy()
            grey = seen.mean(2) if seen.shape[2] == 3 else seen[:, :, 0]
            panels[i, 0].imshow(seen if seen.shape[2] == 3 else grey, cmap="gray", vmin=0, vmax=1)
            if labels:
                panels[i, 0].set_ylabel(labels[i], fontsize=7)
            for axes, (name, values) in zip(panels[i, 1:], maps.items(), strict=True):
                highest = float(values[i].max())
                axes.imshow(grey, cmap="gray", vmin=0, vmax=1)
                if highest > 0:
                    picture = axes.imshow(values[i].numpy() / highest, cmap="viridis", vmin=0, vmax=1, alpha=0.6)
                else:
                    axes.text(
                        0.5, 0.5, "no\nevidence", transform=axes.transAxes, ha="center", va="center", fontsize=7,
                        color="white", bbox={"facecolor": "black", "alpha": 0.6, "linewidth": 0},
                    )  # fmt: skip
                if i == 0:
                    axes.set_title(name, fontsize=7)
        panels[0, 0].set_title("image", fontsize=7)
        for axes in panels.flat:
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
        if any(float(values.max()) > 0 for values in maps.values()):
            bar = figure.colorbar(picture, ax=panels, shrink=min(1.0, 3 / count), fraction=0.05)
            bar.set_label("Grad-CAM, share of the map's maximum", fontsize=7)
            bar.ax.tick_params(labelsize=7)
        if title:
            figure.suptitle(title)
    return figure


def faithfulness_curves(result: Faithfulness, *, title: str = "") -> Figure:
    """Draws deletion and insertion: the probability of the class as pixels go or come, map and controls."""
    looks = {
        "map": (COLOURS[5], "-", "the map"),
        "shuffled": (COLOURS[0], "--", "control: the map's cells shuffled"),
        "other": (COLOURS[2], ":", "control: the map of another image"),
    }
    x = 100 * result.fractions
    with styled():
        figure = Figure(figsize=(8.4, 3.9), layout="constrained")
        for axes, mode in zip(figure.subplots(1, 2, sharey=True), MODES, strict=True):
            for name in ("map", *CONTROLS):
                colour, line, label = looks[name]
                middle, low, high = _mean_band(result.curves[mode, name])
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
                axes.plot(x, middle, color=colour, ls=line, lw=1.8, label=label)
            better = "lower is better" if mode == "deletion" else "higher is better"
            axes.set_title(f"{mode} ({better})", fontsize=9)
            axes.set_xlabel(
                f"pixels {'blurred away' if mode == 'deletion' else 'restored'} [%], the map's highest first"
            )
            axes.set(xlim=(0, 100), ylim=(0, 1))
        figure.axes[0].set_ylabel(
            f"probability of the predicted class\n(mean of {len(result.curves['deletion', 'map'])} images, 95%)"
        )
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        if title:
            figure.suptitle(title)
    return figure


def _mean_band(curves: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Returns the mean over images and its 95% interval (normal), within [0, 1]."""
    middle = curves.mean(0)
    half = 1.96 * curves.std(0, ddof=1) / np.sqrt(len(curves))
    return middle, np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def _profile(axes: Axes, table: pd.DataFrame, reach: float) -> None:
    ordered = table.sort_values("frequency", ascending=False)
    for (low, high), (colour, _) in _BANDS.items():
        axes.axhspan(ordered[low].iloc[0], ordered[high].iloc[0], color=colour, linewidth=0, zorder=1)
    above = (ordered["frequency"] > ordered["expected"]).tolist()
    colours = [_colour(q, up) for q, up in zip(ordered["q"], above, strict=True)]
    axes.scatter(np.arange(1, len(ordered) + 1), ordered["frequency"], s=8, c=colours, zorder=3)
    axes.set(ylim=(0, reach), xlim=(0, len(ordered) + 1))
    axes.set_ylabel("share of the front")


def _colour(q: float, above: bool) -> str:
    return _PLAIN if not q < 0.05 else _KEPT if above else _AVOIDED


def _layer(layer: int) -> str:
    return "features" if layer == 0 else f"hidden layer {layer}"


def _short(unit: str) -> str:
    return unit.split(" neuron ")[-1] if " neuron " in unit else unit.removeprefix("feature ")
