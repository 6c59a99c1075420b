"""Optional outputs of a run folder: ensembles and explanations, where their commands have been run."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.ensembles import verdict
from analysis.report.sources import in_words, with_deviation
from analysis.report.tables import Table, of_frame
from moprune.data import ImageFiles
from moprune.errors import MopruneError

MAX_PICTURES = 5_000_000
"""Bytes that all pictures may take in the page; further ones are named, not shown."""

_ENSEMBLE_COLUMNS = (
    "members",
    "parameters",
    "latency_ms",
    "error_select",
    "error_test",
    "ood_auroc_test",
    "ece_test",
    "nll_test",
)
_WIDTH = 1400
_ROWS = 200


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI."""

    name: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Extra:
    """What a further command has left in the run folder; empty where it has not been run."""

    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def ensembles(folder: Path, images: int) -> Extra:
    """Returns what ``moprune ensemble`` has left; ``images`` is the size of the test split."""
    path = folder / "ensembles.csv"
    if not path.is_file():
        return Extra()
    with _naming(path):
        return _of_ensembles(folder, images)


def _of_ensembles(folder: Path, images: int) -> Extra:
    table = _read(folder / "ensembles.csv")
    means = verdict.means(table)
    summary = pd.DataFrame({"ensemble": means.index, "vote": means["vote"].to_numpy()})
    for name in (name for name in _ENSEMBLE_COLUMNS if name in means):
        pairs = zip(means[name], means[f"{name}_sd"], strict=True)
        write = _count if name in ("members", "parameters") else with_deviation
        summary[in_words(name)] = [write(float(mean), float(sd)) if np.isfinite(mean) else None for mean, sd in pairs]
    caption = "Ensembles and their controls: mean ± standard deviation over the seeds"
    shown = of_frame(summary, caption, numeric=summary.columns[2:])
    picture = folder / "figures" / "ensembles.png"
    return Extra(verdict.findings(table, images), [shown], [embedded(picture)] if picture.is_file() else [])


def _count(mean: float, deviation: float) -> str:
    """Returns a mean of counts, with its deviation where they differ."""
    digits = 0 if mean >= 100 or mean.is_integer() else 1
    return f"{mean:,.{digits}f}" + (f" ± {deviation:,.{digits}f}" if deviation > 0 else "")


def attributions(folder: Path, units: int = 8) -> dict[str, list[tuple[str, float]]]:
    """Returns the units whose ablation changes explained members most, by solution, as ``moprune explain`` found."""
    path = folder / "explain" / "neurons.csv"
    if not path.is_file():
        return {}
    with _naming(path):
        return _of_neurons(_read(path), units)


def _of_neurons(table: pd.DataFrame, units: int) -> dict[str, list[tuple[str, float]]]:
    if not {"solution", "unit", "class", "ablation"} <= set(table.columns):
        return {}
    table = table[(table["class"] == "all") & np.isfinite(table["ablation"])]
    found = {}
    for solution, rows in table.groupby("solution"):
        first = rows.sort_values("ablation", key=abs, ascending=False, kind="stable").head(units)
        found[str(solution)] = [
            (str(u), round(float(v), 4)) for u, v in zip(first["unit"], first["ablation"], strict=True)
        ]
    return found


def explanations(folder: Path) -> Extra:
    """Returns what ``moprune explain`` has left; of its pictures those that fit into :data:`MAX_PICTURES`."""
    findings = folder / "explain" / "findings.txt"
    with _naming(findings):
        sentences = findings.read_text(encoding="utf-8").splitlines() if findings.is_file() else []
    places = sorted((folder / "explain").rglob("*"))
    tables, notes = [], []
    for path in (path for path in places if path.suffix == ".csv"):
        frame = _read(path)
        if len(frame) > _ROWS:
            notes.append(f"{path.name} has {len(frame):,} rows, of which the first {_ROWS} are shown.")
        tables.append(of_frame(frame.head(_ROWS), path.stem.replace("_", " ")))
    pictures: list[Picture] = []
    room = MAX_PICTURES
    for path in (path for path in places if path.suffix.lower() in (".png", ".jpg", ".jpeg")):
        picture = embedded(path)
        if len(picture.uri) > room:
            notes.append(f"{path.name} is left out to keep this page small; it lies in {path.parent}.")
            continue
        room -= len(picture.uri)
        pictures.append(picture)
    return Extra(sentences, tables, pictures, notes)


def embedded(path: Path, width: int = _WIDTH) -> Picture:
    """Returns a picture, scaled down to at most ``width`` pixels, in the smaller of PNG and JPEG.

    Raises:
        UsageError: it cannot be read as a picture, or has more pixels than images may have.
    """
    from PIL import Image

    image = ImageFiles(path.parent, (path.name,))[0]
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    kinds = {"png": io.BytesIO(), "jpeg": io.BytesIO()}
    image.save(kinds["png"], format="PNG", optimize=True)
    image.save(kinds["jpeg"], format="JPEG", quality=88)
    kind, data = min(((kind, buffer.getvalue()) for kind, buffer in kinds.items()), key=lambda each: len(each[1]))
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Picture(path.stem.replace("_", " "), uri, image.width, image.height)


def _read(path: Path) -> pd.DataFrame:
    with _naming(path):
        return pd.read_csv(path, dtype={"solution": str})


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Makes of every failure to read a file, which may be somebody else's, an error that names it."""
    try:
        yield
    except (MopruneError, MemoryError):
        raise
    except Exception as error:  # a table can be wrong in any way
        raise MopruneError(f"cannot read {path} ({error}); run the command that makes it again") from error
