"""Inputs: the images (or other items) of a split, read one at a time, without their labels.

Every kind here is immutable, can be pickled, and can be read by several threads at once. A digest covers the
content only, so a data set has the same one wherever it is stored.
"""

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Protocol, Self, TypeAlias

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from moprune.data.tars import Span, index_tar
from moprune.errors import UsageError

Item: TypeAlias = Tensor | Image.Image
Mode: TypeAlias = Literal["RGB", "L"]


class Inputs(Protocol):
    """A sequence of raw items: PIL images in mode RGB or L, or float or uint8 tensors."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Item: ...

    def digest(self) -> str:
        """Returns the SHA-256 (hexadecimal) of all items in order; computed once, then kept."""
        ...

    def item_digest(self, index: int) -> str:
        """Returns the SHA-256 (hexadecimal) of one item's content."""
        ...

    def subset(self, indices: Sequence[int]) -> "Inputs":
        """Returns the items at ``indices``, in that order."""
        ...


class _Items(ABC):
    """What the kinds of inputs share: the digest of the whole is made from those of the items."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int, /) -> Item: ...

    def item_digest(self, index: int) -> str:
        """Returns the SHA-256 of one item: of its pixels unless a kind knows something cheaper."""
        return _item_sha256(self[index])

    def digest(self) -> str:
        """Returns the SHA-256 of all items; files that change on disk afterwards are not noticed."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        whole = hashlib.sha256()
        for index in range(len(self)):
            whole.update(bytes.fromhex(self.item_digest(index)))
        return whole.hexdigest()


@dataclass(frozen=True, eq=False)
class TensorInputs(_Items):
    """Items that are in memory already.

    Args:
        tensor: (n, ...); item ``i`` is ``tensor[i]``. A float or uint8 image is (n, channels, height, width).

    Raises:
        UsageError: the tensor has fewer than two dimensions.
    """

    tensor: Tensor

    def __post_init__(self) -> None:
        if self.tensor.ndim < 2:
            shape = tuple(self.tensor.shape)
            raise UsageError(f"inputs of shape {shape} hold no items; give a tensor of shape (n, ...)")
        object.__setattr__(self, "tensor", self.tensor.detach().cpu())

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, index: int, /) -> Tensor:
        return self.tensor[index]

    def subset(self, indices: Sequence[int]) -> "TensorInputs":
        """Returns a copy of the items at ``indices``."""
        return TensorInputs(self.tensor[torch.as_tensor(indices, dtype=torch.int64)])


class _EncodedImages(_Items):
    """Images stored as encoded bytes; their digest is that of the bytes, so nothing is decoded for it."""

    names: tuple[str, ...]
    mode: Mode

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int, /) -> Image.Image:
        return _decode(self._bytes(index), self.mode, self._where(index))

    def item_digest(self, index: int) -> str:
        """Returns the SHA-256 of the mode and the file's bytes."""
        return hashlib.sha256(f"image {self.mode}\n".encode() + self._bytes(index)).hexdigest()

    @abstractmethod
    def _where(self, index: int) -> str: ...

    @abstractmethod
    def _bytes(self, index: int) -> bytes: ...


@dataclass(frozen=True, eq=False)
class ImageFiles(_EncodedImages):
    """Image files in a folder, decoded when read (an EXIF orientation is ignored, as torchvision does).

    Args:
        root: the folder.
        names: paths below it, one an item.
        mode: the mode that every image is converted to.
    """

    root: Path
    names: tuple[str, ...]
    mode: Mode = "RGB"

    def subset(self, indices: Sequence[int]) -> "ImageFiles":
        """Returns the files at ``indices``."""
        return replace(self, names=tuple(self.names[index] for index in indices))

    def _where(self, index: int) -> str:
        return str(self.root / self.names[index])

    def _bytes(self, index: int) -> bytes:
        try:
            return (self.root / self.names[index]).read_bytes()
        except OSError as error:
            raise _unreadable(self._where(index), error.strerror or str(error)) from error


