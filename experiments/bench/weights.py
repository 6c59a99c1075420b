"""The benchmark of scoring weights: candidates for the weights of one network against the naive loop, in one run.

The naive way is what one writes first: each candidate's state dict is loaded into one network, which is run over a
``DataLoader`` that reads and preprocesses every image, and the loss is compared with the parent's at the end. Both ways
get the same trials and images, and must accept the same ones.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from experiments.bench_trials import Setting, evolved, trials_of
from experiments.timing import Spread, device_name, peak, seconds, spread
from moprune.devices import resolve_device
from moprune.errors import MopruneError, UsageError
from moprune.networks.modes import device_of
from moprune.networks.selection import State, select, state_of
from moprune.networks.suffix import Suffix
from moprune.population.batches import Batches, batches
from moprune.population.weights import Scored, nll_per_image, score_states

TOLERANCE = 1e-4
"""Largest difference of two losses in nats that counts as the same result."""

TIE = 1e-6
"""A loss this near its bound, in nats, may be accepted one way and not the other: it is a matter of rounding."""


@dataclass(frozen=True)
class Case:
    """What was measured where candidates differ in one part of the network.

    Attributes:
        name: the part.
        weights: that may differ.
        cached: whether activations of the rest are kept.
        preparation: seconds to read the images and run the rest, once for all candidates.
        accepted: trials no worse than their parents, by both ways (but for a :data:`TIE`).
        images_share: images that moprune ran of those there are, mean over the trials.
        naive_rate: candidates a second, the naive way; median over rounds.
        rate: candidates a second, moprune; median over rounds.
        ratio: ``rate / naive_rate`` within a round, over rounds.
        full_ratio: the same without rejection, of one round: what is gained on each image.
        operations: floating-point operations of the forward passes of a candidate that is not dropped.
        largest_difference: between both ways' losses, of trials that were not dropped.
    """

    name: str
    weights: int
    cached: bool
    preparation: float
    accepted: int
    images_share: float
    naive_rate: float
    rate: float
    ratio: Spread
    full_ratio: float
    operations: int
    largest_difference: float


@dataclass(frozen=True)
class WeightBenchmark:
    """What a run of :func:`bench_weights` measured.

    Attributes:
        network: class of the network.
        images: size of the split.
        batch_size: images at once, for both ways.
        candidates: trials of each case.
        generations: before the one measured.
        rounds: times each way was measured, in turn.
        seed: of populations and trials.
        cases: one for each part of the network.
        ratio: naive seconds over moprune's, all cases together, over rounds.
        tolerance: largest difference of losses accepted.
        peak: operations a second of the best large matrix product, over the run.
        threads: threads torch uses on the CPU.
        torch: version of torch.
        device: where candidates were scored.
        device_name: name of that device.
    """

    network: str
    images: int
    batch_size: int
    candidates: int
    generations: int
    rounds: int
    seed: int
    cases: tuple[Case, ...]
    ratio: Spread
    tolerance: float
    peak: float
    threads: int
    torch: str
    device: str
    device_name: str


def bench_weights(
    setting: Setting,
    *,
    batch_size: int = 60,
    candidates: int = 8,
    generations: int = 10,
    rounds: int = 3,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> WeightBenchmark:
    """Measures scoring of trials of differential evolution against the naive loop.

    Args:
        setting: network, images and the parts of the network that candidates differ in.
        batch_size: images at once, for both ways.
        candidates: members of the population, each with a trial; >= 2.
        generations: of the search before the one that is measured: nearly every trial of the first one succeeds, of
            later ones fewer.
        rounds: times each way is measured, in turn, so that a machine changing speed hits both; >= 2.
        seed: of populations and trials.
        device: ``auto``, ``cpu`` or ``cuda[:n]``.
        progress: told about each step.

    Raises:
        UsageError: arguments that make no benchmark.
        MopruneError: the two ways disagree on a trial, or by more than :data:`TOLERANCE` on a loss.
    """
    if candidates < 2 or rounds < 2:
        raise UsageError(f"a benchmark needs >= 2 candidates and >= 2 rounds, not {candidates} and {rounds}")
    tell = progress or (lambda _: None)
    place = resolve_device(device)
    network = copy.deepcopy(setting.network).to(place).eval().requires_grad_(False)
    setting = replace(setting, network=network)
    peaks, cases, clocks = [peak(place)], [], []
    for name in setting.parts:
        tell(f"{name}: {candidates} candidates, {rounds} rounds")
        case, clock = _case(name, setting, batch_size, candidates, generations, rounds, seed)
        peaks.append(peak(place))
        cases.append(case)
        clocks.append(clock)
    return WeightBenchmark(
        network=type(network).__name__,
        images=len(setting.split),
        batch_size=batch_size,
        candidates=candidates,
        generations=generations,
        rounds=rounds,
        seed=seed,
        cases=tuple(cases),
        ratio=spread([sum(c.naive[r] for c in clocks) / sum(c.ours[r] for c in clocks) for r in range(rounds)]),
        tolerance=TOLERANCE,
        peak=max(peaks),
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        device=str(place),
        device_name=device_name(place),
    )


def table(result: WeightBenchmark) -> str:
    """Returns the result as lines to print."""
    r = result
    lines = [
        f"{r.network}, {r.images} images in batches of {r.batch_size}, {r.rounds} rounds",
        f"{r.candidates} trials a case, after {r.generations} generations",
        f"{r.device} ({r.device_name}), torch {r.torch}, CPU threads: {r.threads}, peak {r.peak / 1e9:.0f} GFLOP/s",
    ]
    for c in r.cases:
        lines += [
            "",
            f"{c.name}: {c.weights:,} weights{', the rest cached' if c.cached else ''}",
            f"  preparation, once     {c.preparation:.2f} s",
            f"  naive loop            {c.naive_rate:.2f} candidates/s",
            f"  moprune               {c.rate:.2f} candidates/s",
            f"  ratio                 {_range(c.ratio)}, without rejection {c.full_ratio:.1f}",
            f"  accepted              {c.accepted} of {r.candidates}, by both ways",
            f"  images run            {c.images_share:.0%}",
            f"  limit without drops   {r.peak / c.operations:.1f} candidates/s at the matrix-product peak",
            f"  largest difference    {c.largest_difference:.1e} nats (accepted up to {r.tolerance:.0e})",
        ]
    return "\n".join([*lines, "", f"all cases together: ratio {_range(r.ratio)}"])


def _range(ratio: Spread) -> str:
    return f"{ratio.median:.1f} ({ratio.least:.1f} to {ratio.most:.1f})"


@dataclass(frozen=True)
class _Clock:
    """Seconds of each round, and what came out of the last."""

    naive: list[float]
    ours: list[float]
    scored: list[Scored]
    largest_difference: float


def _case(
    name: str, setting: Setting, batch_size: int, candidates: int, generations: int, rounds: int, seed: int
) -> tuple[Case, _Clock]:
    names = select(setting.network, setting.parts[name])
    place, suffix = device_of(setting.network), Suffix(setting.network, names)
    split = setting.split
    made: list[Batches] = []

    def prepare() -> None:
        ready = batches(suffix, split.inputs, split.labels, setting.preprocess, batch_size, hardest_first=nll_per_image)
        made.append(ready)

    preparation = seconds(prepare, place)
    score = partial(score_states, suffix, batches=made[0], per_image=nll_per_image)

    def losses(states: Sequence[State], bounds: Sequence[float | None]) -> list[float]:
        return [scored.total for scored in score(states, bounds=bounds)]

    population, bounds = evolved(state_of(setting.network, names), candidates, generations, losses, seed)
    trials = trials_of(population, bounds, generations, seed)
    clock = _in_turns(
        lambda: _naive(setting, trials, batch_size), lambda: list(score(trials, bounds=bounds)), bounds, rounds, place
    )
    full = seconds(lambda: list(score(trials)), place)
    case = Case(
        name=name,
        weights=sum(tensor.numel() for tensor in trials[0].values()),
        cached=suffix.cached,
        preparation=preparation,
        accepted=sum(each.total <= bound for each, bound in zip(clock.scored, bounds, strict=True)),
        images_share=mean(each.images for each in clock.scored) / len(split),
        naive_rate=candidates / median(clock.naive),
        rate=candidates / median(clock.ours),
        ratio=spread([a / b for a, b in zip(clock.naive, clock.ours, strict=True)]),
        full_ratio=clock.naive[-1] / full,
        operations=_operations(suffix, made[0]),
        largest_difference=clock.largest_difference,
    )
    return case, clock


def _in_turns(
    naive: Callable[[], list[float]],
    ours: Callable[[], list[Scored]],
    bounds: Sequence[float],
    rounds: int,
    place: torch.device,
) -> _Clock:
    """Runs both ways in turns, and compares what they come to each time."""
    naive_times, our_times, largest = [], [], 0.0
    losses: list[float] = []
    scored: list[Scored] = []
    for _ in range(rounds):
        losses.clear()
        scored.clear()
        naive_times.append(seconds(lambda: losses.extend(naive()), place))
        our_times.append(seconds(lambda: scored.extend(ours()), place))
        largest = max(largest, _compare(losses, scored, bounds))
    return _Clock(naive_times, our_times, scored, largest)


class _Images(Dataset[tuple[Tensor, Tensor]]):
    """A split as one writes it for a ``DataLoader``."""

    def __init__(self, setting: Setting) -> None:
        self._split, self._preprocess = setting.split, setting.preprocess

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._preprocess(self._split.inputs[index]), self._split.labels[index]


@torch.no_grad()
def _naive(setting: Setting, states: Sequence[State], batch_size: int) -> list[float]:
    """Returns each candidate's loss, the naive way."""
    network = copy.deepcopy(setting.network)
    place = device_of(network)
    loader: DataLoader[Any] = DataLoader(_Images(setting), batch_size)
    losses = []
    for state in states:
        network.load_state_dict(state, strict=False)
        total = 0.0
        for x, labels in loader:
            total += functional.cross_entropy(network(x.to(place)), labels.to(place), reduction="sum").item()
        losses.append(total / len(setting.split))
    return losses


def _compare(losses: Sequence[float], scored: Sequence[Scored], bounds: Sequence[float]) -> float:
    """Returns the largest difference of losses; raises where the two ways disagree."""
    largest = 0.0
    for index, (loss, ours, bound) in enumerate(zip(losses, scored, bounds, strict=True)):
        difference = abs(ours.total - loss) if ours.logits is not None else max(0.0, ours.total - loss)
        # Written so that NaN fails too.
        if not difference <= TOLERANCE:
            raise MopruneError(
                f"candidate {index}: loss differs from the naive loop's by {difference:.1e}, more than {TOLERANCE:.0e}"
            )
        if abs(loss - bound) > TIE and (ours.total <= bound) != (loss <= bound):
            raise MopruneError(f"candidate {index}: the decision differs from the naive loop's")
        largest = max(largest, difference)
    return largest


def _operations(suffix: Suffix, images: Batches) -> int:
    """Returns the operations of one candidate's forward passes over all images, one multiplication and addition two."""
    frontier, labels = next(iter(images))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        suffix(frontier, {})
    return int(counter.get_total_flops() * images.images / len(labels))
