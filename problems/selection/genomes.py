"""Genomes of a fine-tuning: vectors of real numbers on one side, learning rates and grades of units on the other."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from moprune.errors import UsageError
from moprune.networks.low_rank import factor_shapes
from moprune.networks.selection import KINDS
from moprune.networks.units import Unit
from problems.selection.tuning import Grade, Tuning, check_units

# Learning rates of a graded genome come in hundredths of a decade (2.3 %), so that decoding and encoding are exact.
_STEPS = 100
# The least importance that an encoded unit gets: above 0, so that a threshold lies below; its rate is 0.1.
_LEAST = 1e-15
_ROUNDING = 1e-12


class Genotype(ABC):
    """A map from vectors of D numbers to tunings of a network's units, and back.

    Attributes:
        units: of the network.
        lower: float64 (D,), bounds of the genes; both belong to the range.
        upper: float64 (D,).
        log_rates: the least and the greatest log10 of a unit's factor of the base rate.
        choices: bool (D,), genes in [0, k] of which the whole part counts.
        owners: for each gene the name of the unit it is of; None for one of no unit in particular.
    """

    units: tuple[Unit, ...]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    log_rates: tuple[float, float]
    choices: NDArray[np.bool_]
    owners: tuple[str | None, ...]

    @property
    def n_var(self) -> int:
        """The length D of a genome."""
        return len(self.lower)

    @abstractmethod
    def decode(self, genome: NDArray[np.float64]) -> Tuning:
        """Returns the tuning of a genome (D,).

        Raises:
            UsageError: the genome has another length, or a gene beyond its bounds.
        """

    @abstractmethod
    def encode(self, tuning: Tuning) -> NDArray[np.float64]:
        """Returns a genome (D,) of a tuning, so that ``decode`` gives the tuning back.

        Raises:
            UsageError: the tuning is of other units, or no genome stands for it.
        """

    @abstractmethod
    def names(self) -> list[str]:
        """Returns a name for each gene, D in all."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns what tells this genotype from others, to be written as JSON."""

    def _described(self, kind: str, **options: Any) -> dict[str, Any]:
        return {"kind": kind, "units": {unit.name: list(unit.parameters) for unit in self.units}, **options}

    def _genes(self, genome: NDArray[np.float64]) -> NDArray[np.float64]:
        genes = np.asarray(genome, dtype=np.float64)
        if genes.shape != (self.n_var,):
            raise UsageError(f"genome: its shape is {genes.shape}; this genotype has {self.n_var} genes")
        outside = ~((self.lower <= genes) & (genes <= self.upper))
        if outside.any():
            at = int(outside.argmax())
            bounds = f"[{self.lower[at]:g}, {self.upper[at]:g}]"
            raise UsageError(f"genome: {self.names()[at]} is {genes[at]:g}; keep it within {bounds}")
        return genes


class Importances(Genotype):
    """BioTune's genome: an importance v in [0, 1] for each unit, and a threshold e in [0, 1].

    A unit is tuned if v > e, at 10^(2 (v - 0.5)) times the base rate: from above 0.1 to 10. The head is a unit as any
    other, and can be frozen (Davila et al. 2025, IEEE Access 13, and the code published with it).

    Args:
        units: of a network.
    """

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units, self.log_rates = _checked(units), (-1.0, 1.0)
        self.lower, self.upper = np.zeros(len(self.units) + 1), np.ones(len(self.units) + 1)
        self.owners = (*(unit.name for unit in self.units), None)
        self.choices = np.zeros(len(self.units) + 1, dtype=bool)

    def decode(self, genome: NDArray[np.float64]) -> Tuning:
        """Returns the tuning of a genome (D,)."""
        *importances, threshold = self._genes(genome).tolist()
        return Tuning(
            {
                unit.name: 10.0 ** (2 * (importance - 0.5)) if importance > threshold else 0.0
                for unit, importance in zip(self.units, importances, strict=True)
            }
        )

    def encode(self, tuning: Tuning) -> NDArray[np.float64]:
        """Returns a genome (D,) of a tuning: frozen units at 0, the threshold at half the least of the others.

        Rates come back to about the precision of float64.
        """
        check_units(self.units, tuning)
        importances = [self._importance(unit.name, tuning) for unit in self.units]
        least = min((v for v in importances if v > 0), default=1.0)
        return np.array([*importances, least / 2])

    def names(self) -> list[str]:
        """Returns a name for each gene."""
        return [*(f"importance {unit.name}" for unit in self.units), "threshold"]

    def describe(self) -> dict[str, Any]:
        """Returns what tells this genotype from others."""
        return self._described("importances")

    def _importance(self, unit: str, tuning: Tuning) -> float:
        rate, grade = tuning.rates[unit], tuning.grade(unit)
        if grade == "frozen":
            return 0.0
        importance = 0.5 + math.log10(rate) / 2
        if grade != "full" or not -_ROUNDING <= importance <= 1 + _ROUNDING:
            what = f"tuned to {grade!r} at {rate:g} times the base rate"
            raise UsageError(f"genome: {unit!r} is {what}; importances are 'full' at 0.1 to 10")
        return min(max(importance, _LEAST), 1.0)


