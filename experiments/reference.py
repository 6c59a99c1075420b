"""Every key of an experiment file, read off the configuration itself."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from experiments.config import ExperimentConfig, SplitsConfig
from experiments.profiles import PROFILES


def entries(model: type[BaseModel] = ExperimentConfig, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yields (key, type, default, meaning) of each key, groups spelled out key by key."""
    for name, field in model.model_fields.items():
        if model is SplitsConfig and name != "train":  # the four splits have the same keys
            continue
        name = "SPLIT" if model is SplitsConfig else name
        inner = next((a for a in _parts(field.annotation) if isinstance(a, type) and issubclass(a, BaseModel)), None)
        if inner is None:
            key = f"{prefix}{name}"
            yield key, _type(field), _by_profile(key, _default(field)), field.description or ""
        else:
            item = "[]" if "tuple" in str(field.annotation) else ""
            yield from entries(inner, f"{prefix}{name}{item}.")


def _parts(annotation: Any) -> list[Any]:
    return [annotation, *(part for argument in get_args(annotation) for part in _parts(argument))]


def _type(field: FieldInfo) -> str:
    parts = _parts(field.annotation)
    literals = [repr(p).strip("'") for p in parts if isinstance(p, str)]
    kinds = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    named = " or ".join(literals) or next((kinds[p] for p in parts if p in kinds), "value")
    return f"list of {named}" if "tuple" in str(field.annotation) else named


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    return _shown(field.default)


def _by_profile(key: str, default: str) -> str:
    """Returns a key's default, and that of the profile ``paper`` where it is another."""
    found = {profile: _at(values, key) for profile, values in PROFILES.items()}
    sound, paper = (default if found[name] is None else _shown(found[name]) for name in ("sound", "paper"))
    return sound if sound == paper else f"{sound} (paper: {paper})"


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(str(each) for each in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value in (None, "") else str(value)
