"""Experiment files with overrides to a checked configuration; each fault with its line or override."""

import reprlib
import types
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from experiments.config import ExperimentConfig
from experiments.yaml_file import Document, Key, parse_yaml, read_yaml
from moprune.errors import UsageError, not_one_of

# pydantic's words are for programmers; these are for the person who wrote the file.
_EXPECTED: Mapping[str, str] = types.MappingProxyType(
    {
        **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "expected a whole number"),
        **dict.fromkeys(("float_type", "float_parsing"), "expected a number"),
        **dict.fromkeys(("bool_type", "bool_parsing"), "expected true or false"),
        "string_type": "expected text",
        "tuple_type": "expected a list in [brackets]",
        **dict.fromkeys(("model_type", "dict_type"), "expected a group of keys"),
    }
)

# What stands in place of a value may be a whole file of it.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200


def bundled() -> dict[str, Path]:
    """Returns the experiment files that come with moprune, by name."""
    folder = Path(str(resources.files("experiments") / "bundled"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_experiment(experiment: str, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Returns the configuration of a bundled experiment or a file, with overrides ``key.key=value``.

    Raises:
        UsageError: one line a fault: where, what, and the accepted values.
    """
    document = read_yaml(find_experiment(experiment, overrides))
    given: dict[Key, str] = {}
    for override in overrides:
        key, value = parse_override(override)
        _assign(document.values, key, value, override)
        given[key] = f"--set {override}"
    return validate(document, given)


def find_experiment(experiment: str, overrides: Sequence[str] = ()) -> Path:
    """Returns the file of an experiment given by bundled name or path.

    What a bundled experiment is as published may differ by more than the profile's defaults: then NAME with an override
    ``profile=paper`` is the file NAME-paper.
    """
    known = bundled()
    profile = dict(parse_override(override) for override in overrides).get(("profile",))
    for name in (f"{experiment}-{profile}", experiment):
        if name in known:
            return known[name]
    if Path(experiment).suffix in (".yaml", ".yml") or Path(experiment).is_file():
        return Path(experiment)
    raise not_one_of("experiment", experiment, known)


def parse_override(text: str) -> tuple[Key, Any]:
    """Returns key and value of ``search.n_eval=200``; the value is read as YAML.

    Raises:
        UsageError: there is no ``=``, the key is no text, or the value is no YAML.
    """
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise UsageError(f"--set {text}: write key=value, such as search.n_eval=200")
    try:
        key.encode()
        return tuple(key.strip().split(".")), parse_yaml(value, "value")[0]
    except UnicodeEncodeError as error:
        raise UsageError(f"--set {text}: the key is not UTF-8") from error
    except UsageError as error:
        raise UsageError(f"--set {text}: the value is not valid YAML") from error


def validate(document: Document, overrides: Mapping[Key, str] | None = None) -> ExperimentConfig:
    """Returns the checked configuration of a document.

    Raises:
        UsageError: one line a fault.
    """
    try:
        return ExperimentConfig.model_validate(document.values)
    except ValidationError as error:
        faults = [_fault(dict(fault), document, overrides or {}) for fault in error.errors()]
        raise UsageError(*dict.fromkeys(faults)) from None


def dump(config: ExperimentConfig) -> str:
    """Returns the configuration as YAML, every default spelled out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def _assign(values: dict[str, Any], key: Key, value: Any, override: str) -> None:
    for part in key[:-1]:
        inner = values.setdefault(str(part), {})
        if inner is None:
            inner = values[str(part)] = {}
        if not isinstance(inner, dict):
            raise UsageError(f"--set {override}: {part} is not a group of keys")
        values = inner
    values[str(key[-1])] = value


def _fault(fault: dict[str, Any], document: Document, overrides: Mapping[Key, str]) -> str:
    key: Key = tuple(fault["loc"])
    above = (text for o, text in overrides.items() if key[: len(o)] == o)
    below = (text for o, text in overrides.items() if key and o[: len(key)] == key)
    where = next(chain(above, below), None) or document.where(key)
    name = ".".join(str(part) for part in key)
    if fault["type"] == "extra_forbidden":
        accepted = _keys_at(key[:-1])
        near = get_close_matches(str(key[-1]), accepted, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{where}: {name}: unknown key{hint} (accepted: {', '.join(accepted)})"
    if fault["type"] == "missing":
        return f"{where}: {name}: this key is needed and missing{_described(key)}"
    if fault["type"] == "value_error":
        return f"{where}: {name}: {str(fault['msg']).removeprefix('Value error, ')}"
    message = _EXPECTED.get(fault["type"], str(fault["msg"]).replace("Input should be", "expected"))
    return f"{where}: {name}: {message}, not {_SHORT.repr(fault['input'])}"


def _described(key: Key) -> str:
    field = _model_at(key[:-1]).model_fields.get(str(key[-1]))
    return f" ({field.description})" if field is not None and field.description else ""


def _keys_at(key: Key) -> list[str]:
    return list(_model_at(key).model_fields)


def _model_at(key: Key) -> type[BaseModel]:
    """Returns the model that holds the keys below ``key``."""
    model: type[BaseModel] = ExperimentConfig
    for part in key:
        if isinstance(part, int):
            continue
        model = next(iter(_models(model.model_fields[part].annotation)), model)
    return model


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, tuple) or get_args(annotation):
        return [model for argument in get_args(annotation) for model in _models(argument)]
    return []
