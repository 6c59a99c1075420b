"""What a search changed in a pre-trained network, in numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from moprune.errors import UsageError
from moprune.networks.selection import State, state_of
from problems.refinement import RefinementProblem
from problems.refinement.genomes.genotype import filters


@dataclass(frozen=True, eq=False)
class Changes:
    """Some tensors of a network as they were and as they were found, in the network's order; one differs at least.

    Attributes:
        start: of the pre-trained network, float32 on the CPU.
        found: the same tensors as found; those that a search leaves alone may be among them.
    """

    start: State
    found: State

    @property
    def layers(self) -> dict[str, tuple[str, ...]]:
        """The tensors of each layer that changed; a layer is the module that a tensor is part of."""
        found: dict[str, tuple[str, ...]] = {}
        for name in self.start:
            if not torch.equal(self.start[name], self.found[name]):
                layer = layer_of(name)
                found[layer] = (*found.get(layer, ()), name)
        return found

    def by_tensor(self) -> pd.DataFrame:
        """Returns how much each tensor changed, a row each.

        Returns:
            ``tensor, layer, weights`` (how many numbers it has), ``changed`` (how many differ), ``change`` (the
            Euclidean norm of the difference), ``relative_change`` (that over the norm of what it was; NaN where that
            was zeros) and ``largest_change`` (the greatest difference in magnitude).
        """
        rows = [
            pd.DataFrame({"tensor": name, "layer": layer_of(name), **_measures(start, difference)})
            for name, start, difference in self._rows(whole=True)
        ]
        return pd.concat(rows, ignore_index=True)

    def by_filter(self) -> pd.DataFrame:
        """Returns how much each output filter of each tensor changed, a row each; of a vector, each element.

        Returns:
            As :meth:`by_tensor`, with ``filter`` counted from 0.
        """
        rows = [
            pd.DataFrame(
                {"tensor": name, "layer": layer_of(name), "filter": range(len(start)), **_measures(start, difference)}
            )
            for name, start, difference in self._rows(whole=False)
        ]
        return pd.concat(rows, ignore_index=True)

    def _rows(self, *, whole: bool) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yields each tensor's name, values before and differences, as rows of filters or as one row, float64."""
        for name, tensor in self.start.items():
            start = tensor.double().reshape(1 if whole else filters(tensor.shape), -1)
            yield name, start, self.found[name].double().view_as(start) - start


def changes_of(problem: RefinementProblem, found: NDArray[Any] | Mapping[str, Tensor]) -> Changes:
    """Returns what differs between the pre-trained network of a problem and what was found.

    Args:
        problem: gives the pre-trained network.
        found: a genome ``(n_var,)``, or tensors by name, of which those left out are the pre-trained ones.

    Raises:
        UsageError: the genome does not fit the problem; a tensor that the network does not have, of another shape or
            not finite; nothing that differs.
    """
    if isinstance(found, Mapping):
        state = found
    else:
        (state,) = problem.states(found)
    base = problem.scorer.base
    places = {name: place for place, name in enumerate(base.state_dict())}
    start = state_of(base, sorted(state, key=lambda name: places.get(name, -1)))
    for name, tensor in start.items():
        if state[name].shape != tensor.shape or not torch.isfinite(state[name]).all():
            raise UsageError(
                f"critical weights: {name} is not finite, or is {tuple(state[name].shape)} where the network has "
                f"{tuple(tensor.shape)}; give a state of the same network"
            )
    changes = Changes(start, {name: state[name].detach().cpu().float() for name in start})
    if not changes.layers:
        raise UsageError("critical weights: nothing differs from the pre-trained network; take another solution")
    return changes


def layer_of(tensor: str) -> str:
    """Returns the module that a tensor is part of, by its dotted name; a tensor of the network itself is its own."""
    return tensor.rpartition(".")[0] or tensor


def _measures(start: Tensor, difference: Tensor) -> dict[str, NDArray[Any]]:
    """Returns columns of the tables, one number for each row of ``(rows, numbers)``."""
    norms, change = start.norm(dim=1).numpy(), difference.norm(dim=1).numpy()
    return {
        "weights": np.full(len(start), start.shape[1]),
        "changed": (difference != 0).sum(1).numpy(),
        "change": change,
        "relative_change": np.divide(change, norms, out=np.full(len(norms), np.nan), where=norms > 0),
        "largest_change": difference.abs().amax(1).numpy(),
    }
