"""What a bit of a pruning genome switches on or off."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from moprune.errors import UsageError, not_one_of
from moprune.networks.heads import HeadSpec, Masks

ENCODINGS: Mapping[str, str] = MappingProxyType(
    {
        "features": "the features of the backbone (feature selection)",
        "neurons": "the neurons of all hidden layers",
        "first": "the neurons of the first hidden layer",
        "second": "the neurons of the second hidden layer",
        "units": "the features and the neurons of all hidden layers",
    }
)


@dataclass(frozen=True)
class Encoding:
    """A bit string laid over some unit layers of a head, in order; layers it leaves out stay whole.

    Attributes:
        spec: the head before pruning.
        layers: indices into ``spec.units`` of the layers the genome covers.
    """

    spec: HeadSpec
    layers: tuple[int, ...]

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
        }[name]
        if not layers:
            raise UsageError(f"encoding {name!r} needs a hidden layer that this head has not "
                             f"(hidden: {list(spec.hidden)}); add one, or use encoding features")  # fmt: skip
        return cls(spec, layers)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the layers the genome covers."""
        return tuple(self.spec.units[layer] for layer in self.layers)

    @property
    def length(self) -> int:
        """Bits of a genome."""
        return sum(self.widths)

    def masks(self, genome: NDArray[np.bool_]) -> Masks:
        """Returns the masks of every unit layer for a genome ``(length,)``."""
        masks = list(self.spec.all_on())
        parts = torch.tensor(np.ascontiguousarray(genome)).split(list(self.widths))
        for layer, part in zip(self.layers, parts, strict=True):
            masks[layer] = part
        return tuple(masks)

    def genome(self, masks: Masks) -> NDArray[np.bool_]:
        """Returns the genome ``(length,)`` of masks; the inverse of :meth:`masks`."""
        return torch.cat([masks[layer] for layer in self.layers]).numpy().astype(bool)

    def unit_names(self) -> list[str]:
        """Returns a name for each bit: ``feature 17``, ``hidden 1 neuron 3``."""
        return [
            f"feature {i}" if layer == 0 else f"hidden {layer} neuron {i}"
            for layer in self.layers
            for i in range(self.spec.units[layer])
        ]
