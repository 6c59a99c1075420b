"""One target in a process of its own, by coverage: ``python -m tests.fuzz.engine TARGET SECONDS SEED FOLDER``."""

import os
import resource
import sys
import warnings
from pathlib import Path

import atheris
from torch._weights_only_unpickler import Unpickler

os.environ.setdefault("OMP_NUM_THREADS", "1")

READERS = ("moprune", "problems", "analysis", "experiments", "yaml", "tarfile", "zipfile", "PIL")
"""What is watched: moprune, and what reads bytes for it in Python. Torch as a whole would take a minute to watch."""

MEMORY = 2 << 30
"""Bytes that an input may make the process take beyond what it has once its target is loaded."""
SECONDS = 120
"""Seconds that an input may take, on a machine that others use too."""


def main() -> None:
    """Tries inputs until the time is over or one fails, which is left in the folder."""
    name, seconds, seed, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    with atheris.instrument_imports(include=list(READERS)):
        import tarfile  # noqa: F401 - watched only if it is imported here first
        import zipfile  # noqa: F401

        from PIL import Image

        from tests.fuzz.targets import TARGETS

        Image.init()
    Unpickler.load = atheris.instrument_func(Unpickler.load)
    target = TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    beginnings = target.beginnings()
    for number, data in enumerate(beginnings):
        (corpus / f"beginning-{number}").write_bytes(data)
    warnings.simplefilter("ignore")
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    options = {
        "max_total_time": seconds, "seed": seed, "timeout": SECONDS, "rss_limit_mb": 0, "print_final_stats": 1,
        "max_len": 2 * max(map(len, beginnings)), "artifact_prefix": f"{folder}/",
    }  # fmt: skip
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(corpus)], target.read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
