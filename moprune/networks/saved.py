"""A slimmed network as two files: its weights (safetensors) and a description that any program can read."""

import dataclasses
import json
import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moprune.errors import UsageError
from moprune.files import replacing, write_text
from moprune.networks.assembly import with_head
from moprune.networks.features import FeatureExtractor
from moprune.networks.heads import HeadSpec, HeadWeights, TrainedHead
from moprune.networks.preprocess import Preprocess
from moprune.networks.slimming import slim
from moprune.networks.weights import fill, read_weights
from moprune.seeding import torch_generator

_FORMAT = 2
_MOST_VALUES = 1 << 24
"""Of an example image: 2,364 pixels a side in colour. A description could ask for any number."""


def describe(
    extractor: FeatureExtractor,
    spec: HeadSpec,
    *,
    kept: Sequence[int],
    widths: Sequence[int],
    example: Tensor,
    classes: Sequence[str],
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns what a program has to know of a pruned network to use it, JSON-ready.

    Args:
        extractor: the backbone with the place its features are taken from.
        spec: the head before pruning.
        kept: indices of the features that the head reads.
        widths: units left in each layer, the features first.
        example: preprocessed images, ``(n, C, H, W)``.
        classes: the names of the outputs.
        notes: what else the description should say, JSON-ready.
    """
    return {
        "format": _FORMAT,
        "input": {"name": "images", "type": "float32", "shape": ["n", *example.shape[1:]], "what": "preprocessed"},
        "output": "logits (n, C) of preprocessed images",
        "classes": list(classes),
        "preprocess": dataclasses.asdict(extractor.preprocess),
        "features": extractor.features,
        "head": dataclasses.asdict(spec),
        "widths": list(widths),
        **(notes or {}),
        "kept": list(kept),
    }


def write_description(description: Mapping[str, Any], path: Path) -> Path:
    """Writes a description beside the file of a network, as ``*.json``; returns its path."""
    described = path.with_suffix(".json")
    write_text(described, json.dumps(description, indent=2, allow_nan=False) + "\n")
    return described


def save_network(network: nn.Module, path: Path, description: Mapping[str, Any]) -> list[Path]:
    """Writes a slimmed network; returns the two files, the weights first.

    Args:
        network: backbone and pruned head, as :func:`moprune.networks.slimming.slim` returns them.
        path: of the weights, ``*.safetensors``; the description goes beside it, ``*.json``.
        description: from :func:`describe`.
    """
    from safetensors.torch import save

    # Clones, since safetensors refuses tensors that share memory.
    weights = save({name: value.clone().contiguous() for name, value in network.state_dict().items()})
    with replacing(path) as temporary:
        temporary.write_bytes(weights)  # safetensors' own files are readable by their owner alone
    return [path, write_description(description, path)]


def load_network(path: Path, backbone: nn.Module) -> nn.Module:
    """Returns a saved network, from preprocessed images to logits ``(n, C)``; nothing is unpickled.

    Args:
        path: of the weights, with the description beside them.
        backbone: a network of the architecture the head was trained on, with any weights; it is copied.

    Raises:
        UsageError: the files are missing or damaged, or the backbone is another.
    """
    described = path.with_suffix(".json")
    with described_by(described, "saved network"):
        description = json.loads(described.read_text(encoding="utf-8"))
        if description["format"] != _FORMAT:
            raise UsageError("written by another version of moprune; use that")
        shape = description["head"]
        spec = HeadSpec(**{**shape, "hidden": tuple(shape["hidden"])})
        weights = read_weights(path)
        check_size(spec, description["widths"], weights)
        head = _skeleton(spec, description["kept"], description["widths"])
        preprocess = Preprocess(**description["preprocess"])
        whole = with_head(FeatureExtractor(backbone, features=description["features"], preprocess=preprocess), head)
        size = description["input"]["shape"][1:]
        if math.prod(size) > _MOST_VALUES:
            raise UsageError(f"images of {size} values are more than {_MOST_VALUES:,}; give smaller ones")
        # What can be cut is a matter of structure: any weights and images lead to the network that was saved.
        network = slim(whole, torch.rand(2, *size, generator=torch_generator(0, "example")))
    fill(network, weights, str(path))
    return network


@contextmanager
def described_by(path: Path, what: str) -> Iterator[None]:
    """Makes of every failure to follow the description of ``what`` an error that names its file.

    Raises:
        UsageError: the block raised anything but what says that memory ran out.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except Exception as error:  # what it says reaches torch and the backbone, which fail in many ways
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(f"{path} describes no {what} ({said}); export it again") from error


def check_size(spec: HeadSpec, widths: Sequence[int], weights: Mapping[str, Tensor]) -> None:
    """Refuses a head with more weights than its file holds, before memory is taken for it.

    Raises:
        UsageError: it has more, or a layer of less than no units.
    """
    held = sum(value.numel() for value in weights.values())
    if min(widths, default=0) < 0 or spec.parameters(widths) > held:
        raise UsageError(f"a head of widths {reprlib.repr(widths)} is not what the weights file, with {held:,}, holds")


def _skeleton(spec: HeadSpec, kept: Sequence[int], widths: Sequence[int]) -> nn.Module:
    """Returns a head that reads those features and has so many units a layer, its values to be filled in."""
    if len(widths) != len(spec.units) or len(kept) != widths[0]:
        raise UsageError(
            f"a head of {len(spec.units)} layers on {len(kept)} features cannot have widths {list(widths)}"
        )
    generator = torch_generator(0, "skeleton")
    matrices = tuple(torch.rand(a, b, generator=generator) for a, b in pairwise([*widths, spec.classes]))
    last = len(matrices) - 1
    biases = tuple(torch.zeros(m.shape[1]) if spec.hidden_bias or i == last else None for i, m in enumerate(matrices))
    return TrainedHead(spec, torch.tensor(kept, dtype=torch.int64), HeadWeights(matrices, biases), epochs=0).module()
