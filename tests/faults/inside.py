"""What goes wrong inside a process: no memory, a loss that is no number, a clock that jumps; and a second process."""

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.faults.process import Fault, Process, run
from tests.faults.runs import Subject, evaluations, logged
from tests.faults.table import FAILED, REFUSED, Trial, judged


def candidates(subject: Subject, chance: random.Random) -> Iterator[Trial]:
    """Fails in the midst of a search as candidates do, then goes on without the fault."""
    import torch

    faults: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
        "MemoryError": (_raising(MemoryError()), "out of memory"),
        "allocation on the CPU fails": (
            _raising(RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")),
            "out of memory",
        ),
        "allocation on the GPU fails": (_raising(torch.OutOfMemoryError("CUDA out of memory.")), "out of memory"),
        "NaN in an objective": (_not_a_number, "must be finite"),
        "infinite objective": (_infinite, "must be finite"),
    }
    for fault, (act, words) in faults.items():
        with subject.scratch() as folder:
            ended = run(subject.command(folder), _in_a_batch(act, chance.randint(2, 5)))
            known = evaluations(folder)
            wrong = "" if ended.refuses(words) else f"it said: {ended.last}"
            wrong = wrong or ("" if known else "nothing was logged before") or subject.finishes_alike(folder)
            after = evaluations(folder)
            if not wrong and any(after.get(key) != value for key, value in known.items()):
                wrong = "evaluations lost"
            yield Trial(subject.task, fault, FAILED if wrong else REFUSED, wrong)


def company(subject: Subject, chance: random.Random) -> Iterator[Trial]:
    """Runs several processes on one folder: one works, the others are told so, also if it dies."""
    with subject.scratch() as folder:
        first = Process(subject.command(folder))
        first.wait(logged(folder))
        first.send(signal.SIGSTOP)  # it holds the folder for as long as the second takes
        second = run(subject.command(folder))
        wrong = "" if second.refuses("in use by another process") else f"the second said: {second.last}"
        first.send(signal.SIGKILL)
        first.ended()
        yield judged(
            subject.task, "second process while one works, which then dies", wrong or subject.finishes_alike(folder)
        )
    with subject.scratch() as folder:
        several = [Process(subject.command(folder)) for _ in range(3)]
        ends = [process.ended() for process in several]
        unclear = [e.last for e in ends if e.status != 0 and not e.refuses("in use by another process")]
        wrong = next(iter(unclear), "" if any(e.status == 0 for e in ends) else "none of them ended well")
        yield judged(subject.task, "three processes at once", wrong or subject.same(folder))


def clocks(subject: Subject, chance: random.Random) -> Iterator[Trial]:
    """Makes Python's clocks jump to and fro, a day at most, and dates the files of a killed run anew."""
    with subject.scratch() as folder:
        wrong = (
            subject.finishes_alike(folder)
            if not (ended := run(subject.command(folder), _jumping)).status
            else ended.last
        )
        yield judged(subject.task, "clocks jump to and fro", wrong)
    for year, name in ((0, "1970"), (4_102_444_800, "2100")):
        with subject.scratch() as folder:
            subject.half_done(folder, chance)
            for path in folder.rglob("*"):
                os.utime(path, (year, year))
            yield judged(subject.task, f"files of a killed run dated {name}", subject.finishes_alike(folder))


def _in_a_batch(act: Callable[[dict[str, Any]], None], number: int) -> Fault:
    """Returns a fault: ``act`` befalls what the ``number``-th batch of candidates put out."""

    def patch() -> None:
        from pymoo.core.problem import Problem

        evaluate, count = Problem.evaluate, itertools.count(1)

        def failing(self: Problem, *arguments: Any, **options: Any) -> Any:
            out = evaluate(self, *arguments, **options)
            if next(count) == number:
                act(out)
            return out

        Problem.evaluate = failing

    return patch


def _raising(error: Exception) -> Callable[[dict[str, Any]], None]:
    def act(_: dict[str, Any]) -> None:
        raise error

    return act


def _not_a_number(out: dict[str, Any]) -> None:
    np.asarray(out["F"])[0, 0] = np.nan


def _infinite(out: dict[str, Any]) -> None:
    np.asarray(out["F"])[-1, -1] = np.inf


def _jumping() -> None:
    for name in ("time", "monotonic", "perf_counter"):
        _make_jump(name)


def _make_jump(name: str) -> None:
    true, chance = getattr(time, name), random.Random(name)
    setattr(time, name, lambda: true() + chance.uniform(-86_400, 86_400))
