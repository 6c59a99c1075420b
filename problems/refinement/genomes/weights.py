"""The weights themselves as variables."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moprune.errors import UsageError
from moprune.networks.selection import State, select
from problems.refinement.genomes.genotype import Genotype, filters


class Weights(Genotype):
    """Every chosen weight is a variable of its own, within a box around its pre-trained value or anywhere.

    The box W +- delta is that of Rosa et al. 2021 (arXiv:2212.09447), where one layer is refined; without bounds, and
    with convolutions and norms chosen, this is the genome of SA-SHADE-tri-ensin.

    A genome that float32 can hold comes back unchanged: ``genome(weights(g)) == g``.

    Args:
        network: the pre-trained network.
        parameters: which parameters, as for `select`.
        delta: half the width of the box, > 0; None for no bounds.

    Raises:
        UsageError: a pattern names nothing, or delta is not above 0 and finite.
    """

    def __init__(self, network: nn.Module, parameters: Sequence[str], delta: float | None = None) -> None:
        super().__init__(network, select(network, parameters))
        if delta is not None and not 0 < delta < np.inf:
            raise UsageError(f"genome: delta is {delta}; give a number above 0, or none for no bounds")
        self.delta = None if delta is None else float(delta)
        if delta is None:  # genes are float32 weights, and as many as a network has
            self.dtype = np.dtype(np.float32)
        self.start = self._flat(self.base)

    @cached_property
    def lower(self) -> NDArray[np.float64]:
        """The lower side of the box (D,)."""
        # Broadcast: a bound of 25 million equal numbers takes no memory.
        return np.broadcast_to(-np.inf, self.start.shape) if self.delta is None else self.start - self.delta

    @cached_property
    def upper(self) -> NDArray[np.float64]:
        """The upper side of the box (D,)."""
        return np.broadcast_to(np.inf, self.start.shape) if self.delta is None else self.start + self.delta

    @cached_property
    def blocks(self) -> NDArray[np.int64]:
        """The output filter each weight belongs to (D,); elements of a vector share the block of their tensor."""
        counts = [filters(t.shape) if t.ndim > 1 else 1 for t in self.base.values()]
        sizes = [
            size for t, count in zip(self.base.values(), counts, strict=True) for size in [t.numel() // count] * count
        ]
        return np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)

    def weights(self, genome: NDArray[np.float64]) -> State:
        """Returns the tensors of a genome (D,)."""
        flat = torch.from_numpy(self._values(genome).astype(np.float32))
        parts = flat.split([tensor.numel() for tensor in self.base.values()])
        return {
            name: part.view(base.shape).to(base.device)
            for (name, base), part in zip(self.base.items(), parts, strict=True)
        }

    def genome(self, state: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """Returns the weights of a state as a genome (D,), cut at the sides of the box."""
        flat = self._flat({name: self._target(state, name) for name in self.changed})
        return flat if self.delta is None else self._clipped(flat)

    def names(self) -> list[str]:
        """Returns ``layer.weight[3,0,1,1]`` for each variable; a million take a second and about 100 MB."""
        return [
            f"{name}[{','.join(map(str, index))}]"
            for name, tensor in self.base.items()
            for index in np.ndindex(tuple(tensor.shape))
        ]

    def describe(self) -> dict[str, Any]:
        """Returns what tells this genotype from others."""
        return self._described("weights", delta=self.delta)

    def _flat(self, state: Mapping[str, Tensor]) -> NDArray[np.float64]:
        flat = np.empty(sum(tensor.numel() for tensor in self.base.values()))
        end = 0
        for name in self.changed:
            values = state[name].cpu().reshape(-1).numpy()
            flat[end : end + len(values)] = values
            end += len(values)
        return flat
