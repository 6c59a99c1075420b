"""Matrix products in single precision at the speed of the processor.

torch hands float32 products on a CPU to MKL, which leaves half of the vector width of AMD's processors unused. oneDNN,
which comes with torch and runs its convolutions, does not: it takes less than half of the time there for all but small
products, and about the same on Intel's.

The functions can be called by those of :mod:`moprune.population.without_python`.
"""

import torch
from torch import Tensor


def plain_product(a: Tensor, b: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """Returns the same as :data:`product`, by the library that torch chooses."""
    c = torch.mm(a, b) if bias is None else torch.addmm(bias, a, b)
    return c.relu_() if relu else c


def onednn_product(a: Tensor, b: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """Returns the same as :data:`product`, by oneDNN if that is faster."""
    # 2**20 multiplications, from which a product is worth oneDNN's 11 microseconds a call. A rule, not a measurement on
    # the spot: which library is taken decides the last bit.
    if a.shape[0] * b.numel() >= 1048576 and _suits(a) and _suits(b):
        if bias is not None and bias.dim() > 1:
            c = _by_onednn(a, b, None, "none").add_(bias)  # oneDNN adds to columns alone
            return c.relu_() if relu else c
        return _by_onednn(a, b, bias, "relu" if relu else "none")
    return plain_product(a, b, bias, relu)


def _by_onednn(a: Tensor, b: Tensor, bias: Tensor | None, after: str) -> Tensor:
    # torch's compiler calls the same operator; torch itself takes it for products of lower precision alone.
    c: Tensor = torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, after, [], "")
    return c


def _suits(tensor: Tensor) -> bool:
    """Returns whether oneDNN takes a tensor; gradients do not pass through its product."""
    return tensor.is_cpu and tensor.dtype == torch.float32 and not tensor.requires_grad


product = onednn_product if torch.backends.mkldnn.is_available() else plain_product
"""Returns ``a @ b + bias``, or the greater of that and zero.

Args:
    a: ``(n, k)``, in any memory layout.
    b: ``(k, m)``, in any memory layout.
    bias: ``(m,)`` for the columns, ``(n, 1)`` for the rows, or None.
    relu: whether negative results become zero.
"""
