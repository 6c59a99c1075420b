"""The evaluation log: history, cache and checkpoint of a run in one SQLite file.

Each evaluated genome is one row, with its objective values as exact doubles; each request an algorithm made is
another row that points to it. Resuming is replaying: the algorithm starts again from its seed, what it asks for is
found here, and the first request that is not is where the work goes on. There is no other state.

One writer at a time holds the file (a lock beside it), one transaction a generation, with SQLite's rollback
journal (write-ahead logging does not work on network file systems). A seal over all rows (:mod:`moprune.seal`) is
checked whenever the file is opened.
"""

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeAlias

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from moprune import seal
from moprune.errors import MopruneError, UsageError

FORMAT = 2
_UNSEALED = 1
"""The format before the seal: read as it is, and sealed once it is opened to be written."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE evaluation (
    id INTEGER PRIMARY KEY,
    context TEXT NOT NULL,
    genome_sha256 TEXT NOT NULL,
    genome BLOB NOT NULL,
    boolean INTEGER NOT NULL,
    length INTEGER NOT NULL,
    "values" TEXT NOT NULL,
    seconds REAL NOT NULL,
    UNIQUE (context, genome_sha256)
);
CREATE TABLE request (
    stage TEXT NOT NULL,
    seed INTEGER NOT NULL,
    position INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    evaluation INTEGER NOT NULL REFERENCES evaluation (id),
    PRIMARY KEY (stage, seed, position)
) WITHOUT ROWID;
"""


Key: TypeAlias = tuple[str, str]
"""The context and the genome's digest of an evaluation."""

KEPT_BYTES = 1 << 20
"""Longer genomes (whole networks) are not logged but by their digest; :meth:`EvaluationLog.keep` keeps chosen ones."""

_KINDS: Mapping[str, int] = MappingProxyType({"float64": 0, "bool": 1, "float32": 2})
_KIND_NAMES = ("doubles", "bits", "singles")
_BITS: Mapping[int, int] = MappingProxyType({0: 64, 1: 1, 2: 32})


@dataclass(frozen=True)
class Record:
    """One evaluated genome.

    Attributes:
        digest: SHA-256 of the genome, see :func:`genome_digest`.
        genome: the genome, ``(n_var,)``, bool, float64 or float32; None if it was too long to be kept.
        values: arrays of exact doubles by name: ``F`` and what else the problem put out (``G``, ``natural``, ...).
        seconds: the candidate's share of the time its batch took.
        context: what was in force besides the genome.
    """

    digest: str
    genome: NDArray[Any] | None
    values: Mapping[str, Sequence[float]]
    seconds: float
    context: str

    @property
    def key(self) -> Key:
        """What the evaluation is found by."""
        return self.context, self.digest


def genome_digest(genome: NDArray[Any]) -> str:
    """Returns the SHA-256 of a genome: its type, length and bits, doubles or singles (little-endian)."""
    return _digest(_kind(genome), genome.size, _pack(genome))


