"""Features kept on disk: computed once, and read by row where they are too large for memory."""

import hashlib
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from moprune.data.features import stored_features
from moprune.data.inputs import Inputs
from moprune.data.rows import StoredFeatures
from moprune.files import cache_folder
from moprune.networks.features import FeatureExtractor, Progress, together
from moprune.networks.given import GivenFeatures
from moprune.networks.store import is_whole, keep, keep_matrix, kept, kept_matrix

# Part of the name of every kept file; a change in what is computed or how it is written needs another number.
_FORMAT = 1


def cached_features(
    extractor: FeatureExtractor,
    inputs: Inputs,
    *,
    device: torch.device | str,
    folder: Path | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Tensor:
    """Returns ``extractor.extract(inputs)``, from disk if it was computed before.

    The file is named by the digests of extractor and images, so that a change in either is another file. A
    damaged file is replaced; a folder that cannot be written is a warning.

    Args:
        extractor: the frozen network.
        inputs: n >= 1 images.
        device: where the network runs, if it has to.
        folder: where the files lie; None for ``features`` in the user's cache folder.
        batch_size: as for `FeatureExtractor.extract`.
        progress: as for `FeatureExtractor.extract`; not called where the features come from disk.

    Returns:
        float32 (n, D) on the CPU.

    Raises:
        UsageError: as `FeatureExtractor.extract`.
    """
    found = bounded_features(
        None, extractor, inputs, device=device, folder=folder, batch_size=batch_size, progress=progress
    )
    assert isinstance(found, Tensor)
    return found


def bounded_features(
    most: float | None,
    extractor: FeatureExtractor,
    inputs: Inputs,
    *,
    device: torch.device | str,
    folder: Path | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Tensor | StoredFeatures:
    """Returns what `cached_features` does, or the rows of its file where they are too large for memory.

    The file is then written while the features are extracted, and is needed. Features that somebody has extracted
    already (`GivenFeatures`) stay in their own file. The other arguments are those of `cached_features`.

    Args:
        most: bytes that the features of one image may take if those of all are to be in memory; None for any number.
        extractor: the frozen network.
        inputs: n >= 1 images.
        device: where the network runs, if it has to.
        folder: where the files lie.
        batch_size: images at once.
        progress: called with (images done, n).

    Raises:
        UsageError: as `FeatureExtractor.extract`; inputs of `GivenFeatures` that are no features.
        MopruneError: features that are too large cannot be written either.
    """

    def too_large(width: int) -> bool:
        return most is not None and 4 * width > most

    if isinstance(extractor.network, GivenFeatures):
        given = stored_features(inputs)
        return given if too_large(given.shape[1]) else given.matrix()
    folder = cache_folder() / "features" if folder is None else folder
    key = f"{_FORMAT}\x1f{extractor.digest()}\x1f{inputs.digest()}"
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
    total = len(inputs)
    matrix = kept_matrix(path, "features")
    if matrix is not None and matrix.count == total:
        if too_large(matrix.width):
            if is_whole(matrix, "features"):
                return StoredFeatures.of(matrix)
        elif (found := (kept(path) or {}).get("features")) is not None:
            return found
    blocks = extractor.blocks(inputs, device=device, batch_size=batch_size, progress=progress)
    first = next(blocks)
    everything = chain([first], blocks)
    if too_large(first.shape[1]):
        return StoredFeatures.of(keep_matrix(path, "features", everything, total, first.shape[1]))
    features = together(everything, total)
    keep(path, {"features": features})
    return features
