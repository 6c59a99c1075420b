"""Tunings that people choose without a search: where one may start, and what it has to beat."""

from collections.abc import Collection, Iterator, Sequence

from torch import nn

from moprune.errors import UsageError
from moprune.networks.low_rank import factor_shapes
from moprune.networks.selection import KINDS
from moprune.networks.units import Unit
from problems.selection.genomes import Genotype, Graded
from problems.selection.tuning import Grade, Tuning

FACTORS = (1.0, 0.1, 0.01)
"""Factors of the base rate at which everything is tuned."""
LAST, FIRST = 3, 2
"""How many units before the head, and how many from the first on, are tuned together at most."""


def anchors(network: nn.Module, units: Sequence[Unit], genotype: Genotype) -> list[tuple[str, Tuning]]:
    """Returns known tunings by name, the most important first, as far as genomes stand for them.

    The head alone (a linear probe), normalisation layers, everything at three rates, the last units, the first ones,
    each unit alone, low rank everywhere; all with the head, and but for the second to fourth at the base rate. Rates
    beyond those of the genotype are moved to its nearest.

    Args:
        network: is only looked at.
        units: of the network.
        genotype: over these units.

    Returns:
        Different tunings, each as its genome is decoded.
    """
    found: list[tuple[str, Tuning]] = []
    for name, tuning in _named(network, units, genotype):
        try:
            decoded = genotype.decode(genotype.encode(tuning))
        except UsageError:  # the genotype does not offer one of its grades
            continue
        if all(decoded != other for _, other in found):
            found.append((name, decoded))
    return found


def of_units(units: Sequence[Unit], chosen: Collection[str], rate: float = 1.0) -> Tuning:
    """Returns the tuning in full of some units, by name, and of the head, all at one factor of the base rate."""
    return Tuning({unit.name: rate if unit.kind == "head" or unit.name in chosen else 0.0 for unit in units})


def of_norms(network: nn.Module, units: Sequence[Unit], rate: float = 1.0) -> Tuning:
    """Returns the tuning of the head and of the affine parameters of all normalisation layers, at one factor."""
    norms = KINDS["norms"](network)
    some = {unit.name: norms.intersection(unit.parameters) for unit in units}
    whole = of_units(units, [name for name, own in some.items() if own], rate)
    partly = [unit for unit in body(units) if 0 < len(some[unit.name]) < len(unit.parameters)]
    return Tuning(whole.rates, {unit.name: "norms" for unit in partly})


def of_rank(network: nn.Module, units: Sequence[Unit], rank: int, rate: float = 1.0) -> Tuning:
    """Returns the tuning of the head, and of all else by changes of at most a rank, at one factor of the base rate.

    Units none of whose tensors has smaller factors of that rank are tuned in full.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    grades: dict[str, Grade] = {
        unit.name: rank
        for unit in body(units)
        if any(factor_shapes(shapes[name], rank) is not None for name in unit.parameters)
    }
    return Tuning(dict.fromkeys((unit.name for unit in units), rate), grades)


def body(units: Sequence[Unit]) -> list[Unit]:
    """Returns all units but the head, in their order."""
    return [unit for unit in units if unit.kind != "head"]


def _named(network: nn.Module, units: Sequence[Unit], genotype: Genotype) -> Iterator[tuple[str, Tuning]]:
    low, high = (10.0**bound for bound in genotype.log_rates)
    rate, *others = (min(max(factor, low), high) for factor in FACTORS)
    names = [unit.name for unit in body(units)]
    yield "head alone", of_units(units, (), rate)
    yield "norms", of_norms(network, units, rate)
    for factor in (rate, *others):
        yield f"everything at {factor:g}", of_units(units, names, factor)
    for count in range(1, min(LAST, len(names)) + 1):
        yield f"last {count}", of_units(units, names[-count:], rate)
    for count in range(1, min(FIRST, len(names)) + 1):
        yield f"first {count}", of_units(units, names[:count], rate)
    for name in names:
        yield f"{name} alone", of_units(units, [name], rate)
    for rank in genotype.ranks if isinstance(genotype, Graded) else ():
        yield f"rank {rank}", of_rank(network, units, rank, rate)
