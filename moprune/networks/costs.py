"""What a network costs: parameters and arithmetic."""

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from moprune.errors import UsageError
from moprune.networks.modes import evaluating


def parameters(network: nn.Module) -> int:
    """Returns the number of parameters; shared ones count once, buffers (running statistics) do not count."""
    return sum(parameter.numel() for parameter in network.parameters())


def flops(network: nn.Module, example: Tensor) -> int:
    """Returns the floating point operations of one forward pass per sample: 2 x multiply-accumulates.

    Counted as ``torch.utils.flop_counter`` does: convolutions, matrix products and attention only. The
    network is run once on ``example``, in evaluation mode, and left as it was.

    Args:
        network: any network.
        example: a batch it accepts, (n, ...) with n >= 1, on the network's device.

    Raises:
        UsageError: ``example`` has no sample.
    """
    if example.ndim == 0 or len(example) == 0:
        raise UsageError(f"flops: the example has shape {tuple(example.shape)}; give a batch of at least one sample")
    fast = torch.backends.mha.get_fastpath_enabled()
    # The fused attention used in evaluation mode is one opaque operation, which the counter does not know.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # Likewise scaled_dot_product_attention: spelled out as matrix products it is counted by every torch.
        with (
            evaluating(network),
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            network(example)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops()) // len(example)
