"""What was measured of one kind of work, in the same words for every kind."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from statistics import median

import torch

from experiments.bench.timing import Limits, Spread, Work, limits, seconds, spread
from moprune.errors import MopruneError, UsageError

Tell = Callable[[str], None]
Sizes = Mapping[str, int | str]

OURS = "moprune"


@dataclass(frozen=True)
class Way:
    """Another way to do the same work.

    Attributes:
        rate: units a second; median over rounds.
        ratio: moprune's rate over this one within a round, over rounds.
        how: what this way does, and whether it was measured as a whole, for people.
    """

    rate: float
    ratio: Spread
    how: str


@dataclass(frozen=True)
class Row:
    """What was measured of one kind of work.

    Attributes:
        name: the kind, and the case where there are several.
        unit: what rates count.
        sizes: what makes this the same measurement as another one, threads and device included.
        rate: units a second of moprune; median over rounds.
        ways: the other ways by name.
        work: of one unit.
        limits: what the machine could do at most; best of the rounds.
        floor: the least seconds of the work over those that moprune took, within a round, over rounds; (0, 1].
        difference: largest difference between results of moprune and the naive way.
        tolerance: largest difference accepted.
        figures: what else is known of this kind.
    """

    name: str
    unit: str
    sizes: dict[str, int | str]
    rate: float
    ways: dict[str, Way]
    work: Work
    limits: Limits
    floor: Spread
    difference: float
    tolerance: float
    figures: dict[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """Rates of all ways, a value a round, and the machine's limits in each.

    Attributes:
        rates: units a second by way, :data:`OURS` among them.
        limits: the machine's, a round each.
    """

    rates: dict[str, list[float]]
    limits: list[Limits]

    def ratio(self, way: str) -> Spread:
        """Returns moprune's rate over another way's, over rounds."""
        return spread([a / b for a, b in zip(self.rates[OURS], self.rates[way], strict=True)])

    def row(
        self, name: str, unit: str, sizes: Sizes, hows: Mapping[str, str], work: Work, device: torch.device,
        *, difference: float, tolerance: float, figures: Mapping[str, int | float | str] | None = None,
    ) -> Row:  # fmt: skip
        """Returns the row of these rounds; ``hows`` says for each other way what it does."""
        ours = self.rates[OURS]
        return Row(
            name=name,
            unit=unit,
            sizes={**sizes, **machine_sizes(device)},
            rate=median(ours),
            ways={way: Way(median(self.rates[way]), self.ratio(way), how) for way, how in hows.items()},
            work=work,
            limits=reduce(Limits.best, self.limits),
            floor=spread([each.floor(work) * rate for each, rate in zip(self.limits, ours, strict=True)]),
            difference=difference,
            tolerance=tolerance,
            figures=dict(figures or {}),
        )


def in_turns(
    ways: Mapping[str, tuple[float, Callable[[], object]]], rounds: int, device: torch.device, tell: Tell
) -> Measured:
    """Measures all ways in turns.

    Args:
        ways: by name how many units of work (or what part of one) a call does, and the call; :data:`OURS` among them.
        rounds: how often, >= 2.
        device: where the work is done.
        tell: told about each round.

    Raises:
        UsageError: fewer than two rounds.
    """
    check_rounds(rounds)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    found = []
    for turn in range(rounds):
        tell(f"round {turn + 1} of {rounds}")
        before = limits(device)
        for way, (units, call) in ways.items():
            rates[way].append(units / seconds(call, device))
        found.append(before.best(limits(device)))
    return Measured(rates, found)


def in_sequence(rates: Iterable[Sequence[float]]) -> list[float]:
    """Returns the rates of doing some things one after another, from the rates of each; a value a round."""
    return [1 / sum(1 / rate for rate in each) for each in zip(*rates, strict=True)]


def check_rounds(rounds: int) -> None:
    """Refuses rounds without a spread."""
    if rounds < 2:
        raise UsageError(f"a benchmark needs >= 2 rounds, not {rounds}")


def agreed(what: str, difference: float, tolerance: float) -> float:
    """Returns a difference between two ways' results.

    Raises:
        MopruneError: it is above the tolerance, or no number.
    """
    if not difference <= tolerance:  # written so that NaN fails too
        raise MopruneError(f"{what} by {difference:.1e}, more than {tolerance:.0e}")
    return difference


def largest(differences: Sequence[float]) -> float:
    """Returns the largest of some differences; NaN if any is."""
    return float(torch.tensor(differences, dtype=torch.float64).max())


def machine_sizes(device: torch.device) -> dict[str, int | str]:
    """Returns what ratios depend on beside the work: the threads there are for it, and where it is done."""
    return {"threads": torch.get_num_threads(), "device": device.type}