@dataclass(frozen=True, eq=False)
class TarImages(_EncodedImages):
    """Images inside an uncompressed tar, read where they lie: nothing is ever extracted.

    Args:
        path: the tar file.
        names: members of it, one an item, as :func:`moprune.data.tars.index_tar` spells them.
        mode: the mode that every image is converted to.
        spans: where each member's bytes are; looked up in the tar when not given.

    Raises:
        UsageError: the tar cannot be read, is compressed, or has no such member.
    """

    path: Path
    names: tuple[str, ...]
    mode: Mode = "RGB"
    spans: tuple[Span, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if len(self.spans) == len(self.names):
            return
        members = index_tar(self.path).members
        missing = [name for name in self.names if name not in members]
        if missing:
            raise UsageError(f"tar {self.path} has no member {missing[0]!r}; list its members with: tar tf")
        object.__setattr__(self, "spans", tuple(members[name] for name in self.names))

    def subset(self, indices: Sequence[int]) -> "TarImages":
        """Returns the members at ``indices``; the tar is not indexed again."""
        names = tuple(self.names[index] for index in indices)
        return replace(self, names=names, spans=tuple(self.spans[index] for index in indices))

    def _where(self, index: int) -> str:
        return f"{self.names[index]} in {self.path}"

    def _bytes(self, index: int) -> bytes:
        offset, size = self.spans[index]
        try:
            # A file of its own for each read: threads and forked workers share no position.
            with self.path.open("rb") as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise _unreadable(self._where(index), error.strerror or str(error)) from error
        if len(data) < size:
            raise _unreadable(self._where(index), "the tar became shorter")
        return data


class Labelled(Protocol):
    """A map-style data set as torchvision's are: ``dataset[i]`` begins with the item."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


# Other libraries' data sets promise nothing about threads (FakeData, for one, sets torch's global generator
# and puts it back), so one thread reads at a time. Of the module, as a lock cannot be pickled.
_one_reader = Lock()


@dataclass(frozen=True, eq=False)
class DatasetInputs(_Items):
    """The items of a map-style data set such as torchvision's: ``dataset[i][0]``, without its label.

    Args:
        dataset: gives a PIL image or a tensor as the first element of ``dataset[i]``, always the same.
        indices: which of its items, in order.
        mode: the mode every PIL image is converted to; None keeps RGB and L and converts others to RGB.
    """

    dataset: Labelled
    indices: Sequence[int]
    mode: Mode | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Item:
        position = self.indices[index]
        name = type(self.dataset).__name__
        try:
            with _one_reader:
                item = self.dataset[position][0]
            if isinstance(item, Image.Image):
                return _converted(item, self.mode or ("L" if item.mode == "L" else "RGB"))
        except Exception as error:
            why = str(error) or type(error).__name__
            raise _unreadable(f"{position} of data set {name}", why) from error
        if isinstance(item, Tensor):
            return item
        raise UsageError(
            f"item {position} of data set {name} is a {type(item).__name__}, not a PIL image or a tensor; "
            "give the data set a transform that returns one of these, or none"
        )

    def subset(self, indices: Sequence[int]) -> "DatasetInputs":
        """Returns the items at ``indices`` (positions in these inputs, not in the data set)."""
        return replace(self, indices=tuple(self.indices[index] for index in indices))


@dataclass(frozen=True, eq=False)
class GeneratedInputs(_Items):
    """Items made when read, by a pure function of their number: no memory, no order, no state.

    Args:
        make: gives item number ``i``, always the same; picklable.
        numbers: which items, in order.
    """

    make: Callable[[int], Item]
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int, /) -> Item:
        return self.make(self.numbers[index])

    def subset(self, indices: Sequence[int]) -> Self:
        """Returns the items at ``indices``."""
        return replace(self, numbers=tuple(self.numbers[index] for index in indices))


@dataclass(frozen=True, eq=False)
class JoinedInputs(_Items):
    """Several inputs, one after the other."""

    parts: tuple[Inputs, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int, /) -> Item:
        part, position = self._find(index)
        return part[position]

    def item_digest(self, index: int) -> str:
        """Returns the digest that the part gives."""
        part, position = self._find(index)
        return part.item_digest(position)

    def subset(self, indices: Sequence[int]) -> "JoinedInputs":
        """Returns the items at ``indices``, as one part for each of them that follow each other in a part."""
        runs: list[tuple[Inputs, list[int]]] = []
        for index in indices:
            part, position = self._find(index)
            if not runs or runs[-1][0] is not part:
                runs.append((part, []))
            runs[-1][1].append(position)
        return JoinedInputs(tuple(part.subset(positions) for part, positions in runs))

    def _find(self, index: int) -> tuple[Inputs, int]:
        position = index if index >= 0 else len(self) + index
        for part in self.parts:
            if 0 <= position < len(part):
                return part, position
            position -= len(part)
        raise IndexError(f"item {index} of {len(self)}")


def _unreadable(where: str, why: str) -> UsageError:
    return UsageError(f"cannot read image {where}: {why}; remove or replace it")


def _decode(data: bytes, mode: Mode, where: str) -> Image.Image:
    """Returns the decoded image in ``mode``; whatever Pillow raises becomes one line naming the file."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise Image.DecompressionBombError
            image.load()
            return _converted(image, mode)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit_text = f"more than the {Image.MAX_IMAGE_PIXELS} pixels that Pillow accepts"
        raise _unreadable(where, limit_text) from error
    except UnidentifiedImageError as error:
        raise _unreadable(where, "not an image" if data else "the file is empty") from error
    except MemoryError:  # of this machine, since the number of pixels was let pass
        raise
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error and more.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise _unreadable(where, "truncated" if "truncated" in text.lower() else text) from error


def _converted(image: Image.Image, mode: Mode) -> Image.Image:
    if image.mode == mode:
        return image.copy()
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # as Pillow asks, in a warning, for a palette with transparency
    elif image.mode.startswith("I;16"):
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return image.convert(mode)


def _item_sha256(item: Item) -> str:
    if isinstance(item, Image.Image):
        head, body = f"pixels {item.mode} {item.size}\n", item.tobytes()
    else:
        flat = item.detach().cpu().contiguous().reshape(-1)
        head = f"tensor {item.dtype} {tuple(item.shape)}\n"
        body = flat.view(torch.uint8).numpy().tobytes()  # as bytes, since numpy has no bfloat16
    return hashlib.sha256(head.encode() + body).hexdigest()
