"""What all pictures share: colours, axes with units, and how they are saved."""

from collections.abc import Iterator
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

STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
    "legend.frameon": False,
    "figure.dpi": 200,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draws what is inside in moprune's style; the settings of the process stay as they are."""
    with mpl.rc_context(STYLE):
        yield


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
