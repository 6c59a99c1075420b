"""Changes of a tensor by two small factors (LoRA: Hu et al. 2022, section 4.1), for tensors of any shape."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from moprune.errors import UsageError


class Factors(NamedTuple):
    """A change of rank r of a tensor seen as a matrix (a, b): its first dimension, and all others.

    Attributes:
        up: (a, r); LoRA's B.
        down: (r, b); LoRA's A.
    """

    up: Tensor
    down: Tensor


def factor_shapes(shape: Sequence[int], rank: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Returns the shapes of the factors of a tensor; None where they would hold no fewer values than it does.

    Of a convolution without groups they are those of k x k filters to r channels and 1 x 1 filters behind them.
    A vector is of rank one as it is.

    Raises:
        UsageError: the rank is below 1.
    """
    if rank < 1:
        raise UsageError(f"low rank: the rank is {rank}; give at least 1")
    if len(shape) < 2:
        return None
    rows, columns = shape[0], math.prod(shape[1:])
    return ((rows, rank), (rank, columns)) if rank * (rows + columns) < rows * columns else None


def merged(base: Tensor, factors: Factors) -> Tensor:
    """Returns base + up @ down in the shape and type of the base; gradients flow to the factors.

    The arithmetic is in float64, rounded once, so that the result does not hang on the order of sums.

    Raises:
        UsageError: the factors do not fit the base.
    """
    up, down = factors
    shape = tuple(base.shape)
    fits = base.ndim > 0 and up.ndim == down.ndim == 2 and up.shape[1] == down.shape[0]
    if not fits or (up.shape[0], down.shape[1]) != (shape[0], math.prod(shape[1:])):
        raise UsageError(f"low rank: factors {tuple(up.shape)} and {tuple(down.shape)} do not fit a tensor {shape}")
    return (base.double() + (up.double() @ down.double()).reshape(shape)).to(base.dtype)
