"""Tensors kept on disk to save time: a damaged file is as good as none, and a full disk never stops a run."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

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
