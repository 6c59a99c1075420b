"""Packages that only some commands need: imported when asked for, with a line that says how to get them."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moprune.errors import UsageError


def require(module: str, extra: str) -> Any:
    """Returns an optional package's module.

    Args:
        module: its import name, such as ``optuna`` or ``pyarrow.parquet``.
        extra: the extra of moprune that installs it.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # What is missing may be a package that the module itself needs; the extra brings that too.
        missing = error.name or module
        raise UsageError(f"this needs {missing}; install it with: pip install 'moprune[{extra}]'") from error


@contextmanager
def quiet_optuna() -> Iterator[Any]:
    """Gives Optuna's module, kept from reporting every study it makes; its level of logging is put back.

    Raises:
        UsageError: it is not installed.
    """
    optuna = require("optuna", "optuna")
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield optuna
    finally:
        optuna.logging.set_verbosity(level)
