"""What the benchmarks share: taking time, the machine's peak, and its name."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

PEAK_SIZE = 2048
"""Rows and columns of the matrices multiplied to find the peak."""


@dataclass(frozen=True)
class Spread:
    """Smallest, middle and largest value over the rounds."""

    least: float
    median: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Returns least, median and most of some values."""
    return Spread(min(values), median(values), max(values))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Returns how long some work takes, on a GPU until it is done there."""
    _synchronise(device)
    begin = time.perf_counter()
    work()
    _synchronise(device)
    return time.perf_counter() - begin


def peak(device: torch.device, repeats: int = 6) -> float:
    """Returns operations a second of the best of some large matrix products, all threads."""
    a, b, out = (torch.ones(PEAK_SIZE, PEAK_SIZE, device=device) for _ in range(3))
    torch.mm(a, b, out=out)
    best = min(seconds(lambda: torch.mm(a, b, out=out), device) for _ in range(repeats))
    return 2 * PEAK_SIZE**3 / best


def processor() -> str:
    """Returns the processor's name."""
    # Linux leaves platform.processor() empty or at the architecture; the name people know is in cpuinfo.
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Returns the name of a GPU, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
