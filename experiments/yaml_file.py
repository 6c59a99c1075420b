"""YAML with line numbers: what a file says and on which line it says it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moprune.errors import UsageError

Key = tuple[str | int, ...]

MOST_ENTRIES = 10_000
"""Keys and list items that a text may stand for: aliases of aliases would make any number of them."""
MOST_CHARACTERS = 500_000
"""Of a text: reading more takes longer than anybody waits."""


@dataclass(frozen=True)
class Document:
    """A parsed YAML mapping.

    Attributes:
        values: its content as plain Python values.
        lines: the line, from 1, of each key and list item by its path, ``("search", "n_eval")``.
        name: the file, for messages.
    """

    values: dict[str, Any]
    lines: Mapping[Key, int]
    name: str

    def where(self, key: Key) -> str:
        """Returns ``file:line`` of a key, or of the nearest key above it."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.lines:
                return f"{self.name}:{self.lines[key[:length]]}"
        return self.name


def read_yaml(path: Path) -> Document:
    """Reads a YAML file whose top level is a mapping, safely: no tags are constructed.

    Raises:
        UsageError: the file cannot be read or is no YAML mapping, a key is given twice, or there are more than
            :data:`MOST_ENTRIES` or :data:`MOST_CHARACTERS`; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}; 'moprune list' shows the bundled experiments") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    values, lines = parse_yaml(text, path.name)
    if not isinstance(values, dict):
        raise UsageError(f"{path.name}: an experiment file is a mapping of keys to values (see 'moprune list')")
    return Document(values, lines, path.name)


def parse_yaml(text: str, name: str) -> tuple[Any, dict[Key, int]]:
    """Returns what a YAML text says, and the line of each key and list item.

    Raises:
        UsageError: as :func:`read_yaml`; ``name`` is named.
    """
    lines: dict[Key, int] = {}
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"{name}: more than {MOST_CHARACTERS:,} characters; write what differs alone")
    try:
        _walk(yaml.compose(text, Loader=yaml.SafeLoader), (), lines, name)
        return yaml.safe_load(text), lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{name}:{line}: not valid YAML: {error.problem}") from error
    except RecursionError as error:
        raise UsageError(f"{name}: not valid YAML: it is nested too deeply") from error
    except UsageError:
        raise
    except Exception as error:  # of values that look like dates, numbers or binary data and are none
        raise UsageError(f"{name}: not valid YAML: {error}") from error


def _walk(node: yaml.Node | None, key: Key, lines: dict[Key, int], name: str) -> None:
    if len(lines) > MOST_ENTRIES:
        raise UsageError(f"{name}: more than {MOST_ENTRIES:,} keys and list items; write what differs alone")
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                raise UsageError(f"{name}:{line}: keys must be plain words")
            child = (*key, str(key_node.value))
            if child in lines:
                raise UsageError(f"{name}:{line}: {_dotted(child)} is given twice (first on line {lines[child]})")
            lines[child] = line
            _walk(value, child, lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            lines[*key, i] = value.start_mark.line + 1
            _walk(value, (*key, i), lines, name)


def _dotted(key: Key) -> str:
    return ".".join(str(part) for part in key)
