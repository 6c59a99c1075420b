"""Every key of an experiment file, read off the configuration itself."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from experiments.config import ExperimentConfig, SplitsConfig
from experiments.config.experiment import TASKS
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
    if "dict" in str(field.annotation):
        return "names with lists of text"
    named = " or ".join(literals) or next((kinds[p] for p in parts if p in kinds), "value")
    return f"list of {named}" if "tuple" in str(field.annotation) else named


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    return _shown(field.default)


def _by_profile(key: str, default: str) -> str:
    """Returns a key's default, and those of the other profile and of the other tasks where they are others."""
    section = key.partition(".")[0]
    owners = [task for task, keys in TASKS.items() if section in keys] or list(TASKS)
    said: dict[str, str] = {}
    for task in owners:
        sound, paper = (_or_default(_at(PROFILES[task][profile], key), default) for profile in ("sound", "paper"))
        who = "" if task == owners[0] else task
        if not said or sound != next(iter(said.values())):
            said[who] = sound
        if paper != sound:
            said[f"{who}, paper".lstrip(", ")] = paper
    first, *others = said
    return said[first] + (f" ({'; '.join(f'{who}: {said[who]}' for who in others)})" if others else "")


def _or_default(value: Any, default: str) -> str:
    return default if value is None else _shown(value)


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
