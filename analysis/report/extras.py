"""Optional outputs of a run folder: ensembles and explanations, where their commands have been run."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from analysis.ensembles import verdict
from analysis.report.sources import with_deviation
from analysis.report.tables import Table, of_frame
from moprune.errors import MopruneError

MAX_PICTURES = 5_000_000
"""Bytes that all pictures may take in the page; further ones are named, not shown."""

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
    table = _read(path)
    means = verdict.means(table)
    numbers = [name for name in means.columns if f"{name}_sd" in means]
    summary = pd.DataFrame({"ensemble": means.index, "vote": means["vote"].to_numpy()})
    for name in numbers:
        pairs = zip(means[name], means[f"{name}_sd"], strict=True)
        summary[name] = [with_deviation(float(mean), float(sd)) for mean, sd in pairs]
    shown = of_frame(summary, "Ensembles and their controls: mean ± standard deviation over the seeds", numeric=numbers)
    picture = folder / "figures" / "ensembles.png"
    return Extra(verdict.findings(table, images), [shown], [embedded(picture)] if picture.is_file() else [])


def explanations(folder: Path) -> Extra:
    """Returns what ``moprune explain`` has left: its tables and pictures, until :data:`MAX_PICTURES` is reached."""
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
    return Extra([], tables, pictures, notes)


def embedded(path: Path, width: int = _WIDTH) -> Picture:
    """Returns a picture, scaled down to at most ``width`` pixels, in the smaller of PNG and JPEG.

    Raises:
        MopruneError: it cannot be read as a picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise MopruneError(
            f"cannot read the picture {path} ({error}); delete it or run moprune explain again"
        ) from error
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    kinds = {"png": io.BytesIO(), "jpeg": io.BytesIO()}
    image.save(kinds["png"], format="PNG", optimize=True)
    image.save(kinds["jpeg"], format="JPEG", quality=88)
    kind, data = min(((kind, buffer.getvalue()) for kind, buffer in kinds.items()), key=lambda each: len(each[1]))
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Picture(path.stem.replace("_", " "), uri, image.width, image.height)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, keep_default_na=True)
    except (OSError, ValueError) as error:
        raise MopruneError(f"cannot read {path} ({error}); run the command that makes it again") from error
