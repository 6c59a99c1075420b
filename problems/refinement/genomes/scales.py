"""Tensors or filters stretched and shifted as wholes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moprune.errors import not_one_of
from moprune.networks.selection import State, select
from problems.refinement.genomes.genotype import Genotype, checked_spread, filters

GRAINS = ("tensor", "filter")


@dataclass(frozen=True)
class _Groups:
    """The groups of one tensor, float64: its weights (g, m), each row a group; what a shift of one adds (g,).

    Only groups of different weights have a scale: of equal ones it would do what the shift does.
    """

    weights: Tensor
    units: Tensor
    scaled: Tensor  # bool (g,)

    @classmethod
    def of(cls, tensor: Tensor, per: str) -> "_Groups":
        weights = tensor.double().reshape(filters(tensor.shape) if per == "filter" else 1, -1)
        scaled = weights.amin(1) != weights.amax(1)
        overall = weights.std(correction=0)
        if overall == 0:  # all equal, as in a new normalisation layer: their size, or 1 for zeros
            overall = weights.abs().amax() if weights.any() else torch.ones_like(overall)
        return cls(weights, torch.where(scaled, weights.std(1, correction=0), overall), scaled)

    def sizes(self) -> tuple[int, int]:
        return int(self.scaled.sum()), len(self.scaled)


class Scales(Genotype):
    """A group of weights w becomes w (1 + s) + t u: two variables a group, zeros at the start.

    u is the standard deviation of the group, so that s and t are relative. A group of equal weights (one element of a
    vector, a new bias) has the shift t alone, and u is the standard deviation of its tensor, or the size of its weights
    where those are all equal, or 1 where they are zero.

    A genome comes back from its weights to about the precision of float32; the start comes back exactly.

    Args:
        network: the pre-trained network.
        parameters: which parameters, as for `select`.
        per: a group is a whole ``tensor``, or one output ``filter``: the weights of one index in the first dimension,
            one element of a vector.
        spread: variables lie in [-spread, spread], > 0.

    Raises:
        UsageError: a pattern names nothing, there is no such grain, or the spread is not above 0.
    """

    def __init__(self, network: nn.Module, parameters: Sequence[str], per: str = "tensor", spread: float = 0.1) -> None:
        super().__init__(network, select(network, parameters))
        if per not in GRAINS:
            raise not_one_of("genome: scales per", per, GRAINS)
        self.per = per
        self.spread = checked_spread(spread)
        self.start = np.zeros(sum(sum(_Groups.of(tensor, per).sizes()) for tensor in self.base.values()))

    @property
    def lower(self) -> NDArray[np.float64]:
        """Minus the spread (D,)."""
        return np.full(self.n_var, -self.spread)

    @property
    def upper(self) -> NDArray[np.float64]:
        """The spread (D,)."""
        return np.full(self.n_var, self.spread)

    @cached_property
    def blocks(self) -> NDArray[np.int64]:
        """The group each variable belongs to (D,)."""
        found = []
        first = 0
        for tensor in self.base.values():
            scaled = _Groups.of(tensor, self.per).scaled.cpu().numpy()
            found += [first + np.flatnonzero(scaled), first + np.arange(len(scaled))]
            first += len(scaled)
        return np.concatenate(found).astype(np.int64)

    def weights(self, genome: NDArray[np.float64]) -> State:
        """Returns the tensors of a genome (D,)."""
        values = torch.from_numpy(self._values(genome))
        state = {}
        for name, base in self.base.items():
            groups = _Groups.of(base, self.per)
            scales, shifts, values = values.split([*groups.sizes(), len(values) - sum(groups.sizes())])
            factors = torch.ones_like(groups.units)
            factors[groups.scaled] += scales.to(base.device)
            moved = groups.weights * factors[:, None] + (shifts.to(base.device) * groups.units)[:, None]
            state[name] = moved.float().view(base.shape)
        return state

    def genome(self, state: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """Returns the genome (D,) of least squares in each group, cut at the bounds."""
        found = []
        for name, base in self.base.items():
            groups = _Groups.of(base, self.per)
            change = self._target(state, name).reshape(groups.weights.shape) - groups.weights
            means = groups.weights.mean(1)
            centred = (groups.weights - means[:, None])[groups.scaled]
            slopes = torch.zeros_like(means)
            slopes[groups.scaled] = (centred * change[groups.scaled]).sum(1) / centred.square().sum(1)
            shifts = (change.mean(1) - slopes * means) / groups.units
            found += [slopes[groups.scaled], shifts]
        return self._clipped(torch.cat([part.cpu() for part in found]).numpy())

    def names(self) -> list[str]:
        """Returns ``layer.weight scale``, ``layer.weight shift``, or ``layer.weight[3] scale`` for each variable."""
        found = []
        for name, tensor in self.base.items():
            scaled = _Groups.of(tensor, self.per).scaled.tolist()
            labels = [f"{name}[{i}]" if self.per == "filter" else name for i in range(len(scaled))]
            found += [f"{label} scale" for label, has in zip(labels, scaled, strict=True) if has]
            found += [f"{label} shift" for label in labels]
        return found

    def describe(self) -> dict[str, Any]:
        """Returns what tells this genotype from others."""
        return self._described("scales", per=self.per, spread=self.spread)
