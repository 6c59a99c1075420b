"""Random generators derived from (run seed, purpose): no global random state anywhere in moprune.

Two derivations with the same arguments give the same stream on every machine; any other argument gives an
unrelated one. The purpose is spelled out (``"initial weights"``, ``"batch order"``, ...) so that adding a new
random draw somewhere never shifts the draws made elsewhere.
"""

import hashlib

import numpy as np
import torch


def derive(seed: int, *purpose: str | int) -> int:
    """Returns a 63-bit seed for one purpose of a run, by SHA-256 over the seed and the purpose."""
    text = "\x1f".join([str(int(seed)), *(str(part) for part in purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Returns a CPU torch generator for one purpose of a run; draws are made on the CPU on every device."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Returns a numpy generator for one purpose of a run."""
    return np.random.default_rng(derive(seed, *purpose))
