"""Tries inputs on each target and writes what came of it: ``python -m tests.fuzz --minutes 10 --seed 1 --out DIR``."""

import argparse
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import TARGETS

_STARTING = 600
"""Seconds that a process may take besides those it tries inputs in."""


@dataclass(frozen=True)
class Tried:
    """What came of a target: inputs tried, in how many seconds, and the faults, each as its log ends."""

    target: str
    inputs: int
    seconds: float
    faults: tuple[str, ...]


def main() -> int:
    """Returns 0 if no input made a target fail."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.jobs) as workers:
        jobs = [
            workers.submit(_try, name, round(60 * options.minutes), options.seed, options.out / name)
            for name in options.targets
        ]
        found: list[Tried] = []
        for job in jobs:
            found.append(job.result())
            print(f"{found[-1].target}: {found[-1].inputs:,} inputs, {len(found[-1].faults)} faults", flush=True)
            (options.out / "fuzz.md").write_text(_table(found))
    print(_table(found))
    return int(any(each.faults for each in found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for each target")
    parser.add_argument("--targets", default="all", help=f"all, or some of {','.join(TARGETS)}")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table, logs and inputs that fail")
    options = parser.parse_args()
    options.targets = list(TARGETS) if options.targets == "all" else options.targets.split(",")
    if unknown := {*options.targets} - {*TARGETS}:
        parser.error(f"not known: {', '.join(sorted(unknown))}")
    return options


def _try(name: str, seconds: int, seed: int, folder: Path) -> Tried:
    """Tries inputs on a target for so many seconds, going on after each that fails until one fails in the same way."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs, spent, faults = 0, 0.0, []
    while spent < seconds and len({*faults}) == len(faults):
        log = folder / f"{len(faults)}.log"
        wrong = _process(name, round(seconds - spent), seed + len(faults), folder, log)
        text = log.read_text(errors="replace")
        count = _number(r"stat::number_of_executed_units:\s*(\d+)", text)
        inputs += count
        spent += count / max(1, _number(r"stat::average_exec_per_sec:\s*(\d+)", text)) if wrong else seconds
        if wrong:
            faults.append(wrong)
    return Tried(name, inputs, min(spent, seconds), tuple(faults))


def _process(name: str, seconds: int, seed: int, folder: Path, log: Path) -> str:
    """Runs the engine once; returns what went wrong, nothing if the time was over."""
    command = [sys.executable, "-m", "tests.fuzz.engine", name, str(seconds), str(seed), str(folder)]
    with log.open("w") as file:
        try:
            status = subprocess.run(
                command, stdout=file, stderr=file, timeout=seconds + _STARTING, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return "the process did not end"
    if status == 0:
        return ""
    raised = re.search(r"Uncaught Python exception: ===\n(.+)", log.read_text(errors="replace"))
    return raised[1] if raised else f"status {status}"


def _number(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def _table(found: list[Tried]) -> str:
    rows = [f"| {each.target} | {each.seconds / 60:.1f} | {each.inputs:,} | {len(each.faults)} |" for each in found]
    told = [f"- {each.target}: {fault}" for each in found for fault in each.faults]
    return "\n".join(["| target | minutes | inputs | faults |", "|---|--:|--:|--:|", *rows, "", *told]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
