"""One thread for the BLAS below NumPy and SciPy while candidates are scored.

Its threads wait for each other after every small product: with two of them, on a machine with other work, detectors
took twelve times as long. And the last bits of a product may depend on how many there are; results must not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from threading import Lock

from threadpoolctl import ThreadpoolController


class _Single:
    """Keeps the process's BLAS at one thread for as long as anybody asks for it, whoever ends first."""

    def __init__(self) -> None:
        self._lock, self._holders = Lock(), 0

    @cached_property
    def _libraries(self) -> ThreadpoolController:
        """The libraries that are loaded, found once: Ctrl-C gets lost in the callback that looks for them."""
        import scipy.linalg  # noqa: F401 - brings a BLAS of its own

        return ThreadpoolController()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._limits = self._libraries.limit(limits=1, user_api="blas")
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    self._limits.restore_original_limits()


single_threaded_blas = _Single()
"""A context manager, for threads too."""
