"""What the benchmarks share: taking time, what the machine can do at most, and its name."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from moprune.networks.products import product

PEAK_SIZE = 2048
"""Rows and columns of the matrices multiplied to find the peak."""

COPIED = 1 << 28
"""Bytes copied to find the bandwidth: several times what caches hold."""


@dataclass(frozen=True)
class Spread:
    """Smallest, middle and largest value over the rounds."""

    least: float
    median: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Returns least, median and most of some values."""
    return Spread(min(values), median(values), max(values))


@dataclass(frozen=True)
class Work:
    """What has to be done, whatever the way.

    Attributes:
        operations: floating-point operations, one multiplication and addition two.
        bytes: read from memory at least once.
    """

    operations: float
    bytes: float


@dataclass(frozen=True)
class Limits:
    """What the machine can do at most.

    Attributes:
        peak: operations a second of the best large matrix product in float32.
        bandwidth: bytes a second, read and written, of the best large copy.
    """

    peak: float
    bandwidth: float

    def floor(self, work: Work) -> float:
        """Returns the seconds that the work takes at least, arithmetic or memory, whichever is longer."""
        return max(work.operations / self.peak, work.bytes / self.bandwidth)

    def best(self, other: "Limits") -> "Limits":
        """Returns the better of both in each."""
        return Limits(max(self.peak, other.peak), max(self.bandwidth, other.bandwidth))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Returns how long some work takes, on a GPU until it is done there."""
    _synchronise(device)
    begin = time.perf_counter()
    work()
    _synchronise(device)
    return time.perf_counter() - begin


def peak(device: torch.device, repeats: int = 6) -> float:
    """Returns operations a second of the best of some large matrix products, all threads.

    Both libraries that torch has for them on a CPU are tried; oneDNN's is best where rows are multiplied by rows.
    """
    return max(_rate(torch.mm, device, repeats), _rate(lambda a, b: product(a, b.T), device, repeats))


def torch_peak(device: torch.device, repeats: int = 6) -> float:
    """Returns the same of ``torch.mm`` alone."""
    return _rate(torch.mm, device, repeats)


def _rate(way: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], device: torch.device, repeats: int) -> float:
    a, b = (torch.ones(PEAK_SIZE, PEAK_SIZE, device=device) for _ in range(2))
    way(a, b)
    return 2 * PEAK_SIZE**3 / min(seconds(lambda: way(a, b), device) for _ in range(repeats))


def limits(device: torch.device) -> Limits:
    """Measures what the machine can do at most, with all threads."""
    return Limits(peak(device), bandwidth(device))


def bandwidth(device: torch.device, repeats: int = 3) -> float:
    """Returns bytes a second, read and written, of the best of some large copies, all threads."""
    source, target = (torch.ones(COPIED, dtype=torch.uint8, device=device) for _ in range(2))
    best = min(seconds(lambda: target.copy_(source), device) for _ in range(repeats))
    return 2 * COPIED / best


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
