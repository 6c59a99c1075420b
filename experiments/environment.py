"""What a run depended on besides its configuration: versions, device, digests."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from problems.pruning import PruningProblem

_PACKAGES = (
    "moprune",
    "torch",
    "torchvision",
    "pymoo",
    "moocore",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
)


def environment(problem: PruningProblem, seeds: tuple[int, ...]) -> dict[str, Any]:
    """Returns versions, machine, device, seeds, and the digests of data and network, JSON-ready."""
    device = problem.device
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "seeds": list(seeds),
        "images": problem.task.sizes(),
        "digests": {"data": problem.task.digest(), "network": problem.extractor.digest()},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
