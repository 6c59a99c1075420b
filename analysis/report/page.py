"""The page of a report: one HTML file with its style, script and data inside, and nothing to be fetched."""

import base64
import dataclasses
import hashlib
import json
from importlib.resources import files
from typing import Any

from analysis.report.content import Content
from analysis.report.sources import shown
from analysis.report.tables import Cell

_DATA = (
    "goals",
    "splits",
    "groups",
    "baselines",
    "seeds",
    "layers",
    "points",
    "curves",
    "differences",
    "frequencies",
    "attributions",
)


def render(content: Content) -> str:
    """Returns the page. All that comes from the run is escaped, in the HTML as in the data of the script."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = _cell
    style, script = _asset("style.css"), _asset("report.js")
    data = {name: getattr(content, name) for name in _DATA} | {"run": content.folder}
    page = environment.from_string(_asset("template.html")).render(
        content=content, style=style, script=script, data=safe_json(data),
        # Nothing but this very style and script may act in the page, whatever a run's text may hold.
        policy=f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'",
    )  # fmt: skip
    return page.encode("utf-8", "replace").decode("utf-8")  # names of files may hold bytes that are no text


def safe_json(value: Any) -> str:
    """Returns JSON that can stand inside a script element: nothing in it ends the element or opens a comment."""
    text = json.dumps(value, default=dataclasses.asdict, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return files(__package__ or "analysis.report").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _cell(value: Cell) -> str:
    if value is None:
        return "\u2013"
    return shown(value) if isinstance(value, float) else str(value)
