"""Settings of the whole process that are changed for scoring candidates, and put back afterwards where they can be.

- One thread for the BLAS below NumPy and SciPy. Its threads wait for each other after every small product: with two of
  them, on a machine with other work, detectors took twelve times as long. And the last bits of a product may depend on
  how many there are; results must not.
- Threads of Python take turns sooner. One that waits for Python's lock asks for it after 5 ms, and most operations last
  less: a thread that launches many has the lock again before the other has woken up.
- What is freed stays with the process. A step of training takes some megabytes for its gradient and frees them, and to
  map and clear them again each time can take half as long as the step.
"""

import sys
from collections.abc import Callable
from functools import cache
from threading import Lock

import torch
from threadpoolctl import ThreadpoolController

# Seconds. On two cores a small network was fine-tuned 2 to 4 % faster than with 5 ms; less than this changed nothing.
_TURN = 1e-4


class ProcessWide:
    """A context manager, for threads too: a setting is changed until the last of those who asked for it has ended.

    Args:
        change: changes it; returns what puts it back.
    """

    def __init__(self, change: Callable[[], Callable[[], object]]) -> None:
        self._change, self._lock, self._holders = change, Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._holders == 0:
                self._put_back = self._change()
            self._holders += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._put_back()


@cache
def keep_what_is_freed() -> None:
    """Has the C library keep blocks of up to 32 MB when they are freed, up to 64 MB a thread; not put back.

    glibc keeps blocks no larger than the largest mapped one that was freed before (mallopt(3), M_MMAP_THRESHOLD), so
    that one is freed here, never touched. Other libraries take no notice.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


@cache
def _libraries() -> ThreadpoolController:
    """The BLAS libraries that are loaded, found once: Ctrl-C gets lost in the callback that looks for them."""
    import scipy.linalg  # noqa: F401 - brings a BLAS of its own

    return ThreadpoolController()


def _one_thread() -> Callable[[], object]:
    limited = _libraries().limit(limits=1, user_api="blas")
    return lambda: limited.restore_original_limits()


def _shorter_turns() -> Callable[[], object]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _TURN))
    return lambda: sys.setswitchinterval(before)


single_threaded_blas = ProcessWide(_one_thread)
shorter_turns = ProcessWide(_shorter_turns)
