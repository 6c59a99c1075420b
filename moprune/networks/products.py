"""Matrix products in single precision at the speed of the processor.

torch hands float32 products on a CPU to MKL, which leaves half of the vector width of AMD's processors unused. oneDNN,
which comes with torch and runs its convolutions, does not: it takes less than half of the time there for all but small
products, and about the same on Intel's.

The functions can be called by those of :mod:`moprune.population.without_python`.
"""

import torch
from torch import Tensor


def plain_affine(x: Tensor, weight: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """Returns the same as :data:`affine`, by the library that torch chooses."""
    product = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
    return product.relu_() if relu else product


def onednn_affine(x: Tensor, weight: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """Returns the same as :data:`affine`, by oneDNN if that is faster."""
    # 2**20 multiplications, from which a product is worth oneDNN's 11 microseconds a call. A rule, not a measurement on
    # the spot: which library is taken decides the last bit.
    if x.shape[0] * weight.numel() >= 1048576 and _suits(x) and _suits(weight):
        # torch's compiler calls the same operator; torch itself takes it for products of lower precision alone.
        after = "relu" if relu else "none"
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], "")
        return product
    return plain_affine(x, weight, bias, relu)


def _suits(tensor: Tensor) -> bool:
    """Returns whether oneDNN takes a tensor; gradients do not pass through its product."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and not tensor.requires_grad


affine = onednn_affine if torch.backends.mkldnn.is_available() else plain_affine
"""Returns ``x @ weight.T + bias``, or the greater of that and zero.

Args:
    x: ``(n, fan in)``, in any memory layout.
    weight: ``(fan out, fan in)``, in any memory layout.
    bias: ``(fan out,)`` or None.
    relu: whether negative results become zero.
"""
