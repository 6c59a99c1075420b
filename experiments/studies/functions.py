"""Standard functions of real-valued optimisation, shifted and rotated as in the CEC competitions."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.problem import Problem

from moprune.seeding import numpy_generator

Values = NDArray[np.float64]

_HALF = 100.0
"""Half the width of every box."""


def elliptic(z: Values) -> Values:
    """High-conditioned elliptic function: ``sum 10^(6 i / (D - 1)) z_i^2``."""
    scales: Values = 10 ** np.linspace(0, 6, z.shape[1])
    return z**2 @ scales


def bent_cigar(z: Values) -> Values:
    """Bent cigar: ``z_1^2 + 10^6 sum_{i > 1} z_i^2``."""
    values: Values = z[:, 0] ** 2 + 1e6 * (z[:, 1:] ** 2).sum(axis=1)
    return values


def rosenbrock(z: Values) -> Values:
    """Rosenbrock's function, its optimum moved to zero."""
    x = z + 1
    values: Values = (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(axis=1)
    return values


def ackley(z: Values) -> Values:
    """Ackley's function."""
    bowl = -20 * np.exp(-0.2 * np.sqrt((z**2).mean(axis=1)))
    values: Values = bowl - np.exp(np.cos(2 * np.pi * z).mean(axis=1)) + 20 + np.e
    return values


def griewank(z: Values) -> Values:
    """Griewank's function."""
    waves = np.cos(z / np.sqrt(np.arange(1, z.shape[1] + 1))).prod(axis=1)
    values: Values = (z**2).sum(axis=1) / 4000 - waves + 1
    return values


def rastrigin(z: Values) -> Values:
    """Rastrigin's function."""
    values: Values = (z**2 - 10 * np.cos(2 * np.pi * z) + 10).sum(axis=1)
    return values


FUNCTIONS: Mapping[str, tuple[Callable[[Values], Values], float]] = MappingProxyType(
    {
        "elliptic": (elliptic, 100.0),
        "bent cigar": (bent_cigar, 100.0),
        "Rosenbrock": (rosenbrock, 2.048),
        "Ackley": (ackley, 32.0),
        "Griewank": (griewank, 600.0),
        "Rastrigin": (rastrigin, 5.12),
    }
)
"""Each with half the width of its usual box, to which the common one is scaled (Liang, Qu & Suganthan 2013)."""


class ShiftedRotated(Problem):
    """A function of ``R (x - o) s`` in [-100, 100]^D, whose optimum o, in [-80, 80]^D, has the value 0.

    Args:
        name: one of :data:`FUNCTIONS`.
        dimension: D, >= 2.
        seed: draws the shift o and the rotation R.
        counted: evaluations that :attr:`best` is the least value of; later ones do not count.
    """

    def __init__(self, name: str, dimension: int, seed: int, counted: int) -> None:
        super().__init__(n_var=dimension, n_obj=1, xl=-_HALF, xu=_HALF)
        self.function, half = FUNCTIONS[name]
        self.scale = half / _HALF
        generator = numpy_generator(seed, "shifted and rotated", name, dimension)
        self.optimum = generator.uniform(-0.8 * _HALF, 0.8 * _HALF, size=dimension)
        q, r = np.linalg.qr(generator.standard_normal((dimension, dimension)))
        self.rotation = q * np.sign(np.diag(r))  # uniform over rotations and reflections (Mezzadri 2007)
        self.left, self.best = counted, np.inf

    def __deepcopy__(self, memo: dict[int, Any]) -> "ShiftedRotated":
        return self  # pymoo copies the algorithm with its problem, which counts

    def _evaluate(self, X: Values, out: dict[str, Any], *_: Any, **__: Any) -> None:
        values = self.function((X - self.optimum) @ self.rotation * self.scale)
        self.best = float(np.min(values[: self.left], initial=self.best))
        self.left = max(0, self.left - len(values))
        out["F"] = values
