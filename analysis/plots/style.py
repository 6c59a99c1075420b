"""What all pictures share: colours, axes with units, and how they are saved."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from moprune.files import replacing
from moprune.objectives import Objective

# Okabe & Ito's palette: distinguishable with every common form of colour blindness, and in grey by its lightness.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = ("^", "s", "D", "v", "P", "X")
SEARCH = "front of the search"

STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "font.size": 9,
    "figure.titlesize": 10,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "figure.dpi": 200,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draws what is inside in moprune's style; the settings of the process stay as they are."""
    with mpl.rc_context(STYLE):
        yield


def name_of(objective: Objective) -> str:
    """Returns an objective's name as people write it."""
    return objective.name.replace("_", " ").replace("ood", "OOD").replace("auroc", "AUROC").replace("fpr", "FPR")


def axis_label(objective: Objective) -> str:
    """Returns the label of an objective's axis: its name, unit and which way is better."""
    better = "lower is better" if objective.minimise else "higher is better"
    return f"{name_of(objective)} [{objective.unit}]\n({better})"


def tall_label(objective: Objective) -> str:
    """Returns :func:`axis_label` in three short lines, for small panels."""
    return axis_label(objective).replace(" [", "\n[", 1)


def look(place: int) -> dict[str, Any]:
    """Returns colour and marker of a source by its place: 0 is the search, then the controls."""
    if place == 0:
        return {"color": COLOURS[0], "marker": "o"}
    return {"color": COLOURS[1 + (place - 1) % (len(COLOURS) - 1)], "marker": MARKERS[(place - 1) % len(MARKERS)]}


def dashes(place: int) -> str:
    """Returns the line style of a source by its place: another one when the controls have used up the colours."""
    return "-" if place == 0 else ("--", ":", "-.")[(place - 1) // (len(COLOURS) - 1) % 3]


def area(count: int) -> float:
    """Returns the area of a marker (points squared) that keeps so many of them apart: 22 for a few, 6 for thousands."""
    return float(min(22.0, max(6.0, 22.0 * (60.0 / max(count, 1)) ** 0.5)))


def upright(first: Objective, second: Objective) -> tuple[Objective, Objective]:
    """Returns a pair as (horizontal, vertical): cost is horizontal wherever there is one, as in published fronts."""
    return (first, second) if first.is_cost or not second.is_cost else (second, first)


def legend(figure: Figure, handles: Sequence[Any] | None = None) -> None:
    """Puts one legend below all panels, each label once, in as many rows as its width asks for."""
    found: dict[str, Any] = {}
    if handles is None:
        for axes in figure.axes:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                found.setdefault(label, handle)
    else:
        found = {handle.get_label(): handle for handle in handles}
    if not found:
        return
    # About 15 characters an inch at this font, and 5 for the sample beside each.
    longest = max(len(label) + 5 for label in found)
    columns = max(1, min(len(found), int(figure.get_figwidth() * 15 / longest)))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)


def heading(figure: Figure, title: str) -> None:
    """Puts a title above all panels, broken into lines that fit the figure's width."""
    if title:
        figure.suptitle("\n".join(textwrap.wrap(title, int(figure.get_figwidth() * 13))))


def save(figure: Figure, path: Path) -> None:
    """Writes a figure to ``path`` (PNG, PDF or SVG by its suffix), atomically."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."), metadata=_plain_metadata(path))


def _plain_metadata(path: Path) -> dict[str, Any]:
    # Without dates and versions the same figure is the same file.
    return {{".png": "Software", ".pdf": "CreationDate"}.get(path.suffix, "Date"): None}
