"""Random directions through one tensor, each of unit length."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from moprune.seeding import torch_generator
from problems.refinement.genomes.genotype import filters

# Numbers of dense directions that are worked on at once, float64 (32 MB).
_AT_ONCE = 2**22


class Directions(ABC):
    """r directions through the space of one tensor of m elements, drawn from a seed and the tensor's name.

    They are the columns of a matrix P (m, r), which is applied in float64 on the tensor's device.
    """

    @abstractmethod
    def expand(self, values: Tensor) -> Tensor:
        """Returns P v (m,) of values (r,)."""

    @abstractmethod
    def project(self, change: Tensor) -> Tensor:
        """Returns P^T c (r,) of a change (m,)."""


class Dense(Directions):
    """Gaussian directions of full rank (Li et al. 2018, "Measuring the intrinsic dimension of objective landscapes").

    Args:
        tensor: what they run through; only its size and device matter.
        count: how many, r >= 1.
        seed: of the draw.
        name: of the tensor.
        kept: whether they stay in memory, float32 (r, m), or are drawn again for each product.
    """

    def __init__(self, tensor: Tensor, count: int, seed: int, name: str, *, kept: bool) -> None:
        self._size, self._device = tensor.numel(), tensor.device
        self._count, self._seed, self._name = count, seed, name
        self._step = max(1, _AT_ONCE // self._size)
        self._all = torch.cat(list(self._drawn())) if kept else None

    def expand(self, values: Tensor) -> Tensor:
        """Returns P v (m,) of values (r,)."""
        change = torch.zeros(self._size, dtype=torch.float64, device=self._device)
        for part, rows in zip(values.split(self._step), self._rows(), strict=True):
            change += part @ rows.double()
        return change

    def project(self, change: Tensor) -> Tensor:
        """Returns P^T c (r,) of a change (m,)."""
        return torch.cat([rows.double() @ change for rows in self._rows()])

    def _rows(self) -> Iterator[Tensor]:
        yield from self._drawn() if self._all is None else self._all.split(self._step)

    def _drawn(self) -> Iterator[Tensor]:
        """Yields the directions as rows, some at a time; each is one draw, so that their number changes nothing."""
        generator = torch_generator(self._seed, "subspace", self._name)
        for first in range(0, self._count, self._step):
            number = min(self._step, self._count - first)
            rows = torch.stack([torch.randn(self._size, generator=generator) for _ in range(number)])
            yield torch.nn.functional.normalize(rows.to(self._device))


class RankOne(Directions):
    """Directions a b^T of rank one through a tensor as a matrix (filters, rest), as in low-rank evolution strategies.

    EGGROLL (Sarkar et al. 2025) perturbs matrices so; a and b are Gaussian, and scaled to length 1 here.

    Args:
        tensor: what they run through; a vector is a matrix of one column.
        count: how many, r >= 1.
        seed: of the draw.
        name: of the tensor.
    """

    def __init__(self, tensor: Tensor, count: int, seed: int, name: str) -> None:
        generator = torch_generator(seed, "subspace", name)
        rows = filters(tensor.shape)
        shape = (rows, tensor.numel() // rows)
        left, right = (torch.randn(count, n, generator=generator, dtype=torch.float64) for n in shape)
        self._left = torch.nn.functional.normalize(left).to(tensor.device)
        self._right = torch.nn.functional.normalize(right).to(tensor.device)

    def expand(self, values: Tensor) -> Tensor:
        """Returns P v (m,) of values (r,)."""
        return ((self._left * values[:, None]).T @ self._right).reshape(-1)

    def project(self, change: Tensor) -> Tensor:
        """Returns P^T c (r,) of a change (m,)."""
        return (self._left @ change.view(self._left.shape[1], -1) * self._right).sum(1)
