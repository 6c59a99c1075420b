"""Feature vectors that stay in files, and are read by row when they are wanted.

Rows are read with ordinary reads into memory of their own: the pages of a memory-mapped file would count as resident,
and a pass over it would end with all of it in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moprune.errors import UsageError

BLOCK_BYTES = 32 * 2**20
"""About how much of what lies on disk is in memory at once, for each of those who read it."""

_ALIGNED = 256  # rows


@dataclass(frozen=True)
class FileMatrix:
    """A matrix in a file, row after row, little-endian; opening it reads nothing.

    Args:
        path: the file.
        offset: bytes before the first row.
        count: rows.
        width: numbers a row.
        dtype: of the numbers, ``float32`` or ``float16``.

    Raises:
        UsageError: the file is missing or ends before the last row.
    """

    path: Path
    offset: int
    count: int
    width: int
    dtype: str = "float32"

    def __post_init__(self) -> None:
        try:
            size = self.path.stat().st_size
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror or error}; check the path") from error
        if size < self.offset + self.count * self._stride:
            raise UsageError(f"{self.path} ends before its {self.count} rows of {self.width} do; make it again")

    @property
    def _stride(self) -> int:
        return self.width * np.dtype(self.dtype).itemsize

    def read(self, rows: Tensor) -> Tensor:
        """Returns some rows in the order asked for.

        Args:
            rows: their numbers, int64 ``(m,)``, each in 0..count - 1.

        Returns:
            float32 ``(m, width)`` on the CPU.

        Raises:
            UsageError: the file cannot be read, became shorter, or holds values that are not finite there.
        """
        wanted = rows.numpy()
        found = np.empty((len(wanted), self.width), self.dtype)
        into = found.reshape(-1).view(np.uint8).data
        edges = [0, *(np.flatnonzero(np.diff(wanted) != 1) + 1).tolist(), len(wanted)]
        try:
            # A file of its own for each call: threads and forked workers share no position.
            with self.path.open("rb", buffering=0) as file:
                for first, last in pairwise(edges):  # rows that follow each other are one read
                    part = into[first * self._stride : last * self._stride]
                    file.seek(self.offset + int(wanted[first]) * self._stride if len(part) else 0)
                    if file.readinto(part) != len(part):
                        raise UsageError(f"{self.path} became shorter while it was read; make it again")
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror or error}; check the file") from error
        values = torch.from_numpy(found).float()
        if not bool(values.sum().isfinite()):  # else no value is; finite values with such a sum are looked at again
            self._check_finite(wanted, values)
        return values

    def _check_finite(self, rows: np.ndarray, values: Tensor) -> None:
        finite = values.isfinite().all(1)
        if not bool(finite.all()):
            wrong = int(rows[int(finite.logical_not().nonzero()[0])])
            raise UsageError(f"row {wrong} of {self.path} has values that are not finite; replace or remove it")


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Feature vectors ``(n, D)`` in files, in any order; in many ways like a float32 tensor on the CPU.

    Args:
        files: matrices of the same width, thought of as one below the other.
        rows: which rows of the whole, int64 ``(n,)``.

    Raises:
        UsageError: no files, or files of different widths.
    """

    files: tuple[FileMatrix, ...]
    rows: Tensor

    def __post_init__(self) -> None:
        widths = sorted({file.width for file in self.files})
        if len(widths) != 1:
            names = ", ".join(str(file.path) for file in self.files) or "no file"
            raise UsageError(f"features of widths {widths} ({names}) do not go together; give files of one width")

    @classmethod
    def of(cls, file: FileMatrix) -> "StoredFeatures":
        """Returns all rows of one file."""
        return cls((file,), torch.arange(file.count))

    @classmethod
    def joined(cls, several: Sequence["StoredFeatures"]) -> "StoredFeatures":
        """Returns the rows of several, one after the other; nothing is read."""
        files = tuple(dict.fromkeys(file for each in several for file in each.files))
        starts = dict(zip(files, accumulate((file.count for file in files), initial=0), strict=False))
        pieces = []
        for each in several:
            which, places = each._found(each.rows)
            pieces.append(places + torch.tensor([starts[file] for file in each.files])[which])
        return cls(files, torch.cat(pieces))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, D)``."""
        return len(self.rows), self.files[0].width

    @property
    def nbytes(self) -> int:
        """What all rows would take in memory, as float32."""
        return 4 * self.shape[0] * self.shape[1]

    def subset(self, places: Tensor) -> "StoredFeatures":
        """Returns the rows at some places, int64 ``(m,)``, in that order; nothing is read."""
        return StoredFeatures(self.files, self.rows[places.cpu()])

    def index_select(self, dim: int, places: Tensor) -> Tensor:
        """Returns the rows at some places as ``Tensor.index_select`` does, on the device of ``places``.

        Args:
            dim: 0; columns are not read by themselves.
            places: int64 ``(m,)``.
        """
        assert dim == 0
        which, rows = self._found(self.rows[places.cpu()])
        if len(self.files) == 1:
            return self.files[0].read(rows).to(places.device)
        found = torch.empty(len(rows), self.shape[1])
        for number, file in enumerate(self.files):
            here = (which == number).nonzero()[:, 0]
            found[here] = file.read(rows[here])
        return found.to(places.device)

    def blocks(self) -> Iterator[Tensor]:
        """Yields all rows in order, ``(m, D)`` at a time, up to twice `BLOCK_BYTES`.

        Blocks begin at multiples of 256 rows where so many make a block, and none is short: products then round as
        those of all rows at once do, as far as was seen.
        """
        rows = max(1, BLOCK_BYTES // (4 * self.shape[1]))
        rows -= rows % _ALIGNED if rows > _ALIGNED else 0
        starts = range(0, len(self) - rows + 1, rows) if len(self) > rows else [0]
        for first, last in pairwise([*starts, len(self)]):
            yield self.index_select(0, torch.arange(first, last))

    def matrix(self) -> Tensor:
        """Returns all rows in memory, float32 ``(n, D)`` on the CPU."""
        found, done = torch.empty(self.shape), 0
        for block in self.blocks():
            found[done : done + len(block)] = block
            done += len(block)
        return found

    def _found(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns which file each row is in, and its place there."""
        ends = torch.tensor([*accumulate(file.count for file in self.files)])
        which = torch.bucketize(rows, ends, right=True)
        return which, rows - (ends - torch.tensor([file.count for file in self.files]))[which]
