"""The seal of an evaluation log: a number that all its rows add up to, so that no bit changes unnoticed.

SQLite sees damage to the structure of a file, not to the values in it: a digit of an objective that flips on a disk
would be believed. Each row has a digest of 128 bits; the seal is their sum, which one transaction keeps up to date
whatever the size of the log (Bellare and Micciancio, 1997, "A new paradigm for collision-free hashing", AdHash). It
guards against accidents, not against people.
"""

import hashlib
import sqlite3
from collections.abc import Iterable
from typing import Any, TypeAlias

Row: TypeAlias = tuple[Any, ...]
"""A row's table and what identifies it by content: text, integers and doubles; no internal ids."""

_MODULUS = 1 << 128

# Genomes are not in it: they may be added later, and each has its own digest.
_ROWS = (
    "SELECT 'meta', key, value FROM meta WHERE key <> 'seal'",
    "SELECT 'evaluation', context, genome_sha256, boolean, length, \"values\", seconds FROM evaluation",
    "SELECT 'request', stage, seed, position, generation, context, genome_sha256 "
    "FROM request JOIN evaluation ON evaluation.id = request.evaluation",
)


def total(rows: Iterable[Row]) -> int:
    """Returns what rows add up to, in [0, 2**128); their order does not matter."""
    digests = (hashlib.blake2b(repr(row).encode(), digest_size=16).digest() for row in rows)
    return sum(int.from_bytes(digest) for digest in digests) % _MODULUS


def total_of(connection: sqlite3.Connection) -> int:
    """Returns what all rows of a log add up to."""
    return sum(total(connection.execute(statement)) for statement in _ROWS) % _MODULUS


def stored(connection: sqlite3.Connection) -> str | None:
    """Returns the seal a log carries, 32 hexadecimal digits in quotes; None if it was never sealed."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'seal'").fetchone()
    return None if row is None else str(row[0])


def write(connection: sqlite3.Connection, seal: int) -> None:
    """Stores the seal of a log."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('seal', ?)", (text(seal),))


def add(connection: sqlite3.Connection, rows: Iterable[Row], gone: Iterable[Row] = ()) -> None:
    """Brings a seal up to date within the transaction that writes some rows and replaces others."""
    seal = stored(connection)
    assert seal is not None  # every log that is opened to be written is sealed
    write(connection, (int(seal.strip('"'), 16) + total(rows) - total(gone)) % _MODULUS)


def text(seal: int) -> str:
    """Returns a seal as it is stored: JSON, as all of ``meta``."""
    return f'"{seal:032x}"'
