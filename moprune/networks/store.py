"""Tensors kept on disk to save time: a damaged file is as good as none, and a full disk never stops a run."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moprune.data.rows import BLOCK_BYTES, FileMatrix
from moprune.errors import MopruneError
from moprune.files import replacing

logger = logging.getLogger(__name__)


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Returns the SHA-256 (hexadecimal) over names, types, shapes and bytes, whatever the order or device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name}\x1f{values.dtype}\x1f{tuple(values.shape)}\x1f".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def keep(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors with their digest to ``path`` (safetensors), or nothing; a failure is a warning."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with replacing(path) as temporary:
            save_file(contiguous, temporary, metadata={"sha256": digest_of(contiguous)})
    except (MopruneError, OSError, SafetensorError) as error:
        logger.warning("not kept for the next time: %s", error)


def kept(path: Path) -> dict[str, Tensor] | None:
    """Returns what `keep` wrote to ``path``, or None (with a warning if it is damaged)."""
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            expected = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError) as error:
        logger.warning("%s cannot be read and is made again: %s", path, error)
        return None
    if digest_of(tensors) != expected:
        logger.warning("%s is damaged and is made again", path)
        return None
    return tensors


def keep_matrix(path: Path, name: str, blocks: Iterator[Tensor], count: int, width: int) -> FileMatrix:
    """Writes a float32 matrix as `keep` does, in blocks of rows as they come, so that it is never in memory.

    Args:
        path: the file (safetensors).
        name: the tensor's.
        blocks: ``(m, width)`` each, on the CPU; ``count`` rows together.
        count: rows.
        width: numbers a row.

    Raises:
        MopruneError: the file cannot be written: what does not fit into memory has nowhere else to go.
    """
    digest = hashlib.sha256(_described(name, count, width))
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(_header(name, count, width, digest.hexdigest()))  # of the same length as that at the end
        for block in blocks:
            values = block.contiguous().numpy().data
            digest.update(values)
            file.write(values)
        file.seek(0)
        file.write(header := _header(name, count, width, digest.hexdigest()))
    return FileMatrix(path, len(header), count, width)


def kept_matrix(path: Path, name: str) -> FileMatrix | None:
    """Returns a float32 matrix that was kept, unread, or None; whether it is damaged says `is_whole`."""
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            count, width = file.get_slice(name).get_shape()
        with path.open("rb") as raw:
            offset = 8 + int.from_bytes(raw.read(8), "little")
        return FileMatrix(path, offset, count, width)
    except (SafetensorError, OSError, ValueError, MopruneError) as error:
        logger.warning("%s cannot be read and is made again: %s", path, error)
        return None


def is_whole(matrix: FileMatrix, name: str) -> bool:
    """Returns whether a kept matrix has the digest it was written with (with a warning if not), read in blocks."""
    from safetensors import safe_open

    with safe_open(matrix.path, framework="pt") as file:
        expected = (file.metadata() or {}).get("sha256")
    digest = hashlib.sha256(_described(name, matrix.count, matrix.width))
    with matrix.path.open("rb", buffering=0) as file:
        file.seek(matrix.offset)
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    if digest.hexdigest() != expected:
        logger.warning("%s is damaged and is made again", matrix.path)
        return False
    return True


def _described(name: str, count: int, width: int) -> bytes:
    """Returns what `digest_of` hashes before the bytes of a matrix."""
    return f"{name}\x1f{torch.float32}\x1f{(count, width)}\x1f".encode()


def _header(name: str, count: int, width: int, sha256: str) -> bytes:
    """Returns the header of a safetensors file with one matrix: its length, and JSON padded to whole eights."""
    entry: dict[str, Any] = {"dtype": "F32", "shape": [count, width], "data_offsets": [0, 4 * count * width]}
    text = json.dumps({"__metadata__": {"sha256": sha256}, name: entry})
    padded = text.ljust(-(-len(text) // 8) * 8).encode()
    return len(padded).to_bytes(8, "little") + padded
