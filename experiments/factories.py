"""Which factories (``package.module:function``) a person has named: only those are imported for a run that lies there.

A run folder may be somebody else's, and its ``experiment.yaml`` may name any function that this Python finds. What the
person's own command or experiment file names is remembered, and nothing else is imported for a folder.
"""

import re
from contextlib import suppress
from pathlib import Path

from moprune.errors import MopruneError, UsageError
from moprune.files import cache_folder, write_text

_FACTORY = re.compile(r"[\w.]+:\w+")


def is_factory(arch: str) -> bool:
    """Returns whether a network is made by a person's function."""
    return ":" in arch


def trust(arch: str) -> None:
    """Remembers a factory as named by the person.

    Raises:
        UsageError: it is none.
        MopruneError: the cache folder cannot be written.
    """
    if not _FACTORY.fullmatch(arch):
        raise UsageError(f"{arch!r} is no factory; name one as package.module:function")
    if arch not in _trusted():
        write_text(_file(), "".join(f"{each}\n" for each in sorted({*_trusted(), arch})))


def named(arch: str) -> None:
    """Remembers what a command of the person named, if it is a factory and the cache folder can be written."""
    if is_factory(arch):
        with suppress(MopruneError):
            trust(arch)


def check(arch: str, folder: Path) -> None:
    """Refuses to make the network of a run folder by a function that the person has not named.

    Raises:
        UsageError: says which, and how to name it.
    """
    if is_factory(arch) and arch not in _trusted():
        raise UsageError(
            f"the network of the run in {folder} is made by {arch!r}, code that would be imported and run and that you "
            f"have not named yet; if you trust it: moprune trust {arch}"
        )


def _file() -> Path:
    return cache_folder() / "factories.txt"


def _trusted() -> set[str]:
    try:
        return set(_file().read_text(encoding="utf-8").split("\n")) - {""}
    except (OSError, ValueError):
        return set()
