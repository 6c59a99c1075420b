"""Values computed in another process."""

import functools
import importlib.util
import inspect
import multiprocessing
import os
import pickle
import sys
import types
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
from numpy.typing import NDArray

from moprune.problem import Genomes, SearchProblem

Values = NDArray[np.float64]


def in_another_process(problem: SearchProblem, X: Genomes, suite: type) -> Values:
    """Returns the values a freshly started interpreter computes, with other string hashes than here."""
    worker = _worker()
    try:
        # The file first: what the problem is made of may be defined in it, and pytest may not import it by name.
        worker.submit(_import_file, suite.__module__, inspect.getfile(suite)).result()
        return worker.submit(_values_of, problem, X).result()
    except BrokenProcessPool as error:
        _worker.cache_clear()
        raise AssertionError("the problem arrived in another process but could not be rebuilt there") from error
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(f"the problem cannot go to another process: {error}") from error


@functools.cache
def _worker() -> ProcessPoolExecutor:
    """Returns a process shared by all suites, since each takes seconds to import torch."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "2" if before == "1" else "1"
    try:
        pool.submit(os.getpid).result()
    finally:
        del os.environ["PYTHONHASHSEED"]
        if before is not None:
            os.environ["PYTHONHASHSEED"] = before
    return pool


def _import_file(name: str, path: str) -> None:
    if name in sys.modules or name == "__main__":
        return
    parents = name.split(".")[:-1]
    for depth in range(1, len(parents) + 1):  # pytest names a file after its folders, which need not be packages
        package = types.ModuleType(".".join(parents[:depth]))
        package.__path__ = []
        sys.modules.setdefault(package.__name__, package)
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is not None and specification.loader is not None:
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module
        specification.loader.exec_module(module)


def _values_of(problem: SearchProblem, X: Genomes) -> Values:
    return problem.values(X)
