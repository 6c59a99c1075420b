"""Searches of real numbers for one objective, by name."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from pymoo.algorithms.soo.nonconvex.de import DE
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.algorithms.soo.nonconvex.pso import PSO
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.operators.mutation.nom import NoMutation

from moprune.algorithms.adaptive_de import JADE, LSHADE, SHADE, TDE, LSHADEEpSin, SaDE, SASHADETriEnSin
from moprune.algorithms.biotune import BioTune
from moprune.algorithms.cmaes import CMAES
from moprune.algorithms.swarms import BatAlgorithm, FireflyAlgorithm, RelativisticPSO
from moprune.contexts import Context


class _OneToOne(Algorithm):
    """Candidate i takes the place of member i if it is better, and has no effect otherwise."""

    pop: Any

    def _infill(self) -> Population:
        infills = super()._infill()
        infills.set("context", [Context(bound=float(member.F[0])) for member in self.pop])
        return infills


class _DE(_OneToOne, DE):
    """DE/rand/1/bin without the polynomial mutation that pymoo adds, which needs finite bounds."""

    def __init__(self, **options: Any) -> None:
        super().__init__(variant="DE/rand/1/bin", F=0.5, CR=0.9, **options)
        self.mating.mutation = NoMutation()


class _PSO(_OneToOne, PSO):
    pass


ADAPTIVE_DE: Mapping[str, Callable[..., Algorithm]] = MappingProxyType(
    {
        "sade": SaDE,
        "jade": JADE,
        "shade": SHADE,
        "lshade": LSHADE,
        "lshade_epsin": LSHADEEpSin,
        "tde": TDE,
        "sa_shade": SASHADETriEnSin,
        "sa_shade_faithful": partial(SASHADETriEnSin, profile="faithful"),
    }
)
"""Those that take blocks."""

SINGLE_OBJECTIVE: Mapping[str, Callable[..., Algorithm]] = MappingProxyType(
    {
        **ADAPTIVE_DE,
        "biotune": BioTune,
        "biotune_faithful": partial(BioTune, profile="faithful"),
        "bat": BatAlgorithm,
        "firefly": FireflyAlgorithm,
        "rpso": RelativisticPSO,
        "cmaes": CMAES,
        "de": _DE,
        "pso": partial(_PSO, adaptive=False),  # to adapt, it holds an array of n x n x D
        "ga": GA,
    }
)
"""Builders, each taking ``pop_size`` and ``sampling``."""

UNBOUNDED: tuple[str, ...] = (*ADAPTIVE_DE, "cmaes", "de", "gde3", "nsde")
"""Algorithms that search variables without bounds too, where all first members are given."""
