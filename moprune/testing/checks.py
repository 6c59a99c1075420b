"""What several contracts check."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from moprune.errors import UsageError

Values = NDArray[np.float64]


def refused(what: str, call: Callable[..., object], *arguments: object) -> None:
    """Asserts that a call raises a UsageError; ``what`` was given to it."""
    try:
        call(*arguments)
    except UsageError:
        return
    raise AssertionError(f"{what} were accepted; they must raise a UsageError")


def gap(first: Values, second: Values) -> str:
    """Returns how two arrays of values differ, for a message."""
    if first.shape != second.shape:
        return f"shapes {first.shape} and {second.shape}"
    return f"largest difference {np.abs(first - second).max():.3g}"


@contextmanager
def global_random_states_kept(who: str) -> Iterator[None]:
    """Asserts that what is inside draws from no global generator of torch, numpy or Python."""

    def states() -> dict[str, object]:
        return {
            "random": random.getstate(),
            "numpy": str(np.random.get_state(legacy=False)),  # noqa: NPY002
            "torch": torch.get_rng_state().tolist(),
        }

    before = states()
    yield
    changed = [library for library, state in states().items() if state != before[library]]
    assert not changed, f"{who} drew from the global random state of {', '.join(changed)}; use moprune.seeding"
