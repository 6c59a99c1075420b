"""What a bit of a pruning genome switches on or off.

The variants of EvoPruneDeepTL (Poyatos et al. 2023, section "Encoding strategy") by the names used here:

=======================  =====================================
EvoPruneDeepTL           here
=======================  =====================================
one layer                ``neurons`` with one hidden layer
two layers, First        ``first`` with two hidden layers
two layers, Second       ``second`` with two hidden layers
two layers, Both         ``neurons`` with two hidden layers
feature selection (FS)   ``features``
connections (Edges)      ``edges``, ``edges_second``
=======================  =====================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray

from moprune.errors import UsageError, not_one_of
from moprune.networks.heads import Connections, HeadSpec, Masks

ENCODINGS: Mapping[str, str] = MappingProxyType(
    {
        "features": "the features of the backbone (feature selection)",
        "neurons": "the neurons of all hidden layers",
        "first": "the neurons of the first hidden layer",
        "second": "the neurons of the second hidden layer",
        "units": "the features and the neurons of all hidden layers",
        "edges": "the connections from the features to the first hidden layer, or to the classes of a linear head",
        "edges_second": "the connections from the first to the second hidden layer",
    }
)


@dataclass(frozen=True)
class Encoding:
    """A bit string laid over some layers of a head, in order; layers it leaves out stay whole.

    Attributes:
        spec: the head before pruning.
        layers: the layers the genome covers: 0 for the features, then the hidden layers (and, after the last of
            them, the classes, which only connections lead to).
        edges: whether a bit switches one connection into its layer, rather than one unit of it.
    """

    spec: HeadSpec
    layers: tuple[int, ...]
    edges: bool = False

    @classmethod
    def of(cls, name: str, spec: HeadSpec) -> "Encoding":
        """Returns the encoding of that name.

        Raises:
            UsageError: the name is not one of :data:`ENCODINGS`, or the head has no such layer.
        """
        if name not in ENCODINGS:
            raise not_one_of("encoding", name, ENCODINGS)
        hidden = tuple(range(1, len(spec.units)))
        layers = {
            "features": (0,),
            "neurons": hidden,
            "first": hidden[:1],
            "second": hidden[1:2],
            "units": (0, *hidden),
            "edges": (1,),
            "edges_second": hidden[1:2],
        }[name]
        if not layers:
            raise UsageError(f"encoding {name!r} needs a hidden layer that this head has not "
                             f"(hidden: {list(spec.hidden)}); add one, or use encoding features")  # fmt: skip
        return cls(spec, layers, edges=name.startswith("edges"))

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits for each of the layers the genome covers."""
        widths = [*self.spec.units, self.spec.classes]
        return tuple(widths[layer] * (widths[layer - 1] if self.edges else 1) for layer in self.layers)

    @property
    def length(self) -> int:
        """Bits of a genome."""
        return sum(self.widths)

    def masks(self, genome: NDArray[np.bool_]) -> Masks:
        """Returns the masks of every unit layer for a genome ``(length,)``; connections row by row of the matrix."""
        bits = torch.tensor(np.ascontiguousarray(genome))
        if self.edges:
            (layer,) = self.layers
            return Connections(self.spec, layer - 1, bits.view(self.spec.units[layer - 1], -1))
        masks = list(self.spec.all_on())
        for layer, part in zip(self.layers, bits.split(list(self.widths)), strict=True):
            masks[layer] = part
        return tuple(masks)

    def population(self, genomes: NDArray[np.bool_]) -> Sequence[Masks]:
        """Returns the masks of each of the genomes ``(n, length)``, made anew whenever they are asked for.

        A genome of connections has a million bits and more; no two need to be decoded at the same time.
        """
        return _Population(self, genomes)

    def draw(self, generator: torch.Generator) -> Masks:
        """Returns random masks: a density from U(0, 1), then each bit is on with that probability."""
        density = torch.rand((), generator=generator)
        return self.masks((torch.rand(self.length, generator=generator) < density).numpy())

    def genome(self, masks: Masks) -> NDArray[np.bool_]:
        """Returns the genome ``(length,)`` of masks; the inverse of :meth:`masks`."""
        parts = [masks.on.reshape(-1)] if isinstance(masks, Connections) else [masks[layer] for layer in self.layers]
        return torch.cat(parts).numpy().astype(bool)

    def unit_names(self) -> list[str]:
        """Returns a name for each bit: ``feature 17``, ``hidden 1 neuron 3``, ``connection feature 3 -> neuron 7``.

        A million connections take a few tenths of a second and about 100 MB.
        """
        if self.edges:
            (layer,) = self.layers
            source = "feature" if layer == 1 else "neuron"
            target = "neuron" if layer <= len(self.spec.hidden) else "class"
            rows = self.spec.units[layer - 1]
            columns = self.length // rows
            return [f"connection {source} {i} -> {target} {j}" for i in range(rows) for j in range(columns)]
        return [
            f"feature {i}" if layer == 0 else f"hidden {layer} neuron {i}"
            for layer in self.layers
            for i in range(self.spec.units[layer])
        ]


@dataclass(frozen=True)
class _Population(Sequence[Masks]):
    """The masks of genomes, decoded when they are asked for."""

    encoding: Encoding
    genomes: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.genomes)

    @overload
    def __getitem__(self, index: int) -> Masks: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Masks]: ...
    def __getitem__(self, index: int | slice) -> Masks | Sequence[Masks]:
        if isinstance(index, slice):
            return _Population(self.encoding, self.genomes[index])
        return self.encoding.masks(self.genomes[index])
