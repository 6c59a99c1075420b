"""What may come of an input: nothing at all, or an error in clear lines that say where it is."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from moprune.errors import MopruneError

LONGEST_LINE = 4000


@dataclass(frozen=True)
class Target:
    """Something that reads foreign bytes.

    Attributes:
        read: reads an input; whatever it raises is a fault of moprune.
        beginnings: makes inputs that are well-formed, or nearly so, to start from.
        examples: how many inputs the suite tries.
    """

    read: Callable[[bytes], None]
    beginnings: Callable[[], Sequence[bytes]]
    examples: int = 150


@contextlib.contextmanager
def refused(*names: str) -> Iterator[None]:
    """Lets errors of moprune pass whose every line can be shown and has one of ``names`` in it."""
    try:
        yield
    except MopruneError as error:
        lines = str(error).split("\n")
        for line in lines:
            assert line.isprintable(), f"not one line that can be shown: {line!r}"
            named = [name for name in names if name in line]
            assert named, f"none of {names} is named: {line!r}"
            assert len(line) <= LONGEST_LINE + max(map(len, named)), f"{len(line)} characters: {line[:200]!r}"


@cache
def scratch(name: str) -> Path:
    """Returns a folder of this process for a target, empty at first."""
    folder = Path(tempfile.mkdtemp(prefix=f"moprune-fuzz-{name}-"))
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