class EvaluationLog:
    """The log of one experiment, all its seeds and stages; a context manager.

    Args:
        path: the file, created if absent; None keeps the log in memory.
        read_only: whether it is only looked at: without the lock, by as many processes as like.

    Raises:
        MopruneError: the file is damaged, of another format, in use by another process, or cannot be written.
    """

    def __init__(self, path: Path | None = None, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._lock = FileLock(f"{path}.lock") if path and not read_only else None
        self._connection: sqlite3.Connection | None = None
        with self._clear_errors():
            if path and not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._acquire()
            try:
                self._connection = self._open()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and releases its lock; twice does no harm."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None and self._lock.is_locked:
            # The lock file stays: removing it would let two later processes hold "the" lock on two files.
            self._lock.release()

    def claim(self, fingerprint: Mapping[str, Any]) -> None:
        """Ties the log to a configuration, or checks that it is the one the log was made with.

        Raises:
            UsageError: the log belongs to another configuration; names what differs.
        """
        ours = json.loads(json.dumps(fingerprint, sort_keys=True))
        stored = self.meta("fingerprint")
        if stored is None:
            self.set_meta("fingerprint", ours)
        elif stored != ours:
            changed = ", ".join(sorted(_differences(stored, ours)))
            raise UsageError(
                f"{self.path or 'this log'} was made with another configuration (differs in: {changed}); "
                "choose another output folder, or go back to the first configuration"
            )

    def meta(self, key: str) -> Any:
        """Returns the stored JSON value of ``key``, or None."""
        rows = self._query("SELECT value FROM meta WHERE key = ?", (key,))
        try:
            return json.loads(rows[0][0]) if rows else None
        except (TypeError, ValueError, RecursionError) as error:
            raise self._damaged(f"its {key} cannot be read") from error

    def set_meta(self, key: str, value: Any) -> None:
        """Stores a JSON value under ``key``."""
        with self._transaction() as connection:
            gone = connection.execute("SELECT 'meta', key, value FROM meta WHERE key = ?", (key,)).fetchall()
            row = (key, json.dumps(value, sort_keys=True))
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", row)
            seal.add(connection, [("meta", *row)], gone)

    def lookup(self, keys: Iterable[Key]) -> dict[Key, Record]:
        """Returns the records of those evaluations that were done before."""
        found = {}
        for key in keys:
            rows = self._query(
                "SELECT genome_sha256, genome, boolean, length, \"values\", seconds, context FROM evaluation "
                "WHERE context = ? AND genome_sha256 = ?",
                key,
            )  # fmt: skip
            if rows:
                (found[key],) = self._records(rows)
        return found

    def requests(self, stage: str, seed: int) -> list[str]:
        """Returns the digests an algorithm asked for so far, in order."""
        rows = self._query(
            "SELECT genome_sha256 FROM request JOIN evaluation ON evaluation.id = request.evaluation "
            "WHERE stage = ? AND seed = ? ORDER BY position",
            (stage, seed),
        )
        return [row[0] for row in rows]

    def append(
        self,
        *,
        stage: str,
        seed: int,
        generation: int,
        position: int,
        requests: Sequence[Key],
        records: Sequence[Record],
    ) -> None:
        """Writes one generation in one transaction: its new records, and its requests from ``position`` on."""
        evaluated = [(*r.key, *_stored(r.genome), _exact(r.values), float(r.seconds)) for r in records]
        asked = [(stage, int(seed), int(position + i), int(generation), *key) for i, key in enumerate(requests)]
        with self._transaction() as connection:
            connection.executemany(
                'INSERT INTO evaluation (context, genome_sha256, genome, boolean, length, "values", seconds) '
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                evaluated,
            )
            connection.executemany(
                "INSERT INTO request SELECT ?, ?, ?, ?, id FROM evaluation WHERE context = ? AND genome_sha256 = ?",
                asked,
            )
            rows = [("evaluation", *row[:2], *row[3:]) for row in evaluated]
            seal.add(connection, [*rows, *(("request", *row) for row in asked)])

    def keep(self, genomes: Iterable[NDArray[Any]]) -> None:
        """Stores evaluated genomes that were too long to be logged with every evaluation; twice does no harm."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE evaluation SET genome = ? WHERE genome_sha256 = ? AND length(genome) = 0",
                ((_pack(genome), genome_digest(genome)) for genome in genomes),
            )

    def history(self, stage: str, seed: int) -> tuple[pd.DataFrame, NDArray[Any]]:
        """Returns what an algorithm evaluated, in order, each genome at its first request.

        Returns:
            A frame with columns ``position`` (of the request, from 0), ``generation``, ``seconds``, ``context`` (of the
            key), ``digest`` and, for each of the values a record holds, an object column of float64 arrays; and the
            genomes, ``(n, n_var)``; where one was too long to be kept, ``(n,)`` objects, None in its place.
        """
        rows = self._query(
            "SELECT MIN(position), generation, genome_sha256, genome, boolean, length, \"values\", seconds, context "
            "FROM request JOIN evaluation ON evaluation.id = request.evaluation "
            "WHERE stage = ? AND seed = ? GROUP BY evaluation.id ORDER BY MIN(position)",
            (stage, seed),
        )  # fmt: skip
        records = self._records([row[2:] for row in rows])
        if not all(_is_count(position) and _is_count(generation) for position, generation, *_ in rows):
            raise self._damaged("a request has no place")
        table = {
            "position": [row[0] for row in rows],
            "generation": [row[1] for row in rows],
            "seconds": [row[7] for row in rows],
            "context": [row[8] for row in rows],
            "digest": [row[2] for row in rows],
        }
        names = records[0].values.keys() if records else ["F"]
        columns = {name: [np.asarray(r.values[name]) for r in records] for name in names}
        return pd.DataFrame({**table, **columns}), _stacked([r.genome for r in records])

    def count(self, stage: str, seed: int) -> int:
        """Returns how many requests are logged."""
        rows = self._query("SELECT COUNT(*) FROM request WHERE stage = ? AND seed = ?", (stage, seed))
        return int(rows[0][0])

    def _acquire(self) -> None:
        if self._lock is None:
            return
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise MopruneError(
                f"{self.path} is in use by another process; wait for it, or choose another output folder"
            ) from error

    def _open(self) -> sqlite3.Connection:
        if self._read_only and self.path:
            connection = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)
        else:
            connection = sqlite3.connect(self.path or ":memory:", isolation_level=None)
        self._connection = connection
        # Text that is no text any more is found by the seal, which says so better than a codec.
        connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
        if not self._read_only:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")  # the file may be somebody else's
        damage = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if damage != "ok":
            raise self._damaged(damage)
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            self._create(connection)
        elif not {"meta", "evaluation", "request"} <= tables:
            raise self._foreign()
        else:
            self._check(connection)
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        if self._read_only:
            raise self._damaged("it is empty")
        with self._transaction():
            for statement in filter(str.strip, _SCHEMA.split(";")):
                connection.execute(statement)
            self._seal(connection)

    def _seal(self, connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('format', ?)", (json.dumps(FORMAT),))
        seal.write(connection, seal.total_of(connection))

    def _check(self, connection: sqlite3.Connection) -> None:
        """Checks every row: what SQLite's own check, of the structure alone, does not see."""
        sealed, form = seal.stored(connection), self._query("SELECT value FROM meta WHERE key = 'format'", ())
        if form not in ([(json.dumps(FORMAT),)], [(json.dumps(_UNSEALED),)]):
            raise self._foreign()
        if sealed is None and form == [(json.dumps(_UNSEALED),)]:
            if not self._read_only:
                with self._transaction():
                    self._seal(connection)
        elif sealed != seal.text(seal.total_of(connection)):
            raise self._damaged("its rows are not those that were written")
        for digest, kind, length, genome in connection.execute(
            "SELECT genome_sha256, boolean, length, genome FROM evaluation WHERE length(genome) > 0"
        ):
            if not _fits(kind, length, genome) or digest != _digest(kind, length, genome):
                raise self._damaged("a genome is not the one that was written")

    def _records(self, rows: Sequence[tuple[Any, ...]]) -> list[Record]:
        """Returns rows as records, which all hold as many values of the same names and genomes of the same kind.

        A log from before there were seals may hold anything.
        """
        try:
            records = [_record(*row) for row in rows]
            shapes = {tuple((name, len(values)) for name, values in each.values.items()) for each in records}
            kinds = {(each.genome.dtype, each.genome.shape) for each in records if each.genome is not None}
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
            raise self._damaged("a row is not one that moprune writes") from error
        if len(shapes) > 1 or len(kinds) > 1:
            raise self._damaged("its rows are of different problems")
        return records

    def _query(self, statement: str, parameters: tuple[Any, ...]) -> list[Any]:
        with self._clear_errors():
            return self._open_connection().execute(statement, parameters).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._clear_errors():
            connection = self._open_connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk may have rolled back already
                    connection.execute("ROLLBACK")
                raise

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise MopruneError(f"the log {self.path or ''} is closed")
        return self._connection

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if self._read_only:
                raise MopruneError(f"cannot read {self.path}: {error}; restore it from a copy") from error
            raise MopruneError(
                f"cannot write {self.path}: {error}; free some space or make it writable, then run the same "
                "command again (everything logged so far is kept)"
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error
        except OSError as error:
            raise MopruneError(f"cannot open {self.path}: {error.strerror or error}") from error

    def _foreign(self) -> MopruneError:
        return MopruneError(
            f"{self.path} is no evaluation log of format {FORMAT}; move it away, or use the version of moprune "
            "that wrote it"
        )

    def _damaged(self, reason: str) -> MopruneError:
        return MopruneError(
            f"{self.path} is damaged ({reason}); restore it from a copy, or delete the run folder and start again"
        )


def _stored(genome: NDArray[Any] | None) -> tuple[bytes, int, int]:
    """Returns what is stored of a new record's genome: its bytes (none if it is long), its kind and its length."""
    assert genome is not None
    packed = _pack(genome)
    return packed if len(packed) <= KEPT_BYTES else b"", _kind(genome), genome.size


def _kind(genome: NDArray[Any]) -> int:
    return _KINDS.get(genome.dtype.name, 0)


def _digest(kind: int, length: int, packed: bytes) -> str:
    hasher = hashlib.sha256(f"{_KIND_NAMES[kind]}:{length}:".encode())
    hasher.update(packed)
    return hasher.hexdigest()


def _pack(genome: NDArray[Any]) -> bytes:
    if genome.dtype == np.bool_:
        return np.packbits(genome).tobytes()
    return np.ascontiguousarray(genome, dtype="<f4" if genome.dtype == np.float32 else "<f8").tobytes()


def _unpack(data: bytes, kind: int, length: int) -> NDArray[Any] | None:
    if length and not data:
        return None
    if kind == _KINDS["bool"]:
        return np.unpackbits(np.frombuffer(data, np.uint8), count=length).astype(bool)
    single = kind == _KINDS["float32"]
    return np.frombuffer(data, "<f4" if single else "<f8").astype(np.float32 if single else np.float64)


def _stacked(genomes: Sequence[NDArray[Any] | None]) -> NDArray[Any]:
    if not genomes:
        return np.empty((0, 0), dtype=bool)
    if any(genome is None for genome in genomes):
        rows = np.empty(len(genomes), dtype=object)
        rows[:] = genomes
        return rows
    return np.array(genomes)


def _exact(values: Mapping[str, Sequence[float]]) -> str:
    # Python writes a float with the fewest digits that read back as the same double.
    return json.dumps({name: [float(v) for v in row] for name, row in values.items()}, allow_nan=False)


def _record(digest: str, genome: bytes, kind: int, length: int, values: str, seconds: float, context: str) -> Record:
    read = {name: [_finite(value) for value in row] for name, row in json.loads(values).items()}
    return Record(digest, _unpack(genome, kind, length), read, _finite(seconds), str(context))


def _finite(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _fits(kind: Any, length: Any, packed: Any) -> bool:
    """Whether a genome of that kind and length takes as many bytes as there are."""
    if not (isinstance(packed, bytes) and _is_count(length) and kind in _BITS):
        return False
    return bool(len(packed) == (_BITS[kind] * length + 7) // 8)


def _differences(a: Any, b: Any, path: str = "") -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            yield from _differences(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
    elif a != b:
        yield path
