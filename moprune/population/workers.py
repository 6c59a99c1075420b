"""Spreading independent candidates over the cores of a CPU, one core each.

Candidates are independent, so each is worked on by one thread with no threads below it. That is at least as fast as
torch's own threads inside each operation (no barrier after every small product), it keeps its speed when other
programs share the machine (where those barriers cost more than tenfold), and a candidate's result does not depend
on the number of cores. The same holds for the BLAS below NumPy, see :mod:`moprune.process_wide`.

Long work of many small operations can keep to its cores (on Linux) and take turns sooner: workers wait for Python's
lock many times a step, and the scheduler otherwise moves them about. Fine-tuning a small network was 8 % faster on two
cores by the one, and 2 to 4 % by the other. Short work was slower, since the thread that collects its results needs a
core, too.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event
from typing import TypeVar

import torch

from moprune.process_wide import keep_what_is_freed, shorter_turns, single_threaded_blas

T = TypeVar("T")
R = TypeVar("R")


class Cancelled(Exception):  # noqa: N818 - not an error: somebody stopped the work
    """Raised inside a worker whose result nobody waits for any longer."""


def in_parallel(
    function: Callable[[T, Event], R],
    items: Iterable[T],
    workers: int,
    *,
    ahead: int | None = None,
    long: bool = False,
    cost: Callable[[T], float] | None = None,
) -> Iterator[R]:
    """Yields ``function(item, stop)`` for each item, in order, on some threads with no threads below them.

    Args:
        function: does the work of one item; long work calls :func:`give_up_if` now and then, so that Ctrl-C does not
            wait for it.
        items: the items.
        workers: number of threads, >= 1.
        ahead: how many items are taken before the first result is wanted, >= 1, and then one for each result, so that
            items made on the way do not all exist at once; None to take all.
        long: whether items take long, by many small operations: each worker then keeps to a core where there is one
            for each, and takes turns sooner.
        cost: how much work an item is, in any unit, where that is known: what is taken at the beginning is begun with
            the costliest, so that no worker ends long after the others.
    """
    keep_what_is_freed()
    threads, stop = torch.get_num_threads(), Event()
    cores = _cores(workers) if long else SimpleQueue[int]()
    pool = ThreadPoolExecutor(workers, "moprune", initializer=_settle, initargs=(cores,))
    with single_threaded_blas, shorter_turns if long else nullcontext():
        try:
            source = iter(items)
            pending = deque(_begun(lambda item: pool.submit(function, item, stop), islice(source, ahead), cost))
            while pending:
                result = pending.popleft().result()
                pending.extend(pool.submit(function, item, stop) for item in islice(source, 1))
                yield result
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            # A worker's setting became the default of threads to come; this thread has kept its own.
            torch.set_num_threads(threads)


def _begun(
    begin: Callable[[T], Future[R]], items: Iterable[T], cost: Callable[[T], float] | None
) -> Iterable[Future[R]]:
    """Begins each item, the costliest first or as they come; returns them in the order of the items."""
    if cost is None:
        return map(begin, items)
    known = list(items)
    order = sorted(range(len(known)), key=lambda i: -cost(known[i]))
    begun = {i: begin(known[i]) for i in order}
    return [begun[i] for i in range(len(known))]


def _cores(workers: int) -> SimpleQueue[int]:
    """Returns a core for each worker; none where there are more or fewer than the process may use."""
    own: SimpleQueue[int] = SimpleQueue()
    if sys.platform == "linux":
        cores = os.sched_getaffinity(0)
        for core in sorted(cores) if len(cores) == workers else ():
            own.put(core)
    return own


def _settle(cores: SimpleQueue[int]) -> None:
    """Makes this thread a worker: without threads below it, on a core of its own if there is one."""
    torch.set_num_threads(1)
    # Some containers refuse it.
    with suppress(Empty, OSError):
        core = cores.get_nowait()
        if sys.platform == "linux":
            os.sched_setaffinity(0, {core})  # of the thread


def give_up_if(stop: Event) -> None:
    """Raises :class:`Cancelled` once ``stop`` is set."""
    if stop.is_set():
        raise Cancelled
