"""Does faults to whole runs and writes what came of each: ``python -m tests.faults --kills 200 --out R``."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: a process is forked, its threads are not

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.process import preload
from tests.faults.runs import TASKS, Subject
from tests.faults.table import FAILED, Trial, as_csv, as_markdown

KINDS = ("kills", "disk", "damage", "inside", "inputs")


def main() -> int:
    """Returns 0 if nothing failed."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["MOPRUNE_CACHE"] = str((options.out / "cache").resolve())
    preload()
    trials: list[Trial] = []
    started = time.monotonic()
    for trial in _trials(options):
        trials.append(trial)
        print(
            f"{time.monotonic() - started:7.1f} s  {trial.task}: {trial.fault}: {trial.came}  {trial.detail}",
            flush=True,
        )
        (options.out / "faults.md").write_text(as_markdown(trials))
        (options.out / "faults.csv").write_text(as_csv(trials))
    print(as_markdown(trials))
    return int(any(trial.came == FAILED for trial in trials))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs in all, divided among the tasks")
    parser.add_argument("--each", type=int, default=3, help="how often every other fault is done")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table and of what is run")
    parser.add_argument("--task", type=lambda text: text.split(","), default=list(TASKS), help=",".join(TASKS))
    parser.add_argument("--kind", type=lambda text: text.split(","), default=list(KINDS), help=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=0, help="draws when, where and which bit")
    options = parser.parse_args()
    if unknown := {*options.task} - {*TASKS} | {*options.kind} - {*KINDS}:
        parser.error(f"not known: {', '.join(sorted(unknown))}")
    if options.out.exists() and any(options.out.iterdir()):
        parser.error(f"{options.out} is not empty; choose another --out")
    return options


def _trials(options: argparse.Namespace) -> Iterator[Trial]:
    for number, task in enumerate(options.task):
        home = (options.out / task).resolve()
        home.mkdir()
        subject = Subject(task, home).prepare()
        share = (options.kills + number) // len(options.task)
        for kind in options.kind:
            yield from _kind(kind, subject, share, options.each, random.Random(f"{options.seed} {task} {kind}"))


def _kind(kind: str, subject: Subject, kills: int, each: int, chance: random.Random) -> Iterator[Trial]:
    from tests.faults import damage, disk, inputs, inside
    from tests.faults.kills import interrupts
    from tests.faults.kills import kills as killed

    if kind == "kills":
        yield from killed(subject, kills, chance)
        yield from interrupts(subject, each, chance)
    elif kind == "disk":
        yield from disk.full_disk(subject, each, chance)
        yield from disk.read_only(subject, chance)
    elif kind == "damage":
        yield from damage.half_done(subject, each, chance)
        yield from damage.finished(subject, each, chance)
    elif kind == "inside":
        parts: tuple[Callable[[Subject, random.Random], Iterator[Trial]], ...]
        parts = (inside.candidates, inside.company, inside.clocks)
        for part in parts:
            yield from part(subject, chance)
    elif subject.task == "pruning":  # images are opened alike for all tasks
        home = subject.home.parent / "images"
        home.mkdir()
        yield from inputs.robbed(home, chance)


if __name__ == "__main__":
    sys.exit(main())
