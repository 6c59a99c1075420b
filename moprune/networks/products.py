"""Matrix products in single precision at the speed of the processor.

torch hands float32 products on a CPU to MKL, which leaves half of the vector width of AMD's processors unused. oneDNN,
which comes with torch and runs its convolutions, does not: it takes less than half of the time there for all but small
products, and about the same on Intel's.
"""

import torch
from torch import Tensor

# torch's compiler calls the same operator; torch itself takes it for products of lower precision alone.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
# Multiplications from which a product is worth oneDNN's 11 microseconds a call. A rule, not a measurement on the spot:
# which library is taken decides the last bit.
_LARGE = 1 << 20


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns ``x @ weight.T + bias``.

    Args:
        x: ``(n, fan in)``, in any memory layout.
        weight: ``(fan out, fan in)``, in any memory layout.
        bias: ``(fan out,)`` or None.
    """
    if _ONEDNN is not None and x.shape[0] * weight.numel() >= _LARGE and _suits(x) and _suits(weight):
        product: Tensor = _ONEDNN(x, weight, bias, "none", [], "")
        return product
    return x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)


def _suits(tensor: Tensor) -> bool:
    """Returns whether oneDNN takes a tensor; gradients do not pass through its product."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and not tensor.requires_grad
