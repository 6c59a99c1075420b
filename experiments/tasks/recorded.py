"""Genotypes of a finished selection as its log describes them: they decode, without the network."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from moprune.networks.units import Unit
from moprune.problem import Genomes
from problems.selection import Genotype, Grade, Graded, Importances, Tuning


def tunings(description: Mapping[str, Any], genomes: Genomes) -> list[Tuning]:
    """Returns what genomes stand for.

    Args:
        description: of their genotype, as :meth:`problems.selection.Genotype.describe` made it.
        genomes: ``(n, n_var)``.
    """
    genotype = _genotype(description)
    return [genotype.decode(genome) for genome in genomes]


def gene_columns(description: Mapping[str, Any], genomes: Genomes) -> pd.DataFrame:
    """Returns ``rate_<unit>``, the factor of the base rate (0: frozen), and ``grade_<unit>`` of each unit."""
    decoded, units = tunings(description, genomes), list(description["units"])
    rates = {f"rate_{unit}": [each.rates[unit] for each in decoded] for unit in units}
    grades = {f"grade_{unit}": [str(each.grade(unit)) for each in decoded] for unit in units}
    return pd.DataFrame(rates | grades, index=range(len(genomes)))


def _genotype(description: Mapping[str, Any]) -> Genotype:
    offered = description.get("grades", {})
    units = [
        Unit(name, tuple(parameters), "stage" if name in offered else "head")
        for name, parameters in description["units"].items()
    ]
    if description["kind"] == "importances":
        return Importances(units)
    return _Recorded(units, {unit: tuple(grades) for unit, grades in offered.items()}, description["log_rates"])


class _Recorded(Graded):
    """A graded genotype of which the grades are known, so that no network has to be asked."""

    def __init__(
        self, units: Sequence[Unit], grades: Mapping[str, tuple[Grade, ...]], log_rates: Sequence[float]
    ) -> None:
        low, high = log_rates
        counts = [len(offered) for offered in grades.values()]
        self.units, self.grades, self.log_rates = tuple(units), MappingProxyType(dict(grades)), (low, high)
        self.lower = np.array([0.0] * len(counts) + [low] * len(units))
        self.upper = np.array([*counts, *[high] * len(units)], dtype=np.float64)
