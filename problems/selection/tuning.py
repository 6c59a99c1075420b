"""What a genome of layer selection stands for: which units are tuned, how far and how fast."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from moprune.errors import UsageError
from moprune.networks.low_rank import factor_shapes
from moprune.networks.selection import KINDS
from moprune.networks.units import Unit

Grade = int | Literal["frozen", "norms", "full"]
"""How far a unit is tuned: not at all, the affine parameters of its normalisation layers, these and all others with a
change of each of at most such a rank (vectors are of rank one), everything."""


@dataclass(frozen=True)
class Tuning:
    """Which units are tuned, how far and how fast.

    Attributes:
        rates: the learning rate of each unit as a factor of the base rate, >= 0; 0 for a frozen one.
        grades: of units that are tuned, but not in full: ``norms`` or a rank.

    Raises:
        UsageError: a rate is negative or not finite, or a grade is none or of a unit that is not tuned.
    """

    rates: Mapping[str, float]
    grades: Mapping[str, Grade] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for unit, rate in self.rates.items():
            if not 0 <= rate < math.inf:
                raise UsageError(f"tuning: the rate of {unit!r} is {rate}; give 0 (frozen) or a factor above it")
        for unit, grade in self.grades.items():
            if not self.rates.get(unit):
                raise UsageError(f"tuning: {unit!r} has the grade {grade!r} but no rate above 0; give it one")
            if grade != "norms" and (not isinstance(grade, int) or grade < 1):
                raise UsageError(f"tuning: the grade of {unit!r} is {grade!r}; give 'norms' or a rank of 1 or more")

    def grade(self, unit: str) -> Grade:
        """Returns how far a unit is tuned."""
        return self.grades.get(unit, "full") if self.rates[unit] > 0 else "frozen"


def trained(network: nn.Module, units: Sequence[Unit], tuning: Tuning) -> tuple[tuple[str, ...], dict[str, int]]:
    """Returns the parameters that a tuning trains: the names of those trained whole, and name -> rank of the others.

    Args:
        network: is only looked at.
        units: of the network, all of those that the tuning is of.
        tuning: what to train.

    Raises:
        UsageError: the tuning is of other units.
    """
    check_units(units, tuning)
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    norms = KINDS["norms"](network)
    whole: list[str] = []
    ranks: dict[str, int] = {}
    for unit in units:
        grade = tuning.grade(unit.name)
        for name in unit.parameters if grade != "frozen" else ():
            if isinstance(grade, int) and factor_shapes(shapes[name], grade) is not None:
                ranks[name] = grade
            elif grade != "norms" or name in norms:
                whole.append(name)
    return tuple(whole), ranks


def check_units(units: Sequence[Unit], tuning: Tuning) -> None:
    """Checks that a tuning is of some units, all of them and no others.

    Raises:
        UsageError: it is not.
    """
    if different := {unit.name for unit in units} ^ tuning.rates.keys():
        raise UsageError(f"tuning: {min(different)!r} is a unit of the network or the tuning alone; give all of both")
