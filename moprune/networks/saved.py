"""A network with a pruned head as two files: its weights (safetensors) and a description that any program can read."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from moprune.errors import UsageError
from moprune.files import replacing, write_text
from moprune.networks.assembly import with_head
from moprune.networks.features import FeatureExtractor
from moprune.networks.heads import HeadSpec, HeadWeights, TrainedHead
from moprune.networks.preprocess import Preprocess
from moprune.networks.weights import fill, read_weights

_FORMAT = 1


def save_network(
    network: nn.Module,
    path: Path,
    *,
    extractor: FeatureExtractor,
    spec: HeadSpec,
    widths: Sequence[int],
    classes: Sequence[str],
    notes: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Writes a network that ends in a pruned head; returns the two files, the weights first.

    Args:
        network: backbone and head, as ``PruningProblem.network`` returns them.
        path: of the weights, ``*.safetensors``; the description goes beside it, ``*.json``.
        extractor: the backbone with the place its features are taken from.
        spec: the head before pruning.
        widths: units left in each layer, the features first.
        classes: the names of the outputs.
        notes: what else the description should say, JSON-ready.
    """
    from safetensors.torch import save

    description = {
        "format": _FORMAT,
        "output": "logits (n, C) of preprocessed images",
        "classes": list(classes),
        "preprocess": dataclasses.asdict(extractor.preprocess),
        "features": extractor.features,
        "head": dataclasses.asdict(spec),
        "widths": list(widths),
        **(notes or {}),
    }
    # Clones, since safetensors refuses tensors that share memory.
    weights = save({name: value.clone().contiguous() for name, value in network.state_dict().items()})
    with replacing(path) as temporary:
        temporary.write_bytes(weights)  # safetensors' own files are readable by their owner alone
    write_text(path.with_suffix(".json"), json.dumps(description, indent=2, allow_nan=False) + "\n")
    return [path, path.with_suffix(".json")]


def load_network(path: Path, backbone: nn.Module) -> nn.Module:
    """Returns a saved network, from preprocessed images to logits ``(n, C)``; nothing is unpickled.

    Args:
        path: of the weights, with the description beside them.
        backbone: a network of the architecture the head was trained on, with any weights; it is copied.

    Raises:
        UsageError: the files are missing or damaged, or the backbone is another.
    """
    described = path.with_suffix(".json")
    try:
        description = json.loads(described.read_text(encoding="utf-8"))
        if description["format"] != _FORMAT:
            raise UsageError(f"{described}: written by another version of moprune; use that")
        shape = description["head"]
        spec = HeadSpec(**{**shape, "hidden": tuple(shape["hidden"])})
        head = _skeleton(spec, description["widths"])
        preprocess = Preprocess(**description["preprocess"])
        features = description["features"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{described} describes no saved network ({error}); export it again") from error
    network = with_head(FeatureExtractor(backbone, features=features, preprocess=preprocess), head)
    fill(network, read_weights(path), str(path))
    return network


def _skeleton(spec: HeadSpec, widths: Sequence[int]) -> nn.Module:
    """Returns a head with so many units a layer, its values to be filled in."""
    if len(widths) != len(spec.units):
        raise UsageError(f"a head of {len(spec.units)} layers needs as many widths, not {list(widths)}")
    matrices = tuple(torch.zeros(a, b) for a, b in pairwise([*widths, spec.classes]))
    last = len(matrices) - 1
    biases = tuple(torch.zeros(m.shape[1]) if spec.hidden_bias or i == last else None for i, m in enumerate(matrices))
    indices = torch.zeros(widths[0], dtype=torch.int64)
    return TrainedHead(spec, indices, HeadWeights(matrices, biases), epochs=0).module()
