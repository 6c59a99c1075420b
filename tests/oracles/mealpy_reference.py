"""Makes ``mealpy_reference.json``: what mealpy's SHADE family reaches on standard functions.

mealpy (MIT) pins an old numpy, so that it is run in an environment of its own:

    python3 -m venv mealpy && mealpy/bin/pip install mealpy==3.0.3
    mealpy/bin/python tests/oracles/mealpy_reference.py tests/oracles/mealpy_reference.json

The file holds, for each algorithm and function, the least value among the first :data:`EVALUATIONS` evaluations, a
number a seed. ``tests/moprune/algorithms/test_de_oracles.py`` says where mealpy departs from the papers and compares.
"""

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

D, MEMBERS, EVALUATIONS, SEEDS = 10, 100, 5_000, 25
LEAST = 4
"""Members at the end of LSHADE-cnEpSin, as in the paper."""


def rosenbrock(x: NDArray[Any]) -> float:
    return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def ackley(x: NDArray[Any]) -> float:
    waves = np.exp(np.mean(np.cos(2 * np.pi * x)))
    return float(20 - 20 * np.exp(-0.2 * np.sqrt(np.mean(x**2))) + np.e - waves)


def griewank(x: NDArray[Any]) -> float:
    return float(1 + np.sum(x**2) / 4000 - np.prod(np.cos(x / np.sqrt(np.arange(1, len(x) + 1)))))


FUNCTIONS: dict[str, tuple[Callable[[NDArray[Any]], float], float]] = {  # with half the width of the box around zero
    "sphere": (lambda x: float(np.sum(x**2)), 100.0),
    "rosenbrock": (rosenbrock, 30.0),
    "rastrigin": (lambda x: float(np.sum(x**2 - 10 * np.cos(2 * np.pi * x) + 10)), 5.12),
    "ackley": (ackley, 32.0),
    "griewank": (griewank, 600.0),
}


def shade() -> Any:
    from mealpy import SHADE

    return SHADE.OriginalSHADE(epoch=EVALUATIONS // MEMBERS, pop_size=MEMBERS)


def lshade() -> Any:
    from mealpy import SHADE

    return SHADE.L_SHADE(epoch=EVALUATIONS // MEMBERS, pop_size=MEMBERS)


def epsin() -> Any:
    """Returns LSHADE-cnEpSin without its covariance crossover, so that what is left is the ensemble of sinusoids."""
    from mealpy import LSHADEcnEpSin

    generations = round((EVALUATIONS - MEMBERS) / ((MEMBERS + LEAST) / 2))
    model = LSHADEcnEpSin.OriginalLSHADEcnEpSin(epoch=generations, pop_size=MEMBERS, pop_size_min=LEAST)
    model.pc = 0.0
    return model


ALGORITHMS = {"SHADE": shade, "L-SHADE": lshade, "LSHADE-cnEpSin": epsin}


def best(make: Callable[[], Any], function: Callable[[NDArray[Any]], float], half: float, seed: int) -> float:
    """Returns the least value of the first evaluations of one run."""
    from mealpy import FloatVar

    values: list[float] = []

    def noted(x: NDArray[Any]) -> float:
        values.append(function(x))
        return values[-1]

    np.random.seed(seed)  # noqa: NPY002 - mealpy draws some of its numbers from the global state
    bounds = FloatVar(lb=[-half] * D, ub=[half] * D)
    make().solve({"bounds": bounds, "obj_func": noted, "minmax": "min", "log_to": None}, seed=seed)
    return min(values[:EVALUATIONS])


def main(out: Path) -> None:
    """Runs everything and writes the file."""
    found = {
        name: {
            f: [float(f"{best(make, function, half, seed):.6g}") for seed in range(1, SEEDS + 1)]
            for f, (function, half) in FUNCTIONS.items()
        }
        for name, make in ALGORITHMS.items()
    }
    about = {"mealpy": version("mealpy"), "D": D, "members": MEMBERS, "evaluations": EVALUATIONS, "seeds": SEEDS}
    out.write_text(
        json.dumps({**about, "boxes": {f: half for f, (_, half) in FUNCTIONS.items()}, "best": found}) + "\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
