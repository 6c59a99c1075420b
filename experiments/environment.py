"""What a run depended on besides its configuration: versions, device, digests."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from experiments.tasks import TaskKind
from moprune.devices import resolve_device
from moprune.problem import SearchProblem

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


def environment(kind: TaskKind, problem: SearchProblem) -> dict[str, Any]:
    """Returns versions, machine, device, seeds, and the digests of data and network, JSON-ready."""
    device = resolve_device(kind.config.device)
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "seeds": list(kind.config.seeds),
        "images": kind.images(problem),
        "digests": kind.digests(problem),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
