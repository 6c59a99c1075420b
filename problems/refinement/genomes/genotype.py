"""What every genome of a network's weights is: numbers on one side, tensors on the other."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moprune.errors import UsageError
from moprune.networks.selection import State
from moprune.networks.store import digest_of


class Genotype(ABC):
    """A map from vectors of D numbers to the weights of a pre-trained network, and back.

    Arithmetic is in float64 and rounded once, to float32: ``weights(start)`` is the pre-trained network, value for
    value.

    Args:
        network: the pre-trained network; its tensors are copied, on their device.
        names: the parameters and buffers that genomes change, each float32.

    Attributes:
        changed: the names of the tensors that candidates may differ in.
        base: these tensors of the pre-trained network.
        start: float64 (D,), the genome of the pre-trained network.
        dtype: what populations of genomes are kept in: float64, or float32 where genomes are whole networks.

    Raises:
        UsageError: a tensor is not float32 or not finite.
    """

    start: NDArray[np.float64]
    dtype: np.dtype[Any] = np.dtype(np.float64)

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        own = dict(chain(network.named_parameters(), network.named_buffers()))
        self.changed: tuple[str, ...] = tuple(names)
        self.base: State = {name: own[name].detach().clone() for name in self.changed}
        for name, tensor in self.base.items():
            if tensor.dtype != torch.float32 or not torch.isfinite(tensor).all():
                raise UsageError(f"genome: {name} is not float32 and finite; give a trained network.float()")

    @property
    def n_var(self) -> int:
        """The length D of a genome."""
        return len(self.start)

    @property
    @abstractmethod
    def lower(self) -> NDArray[np.float64]:
        """Lower bounds (D,); minus infinity where there is none."""

    @property
    @abstractmethod
    def upper(self) -> NDArray[np.float64]:
        """Upper bounds (D,); infinity where there is none."""

    @property
    def blocks(self) -> NDArray[np.int64] | None:
        """The block (D,) each variable belongs to, for crossover of whole blocks; None where there are no blocks."""
        return None

    @abstractmethod
    def weights(self, genome: NDArray[np.float64]) -> State:
        """Returns the tensors of a genome (D,): all of ``changed``, float32, on the device of the base tensors.

        Raises:
            UsageError: the genome has another length.
        """

    @abstractmethod
    def genome(self, state: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """Returns the genome (D,) within the bounds whose weights are nearest those of a state, by least squares.

        Where variables depend on each other, what least squares finds is cut at the bounds.

        Args:
            state: tensors by name, of any floating type and device; those it lacks count as the pre-trained ones, and
                those that genomes do not change are not looked at.

        Raises:
            UsageError: a tensor has another shape than the network's.
        """

    @abstractmethod
    def names(self) -> list[str]:
        """Returns a name for each variable, D in all."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns what tells this genotype from others, to be written as JSON; tensors by their digest."""

    def _described(self, kind: str, **options: Any) -> dict[str, Any]:
        return {"kind": kind, "changed": list(self.changed), **options, "start": digest_of(self.base)}

    def _values(self, genome: NDArray[np.float64]) -> NDArray[np.float64]:
        values = np.asarray(genome, dtype=np.float64)
        if values.shape != (self.n_var,):
            raise UsageError(f"genome: its shape is {values.shape}; this genotype has {self.n_var} variables")
        return values

    def _target(self, state: Mapping[str, Tensor], name: str) -> Tensor:
        """Returns a tensor of a state, or the pre-trained one, in float64 on the device of the base."""
        base = self.base[name]
        tensor = state.get(name, base)
        if tensor.shape != base.shape:
            raise UsageError(f"genome: {name} is {tuple(tensor.shape)} for {tuple(base.shape)}; give the same network")
        return tensor.detach().to(base.device, torch.float64)

    def _clipped(self, genome: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(genome, self.lower, self.upper)


def filters(shape: Sequence[int]) -> int:
    """Returns the number of output filters of a tensor: its first dimension, the number of elements of a vector."""
    return shape[0] if shape else 1


def checked_spread(spread: float) -> float:
    """Returns how far a variable may move to either side.

    Raises:
        UsageError: it is not above 0 and finite.
    """
    if not 0 < spread < np.inf:
        raise UsageError(f"genome: spread is {spread}; give a number above 0")
    return float(spread)
