"""Functions of tensors that run without Python, and so without its lock.

A thread of Python holds the lock while it launches an operation. Where operations are small, threads wait for each
other: heads of 512 units in batches of 32 lost a tenth of two cores to it, and would lose most of sixteen.
"""

import warnings
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

_compiling = Lock()


class WithoutPython(Generic[P, R]):
    """Calls a function by torch's interpreter of scripts, which does the very operations that Python would.

    torch means to give scripts up for what needs a compiler of C++ on the user's machine. Where there are none any
    longer, or they do not know what a function uses, Python runs it: results are the same to the bit.

    Args:
        function: of tensors, numbers, strings, lists and named tuples of them, written in the part of Python that
            scripts know (https://docs.pytorch.org/docs/stable/jit_language_reference.html), as are those it calls.
            Lists of tensors that an operation writes to have to come from outside: of one made on the spot scripts do
            not see that it is written to, and leave the operation out. Compare with the plain function to the bit.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self._script: Callable[P, R] | None = None

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:
        """Returns what the function does."""
        with _compiling:
            if self._script is None:
                self._script = _scripted(self.function)
        return self._script(*arguments, **named)


def _scripted(function: Callable[P, R]) -> Callable[P, R]:
    """Returns a function as a script, or as it is."""
    scripts: Any = torch.jit
    library: Any = torch._C
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the end of scripts
        try:
            script, optimised = scripts.script(function), scripts.optimized_execution
            # A call inside a script costs half a microsecond; a head's step has a dozen.
            library._jit_pass_inline(script.graph)
        except Exception:  # there are no scripts, or they refuse the function in one of their many ways
            return function

    def run(*arguments: P.args, **named: P.kwargs) -> R:
        # What optimisation would put in the place of operations, after two calls, may round otherwise.
        with optimised(False):
            result: R = script(*arguments, **named)
            return result

    return run
