"""The device work is done on."""

import torch

from moprune.errors import UsageError


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Returns the device: ``auto`` is the first CUDA device where there is one, else the CPU.

    Raises:
        UsageError: no such device on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {str(device)!r} is not usable here; use auto, cpu or cuda[:n]") from error
    return resolved
