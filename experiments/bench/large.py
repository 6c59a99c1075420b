"""What a search on features larger than memory costs: time, and the memory of its process.

``python -m experiments.bench.large`` makes a data set of random features (8 GB as it stands), runs a small search with
``moprune run`` in a process of its own, and prints the figures of docs/experiments.md. The data set is removed again.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from moprune.data.features import FEATURES, LABELS
from moprune.errors import MopruneError, UsageError
from moprune.seeding import numpy_generator

CLASSES = 10
_ROWS = 4096  # made at once
_EXPERIMENT = """
data: {{source: features, path: {folder}, ood: {{search: ["8"], test: ["9"]}}}}
network: {{arch: features}}
pruning: {{memory_limit: {limit}, hidden: [32], members: 1, folds: 2, mode: full,
  training: {{epochs: 1, batch_size: 256}}}}
objectives: [brier, active_fraction, {{name: ood_auroc, detector: energy}}]
search: {{n_eval: {candidates}, pop_size: {candidates}}}
device: cpu
"""
_CHILD = """
import sys
from experiments.main import main
status = main(sys.argv[1:])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(status)
"""


@dataclass(frozen=True)
class Large:
    """What a search on a data set cost.

    Attributes:
        data: bytes of the features.
        written: seconds that making them took.
        searched: seconds of the search with controls and test, from start to end of its process.
        peak: largest resident memory of that process, bytes.
    """

    data: int
    written: float
    searched: float
    peak: int


def bench_large(
    rows: int, features: int, *, candidates: int = 8, memory_limit: float = 2.0, folder: Path | None = None
) -> Large:
    """Returns the cost of a small search on random features of ten classes, two of them held out.

    Args:
        rows: feature vectors, enough for some of each class in every split.
        features: their width.
        candidates: evaluated by the search; as many random masks are its control.
        memory_limit: GiB above which features stay on disk, ``pruning.memory_limit``.
        folder: where the data set is written for a while; None for the system's temporary folder.

    Raises:
        UsageError: the folder has not the space.
        MopruneError: the search failed.
    """
    size = 4 * rows * features
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        if shutil.disk_usage(temporary).free < 1.1 * size:
            raise UsageError(f"{temporary} has no space for {size / 1e9:.1f} GB; name another folder with --folder")
        here = Path(temporary)
        begin = time.perf_counter()
        write_features(here, rows, features)
        written = time.perf_counter() - begin
        (here / "large.yaml").write_text(_EXPERIMENT.format(folder=here, candidates=candidates, limit=memory_limit))
        command = [sys.executable, "-c", _CHILD, "run", str(here / "large.yaml"), "--out", str(here / "run")]
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        searched = time.perf_counter() - begin
        if done.returncode != 0:
            raise MopruneError(f"the search failed: {done.stderr.strip()}")
    peak = int(done.stdout.split("VmHWM:")[1].split()[0]) * 1024  # Linux counts in KiB
    return Large(size, written, searched, peak)


def write_features(folder: Path, rows: int, features: int) -> None:
    """Writes random features of ten classes, never all of them in memory."""
    random = numpy_generator(0, "large features")
    labels = random.integers(CLASSES, size=rows)
    centres = random.standard_normal((CLASSES, features), dtype=np.float32) / 8
    np.save(folder / LABELS, labels)
    with (folder / FEATURES).open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, features)})
        for first in range(0, rows, _ROWS):
            own = centres[labels[first : first + _ROWS]]
            file.write((own + random.standard_normal(own.shape, dtype=np.float32)).data)


def main(
    rows: Annotated[int, typer.Option(min=400, help="Feature vectors.")] = 1_000_000,
    features: Annotated[int, typer.Option(min=1, help="Their width.")] = 2048,
    candidates: Annotated[int, typer.Option(min=4, help="Of the search.")] = 8,
    memory_limit: Annotated[float, typer.Option(min=0, help="GiB above which features stay on disk.")] = 2.0,
    folder: Annotated[Path | None, typer.Option(help="Where the data set is written for a while.")] = None,
) -> None:
    """Prints the figures."""
    m = bench_large(rows, features, candidates=candidates, memory_limit=memory_limit, folder=folder)
    print(f"features           {rows:,} x {features:,}, {m.data / 1e9:.2f} GB, written in {m.written:.0f} s")
    print(f"search of {candidates:<8} {m.searched:8.0f} s")
    print(f"resident at most   {m.peak / 1e9:8.2f} GB")


if __name__ == "__main__":
    typer.run(main)