class Graded(Genotype):
    """A grade for each unit but the head, and a learning rate for each unit, independent of each other.

    First come the grades: a gene in [0, k] of the unit's k grades in rising order, the whole part of which counts (k
    itself like what is just below). A unit offers ``frozen``, ``norms`` if it has them among others, each rank at which
    any of its tensors has smaller factors, and ``full``. Then come the learning rates, log10 of the factor of the base
    rate, in hundredths. The head is always tuned in full.

    Args:
        network: is only looked at.
        units: of the network, one or more of them its head.
        ranks: offered, each >= 1 and rising; none for no change of low rank.
        log_rates: the least and the greatest log10 of a factor.

    Attributes:
        grades: what each unit but the head offers.

    Raises:
        UsageError: there is no head, or ranks or rates do not rise.
    """

    def __init__(
        self,
        network: nn.Module,
        units: Sequence[Unit],
        ranks: Sequence[int] = (4,),
        log_rates: tuple[float, float] = (-2.0, 1.0),
    ) -> None:
        self.units = _checked(units)
        self.ranks, self.log_rates = tuple(ranks), log_rates
        low, high = log_rates
        if all(unit.kind != "head" for unit in self.units):
            raise UsageError("genome: no unit is the head; give all units of the network, from units()")
        if list(self.ranks) != sorted(set(self.ranks)) or any(rank < 1 for rank in self.ranks):
            raise UsageError(f"genome: ranks {self.ranks}; give different ones of 1 or more, in rising order")
        if not -math.inf < low < high < math.inf:
            raise UsageError(f"genome: log_rates {log_rates}; give the least and the greatest log10 of a factor")
        self.grades: Mapping[str, tuple[Grade, ...]] = {
            unit.name: _offered(network, unit, self.ranks) for unit in self.units if unit.kind != "head"
        }
        counts = [len(offered) for offered in self.grades.values()]
        self.lower = np.array([0.0] * len(counts) + [low] * len(self.units))
        self.upper = np.array([*counts, *[high] * len(self.units)], dtype=np.float64)
        self.owners = (*self.grades, *(unit.name for unit in self.units))
        self.choices = np.arange(self.n_var) < len(counts)

    def decode(self, genome: NDArray[np.float64]) -> Tuning:
        """Returns the tuning of a genome (D,)."""
        genes = self._genes(genome).tolist()
        grades = {
            unit: offered[min(int(gene), len(offered) - 1)]
            for (unit, offered), gene in zip(self.grades.items(), genes, strict=False)
        }
        rates = {
            unit.name: 0.0 if grades.get(unit.name) == "frozen" else 10.0 ** (round(gene * _STEPS) / _STEPS)
            for unit, gene in zip(self.units, genes[len(grades) :], strict=True)
        }
        return Tuning(rates, {unit: grade for unit, grade in grades.items() if grade not in ("frozen", "full")})

    def encode(self, tuning: Tuning) -> NDArray[np.float64]:
        """Returns a genome (D,) of a tuning: each grade in the middle of its range, frozen units at the base rate.

        Rates that no genome has come back as the nearest one.
        """
        check_units(self.units, tuning)
        for unit in self.units:
            offered = self.grades.get(unit.name, ("full",))
            if (grade := tuning.grade(unit.name)) not in offered:
                raise UsageError(f"genome: {unit.name!r} cannot be tuned to {grade!r} (offered: {list(offered)})")
        grades = [offered.index(tuning.grade(unit)) + 0.5 for unit, offered in self.grades.items()]
        return np.array([*grades, *(self._log_rate(unit.name, tuning) for unit in self.units)])

    def names(self) -> list[str]:
        """Returns a name for each gene."""
        return [*(f"grade {unit}" for unit in self.grades), *(f"log-rate {unit.name}" for unit in self.units)]

    def describe(self) -> dict[str, Any]:
        """Returns what tells this genotype from others."""
        offered = {unit: list(grades) for unit, grades in self.grades.items()}
        return self._described("graded", grades=offered, log_rates=[float(self.lower[-1]), float(self.upper[-1])])

    def _log_rate(self, unit: str, tuning: Tuning) -> float:
        low, high = float(self.lower[-1]), float(self.upper[-1])
        if tuning.rates[unit] == 0:
            return min(max(0.0, low), high)
        gene = math.log10(tuning.rates[unit])
        if not low - 0.5 / _STEPS <= gene <= high + 0.5 / _STEPS:
            raise UsageError(f"genome: the rate of {unit!r} is 10^{gene:g}; log_rates are {low:g} to {high:g}")
        return min(max(gene, low), high)


def _offered(network: nn.Module, unit: Unit, ranks: Sequence[int]) -> tuple[Grade, ...]:
    shapes = [tuple(network.get_parameter(name).shape) for name in unit.parameters]
    norms = KINDS["norms"](network).intersection(unit.parameters)
    offered: list[Grade] = ["frozen", "norms"] if 0 < len(norms) < len(shapes) else ["frozen"]
    smaller = [rank for rank in ranks if any(factor_shapes(shape, rank) is not None for shape in shapes)]
    return (*offered, *smaller, "full")


def _checked(units: Sequence[Unit]) -> tuple[Unit, ...]:
    names = [unit.name for unit in units]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"genome: units {names}; give one or more with different names, from units()")
    return tuple(units)
