"""Search algorithms: pymoo's by name, and what pymoo lacks.

* :func:`make` builds a pymoo algorithm with operators that fit the problem's genomes;
* :class:`DensitySampling` starts bit searches with masks of every density;
* :class:`SteadyStateGA` is that of EvoPruneDeepTL;
* :class:`RandomSearch` is the control of every search;
* :class:`PackedDuplicateElimination` replaces pymoo's quadratic duplicate check for bits.
"""

from moprune.algorithms.duplicates import PackedDuplicateElimination
from moprune.algorithms.random_search import RandomSearch
from moprune.algorithms.registry import NAMES, make, refuse_unsuitable
from moprune.algorithms.sampling import DensitySampling
from moprune.algorithms.steady_state import SteadyStateGA

__all__ = [
    "NAMES",
    "DensitySampling",
    "PackedDuplicateElimination",
    "RandomSearch",
    "SteadyStateGA",
    "make",
    "refuse_unsuitable",
]
