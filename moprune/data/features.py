"""Features somebody has already extracted, as a data set: an item is a feature vector, which stays in its file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moprune.data.inputs import Inputs, JoinedInputs, _item_sha256, _Items
from moprune.data.rows import FileMatrix, StoredFeatures
from moprune.data.sources import Source
from moprune.data.splits import Split
from moprune.errors import UsageError

FEATURES, LABELS, CLASSES = "features.npy", "labels.npy", "classes.txt"
_SHA256 = 32  # bytes
_SUBSETS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class FeatureInputs(_Items):
    """Feature vectors in files; item ``i`` is float32 ``(D,)``. The digest is that of the same rows in memory.

    Args:
        stored: which rows of which files.
    """

    stored: StoredFeatures

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, index: int, /) -> Tensor:
        return self.stored.index_select(0, torch.tensor([range(len(self))[index]]))[0]

    def subset(self, indices: Sequence[int]) -> "FeatureInputs":
        """Returns the rows at ``indices``; nothing is read."""
        return FeatureInputs(self.stored.subset(torch.as_tensor(indices, dtype=torch.int64)))

    def item_digest(self, index: int) -> str:
        """Returns the SHA-256 of one row."""
        place = range(len(self))[index] * _SHA256
        return self._digests[place : place + _SHA256].hex()

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(self._digests).hexdigest()

    @cached_property
    def _digests(self) -> bytes:
        """The digests of all rows, read in one pass."""
        return b"".join(bytes.fromhex(_item_sha256(row)) for block in self.stored.blocks() for row in block)


def stored_features(inputs: Inputs) -> StoredFeatures:
    """Returns the rows that make up inputs which are feature vectors.

    Raises:
        UsageError: they are something else.
    """
    if isinstance(inputs, FeatureInputs):
        return inputs.stored
    if isinstance(inputs, JoinedInputs):
        return StoredFeatures.joined([stored_features(part) for part in inputs.parts])
    raise UsageError(
        f"items of {type(inputs).__name__} are not features from a file; of data.source features OOD pools are its "
        f"classes, or folders with {FEATURES}, and there are no corruptions"
    )


def is_feature_folder(path: Path) -> bool:
    """Returns whether a folder holds features."""
    return (path / FEATURES).is_file()


def open_feature_pool(path: str | Path) -> FeatureInputs:
    """Opens the features of a folder, whatever their labels: an OOD pool, say.

    Raises:
        UsageError: as :func:`open_features`.
    """
    return FeatureInputs(StoredFeatures.of(_open_matrix(Path(path) / FEATURES)))


def open_features(path: str | Path) -> Source:
    """Opens a folder with ``features.npy`` and ``labels.npy``, or with such folders ``train``, ``val`` and ``test``.

    The features are a matrix ``(n, D)`` of float32 or float16, row by row, and stay in the file; labels are integers
    ``(n,)`` from 0. ``classes.txt`` may name the classes, one a line; else they are numbered. Pickles are refused.

    Raises:
        UsageError: a file is missing or of another kind, or labels do not fit; when rows are read, values that are not
            finite.
    """
    root = Path(path)
    if is_feature_folder(root):
        folders = {"all": root}
    else:
        folders = {name: root / name for name in _SUBSETS if is_feature_folder(root / name)}
    if not folders:
        raise UsageError(f"no {FEATURES} in folder {root}, nor in a folder train, val or test there; check the path")
    labels = {name: _open_labels(folder / LABELS) for name, folder in folders.items()}
    classes = _classes(root / CLASSES, max(int(each.max()) for each in labels.values()))
    subsets = {}
    for name, folder in folders.items():
        inputs = open_feature_pool(folder)
        if len(inputs) != len(labels[name]):
            raise UsageError(
                f"{folder}: {len(inputs)} rows of {FEATURES} have {len(labels[name])} labels; give one each"
            )
        subsets[name] = Split(inputs, labels[name])
    StoredFeatures.joined([stored_features(each.inputs) for each in subsets.values()])  # of one width
    return Source(classes, subsets)


def _open_matrix(path: Path) -> FileMatrix:
    array = _mapped(path)
    kind = array.dtype.name
    if array.ndim != 2 or kind not in ("float32", "float16") or array.dtype.byteorder == ">":
        raise UsageError(
            f"{path} holds {array.dtype} of shape {array.shape}; features are float32 or float16 (n, D), little-endian"
        )
    if not array.flags.c_contiguous:
        raise UsageError(f"{path} lies column by column; save it row by row: numpy.save(file, x.copy(order='C'))")
    return FileMatrix(path, int(array.offset), len(array), array.shape[1], kind)


def _open_labels(path: Path) -> Tensor:
    array = _mapped(path)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UsageError(f"{path} holds {array.dtype} of shape {array.shape}; labels are integers (n,), from 0")
    labels = torch.from_numpy(array.astype(np.int64))
    if (low := int(labels.min())) < 0:
        raise UsageError(f"{path} has label {low}; classes are numbered from 0")
    return labels


def _mapped(path: Path) -> np.memmap:
    """Returns the array of a ``.npy`` file, unread: what it says of itself is all that is wanted of features."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing; features go with {FEATURES} and {LABELS}") from error
    except Exception as error:  # numpy parses the header as Python text, which can fail in many ways
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(f"cannot read {path} ({reason}); write it with numpy.save, without pickled objects") from error
    if not isinstance(array, np.memmap):
        array.close()
        raise UsageError(f"{path} is an archive; write one array with numpy.save")
    if array.size == 0:
        raise UsageError(f"{path} is empty, of shape {array.shape}; give at least one row")
    return array


def _classes(path: Path, highest: int) -> tuple[str, ...]:
    """Returns the names of the classes; numbers where there is no file."""
    if not path.exists():
        return tuple(str(label) for label in range(highest + 1))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}; write one name a line, UTF-8") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if highest >= len(names):
        raise UsageError(f"{path} names {len(names)} classes and there is a label {highest}; name each, one a line")
    return names
