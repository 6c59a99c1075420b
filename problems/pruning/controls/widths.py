"""The head without pruning, and narrower heads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from moprune.networks.heads import HeadSpec, Masks, TrainedHead
from moprune.population import Training, TrainingSet
from problems.pruning.controls.points import Point, Setting
from problems.pruning.encodings import Encoding
from problems.pruning.rankings import fitted

TENTHS = tuple(range(10, 101, 10))
"""Widths tried, in per cent (EvoPruneDeepTL's "best fixed")."""


@dataclass(frozen=True)
class Narrow:
    """Trains a head with all features and the first few neurons of each hidden layer, as any candidate is trained.

    Attributes:
        spec: the head at full width.
        per_cent: width left of each hidden layer.
        training: how it is trained.
        seed: the run seed.
    """

    spec: HeadSpec
    per_cent: int
    training: Training
    seed: int

    def __call__(self, data: TrainingSet) -> TrainedHead:
        """Returns the head."""
        layers = range(1, len(self.spec.units))
        return fitted(self.spec, first_units(self.spec, layers, self.per_cent), data, self.training, self.seed)


def first_units(spec: HeadSpec, layers: Sequence[int], per_cent: int) -> Masks:
    """Returns masks with the first units of some layers on, ``per_cent`` of each and at least one."""
    masks = list(spec.all_on())
    for layer in layers:
        masks[layer] = torch.arange(spec.units[layer]) < max(1, round(spec.units[layer] * per_cent / 100))
    return tuple(masks)


def unpruned(setting: Setting) -> list[Point]:
    """Returns the genome with all bits on."""
    return [Point("all", np.ones(setting.encoding.length, dtype=bool))]


def width_grid(setting: Setting) -> list[Point]:
    """Returns heads of 10, 20, ..., 100 % width.

    Neurons start from weights drawn alike, so the first k stand for any k. Bits over neurons take them as a genome;
    where bits switch features alone, or connections, a recipe trains the narrower head.
    """
    encoding = setting.encoding
    spec, layers = encoding.spec, [layer for layer in encoding.layers if layer > 0]
    if encoding.edges or not layers:
        return [Point(f"{w} % width", fit=Narrow(spec, w, setting.training, setting.seed)) for w in TENTHS]
    return [Point(f"{w} % width", encoding.genome(first_units(spec, layers, w))) for w in TENTHS]


def has_neurons(encoding: Encoding) -> bool:
    """Suits heads with a hidden layer."""
    return bool(encoding.spec.hidden)
