"""Known tunings by the problem's recipe, at rates from a hundredth to ten times its base rate."""

from collections.abc import Iterable

from problems.selection.anchors import body, of_norms, of_rank, of_units
from problems.selection.controls.plans import plan_points, swept
from problems.selection.controls.points import Point, Setting
from problems.selection.genomes import Graded
from problems.selection.tuning import Tuning

_RANKS = (1, 4, 8)  # where the search has none


def linear_probe(setting: Setting) -> list[Point]:
    """Returns the head tuned alone."""
    return plan_points(setting, swept(setting, lambda rate: [("head", of_units(setting.units, (), rate))]))


def full(setting: Setting) -> list[Point]:
    """Returns everything tuned."""
    names = [unit.name for unit in setting.units]
    return plan_points(setting, swept(setting, lambda rate: [("everything", of_units(setting.units, names, rate))]))


def norms_only(setting: Setting) -> list[Point]:
    """Returns normalisation layers and the head tuned."""
    network = setting.problem.base
    return plan_points(setting, swept(setting, lambda rate: [("norms", of_norms(network, setting.units, rate))]))


def first_k(setting: Setting) -> list[Point]:
    """Returns the first units and the head tuned, for each number of units."""
    names = [unit.name for unit in body(setting.units)]
    return _several(setting, {f"first {count}": names[:count] for count in range(1, len(names) + 1)})


def last_k(setting: Setting) -> list[Point]:
    """Returns the last units and the head tuned, for each number of units."""
    names = [unit.name for unit in body(setting.units)]
    return _several(setting, {f"last {count}": names[-count:] for count in range(1, len(names) + 1)})


def single_units(setting: Setting) -> list[Point]:
    """Returns each unit alone tuned with the head: surgical fine-tuning (Lee et al. 2023), for the caller to choose."""
    return _several(setting, {f"{unit.name} alone": [unit.name] for unit in body(setting.units)})


def lora(setting: Setting) -> list[Point]:
    """Returns low-rank changes of all tensors and the head tuned, for each rank (LoRA: Hu et al. 2022).

    The change of a convolution is one of k x k filters to r channels with 1 x 1 filters behind them, as in LoCon; it is
    not scaled by alpha / r, since rates are swept. Vectors are tuned as they are. The engine does it
    (:class:`moprune.population.tuning.Job`), since the package ``peft`` requires all of ``transformers``.
    """
    genotype, network, units = setting.problem.genotype, setting.problem.base, setting.units
    ranks = (genotype.ranks if isinstance(genotype, Graded) else ()) or _RANKS

    def tunings(rate: float) -> Iterable[tuple[str, Tuning]]:
        return [(f"rank {rank}", of_rank(network, units, rank, rate)) for rank in ranks]

    return plan_points(setting, swept(setting, tunings))


def _several(setting: Setting, chosen: dict[str, list[str]]) -> list[Point]:
    def tunings(rate: float) -> Iterable[tuple[str, Tuning]]:
        return [(name, of_units(setting.units, units, rate)) for name, units in chosen.items()]

    return plan_points(setting, swept(setting, tunings))
