"""The benchmark of scoring weights: candidates for the weights of one network against the naive loop, in one run.

The naive way is what one writes first: each candidate's state dict is loaded into one network, which is run over a
``DataLoader`` that reads and preprocesses every image, and the loss is compared with the parent's at the end. Both ways
get the same trials and images, and must accept the same ones. So must EvoTorch, where it is installed.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from importlib.util import find_spec
from statistics import mean
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from experiments.bench.peer import Vectorised
from experiments.bench.rows import OURS, Measured, Row, Tell, agreed, check_rounds, in_sequence, in_turns
from experiments.bench.timing import Limits, Work, seconds
from experiments.bench.trials import Images, Setting, evolved, trials_of
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

HOWS = {
    "naive": "state dicts loaded one by one, DataLoader that reads every image",
    "EvoTorch": "vectorised Problem of EvoTorch through torch.func.vmap, images ready in memory",
}


@dataclass(frozen=True)
class _Trials:
    """A generation of trials for one part of the network, and all that scoring them needs.

    Attributes:
        name: the part.
        setting: network and images.
        suffix: the network behind what cannot change.
        images: read, up to where trials differ.
        preparation: seconds that took.
        states: the trials.
        bounds: their parents' losses.
        batch_size: images at once, for all ways.
    """

    name: str
    setting: Setting
    suffix: Suffix
    images: Batches
    preparation: float
    states: list[State]
    bounds: list[float]
    batch_size: int

    @property
    def score(self) -> Callable[..., Any]:
        """Scores states by moprune; takes ``bounds``."""
        return partial(score_states, self.suffix, batches=self.images, per_image=nll_per_image)


def bench_weights(
    setting: Setting,
    *,
    batch_size: int = 60,
    candidates: int = 8,
    generations: int = 10,
    rounds: int = 3,
    seed: int = 0,
    device: str = "cpu",
    progress: Tell | None = None,
) -> list[Row]:
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

    Returns:
        A row for all parts together, then one a part.

    Raises:
        UsageError: arguments that make no benchmark.
        MopruneError: two ways disagree on a trial, or by more than :data:`TOLERANCE` on a loss.
    """
    check_rounds(rounds)
    if candidates < 2:
        raise UsageError(f"a benchmark needs >= 2 candidates, not {candidates}")
    tell, place = progress or (lambda _: None), resolve_device(device)
    network = copy.deepcopy(setting.network).to(place).eval().requires_grad_(False)
    setting = replace(setting, network=network)
    sizes = {
        "network": type(network).__name__, "images": len(setting.split), "batch_size": batch_size,
        "candidates": candidates, "generations": generations,
    }  # fmt: skip
    measured, rows = [], []
    for name in setting.parts:
        tell(f"weights, {name}: {candidates} candidates")
        trials = _trials(name, setting, batch_size, candidates, generations, seed)
        case, scored, difference = _measure(trials, rounds, tell)
        measured.append(case)
        rows.append(_row(trials, case, scored, difference, sizes))
    return [_together(measured, rows, sizes, place), *rows]


def _trials(name: str, setting: Setting, batch_size: int, candidates: int, generations: int, seed: int) -> _Trials:
    names = select(setting.network, setting.parts[name])
    suffix, split = Suffix(setting.network, names), setting.split
    made: list[Batches] = []

    def prepare() -> None:
        ready = batches(suffix, split.inputs, split.labels, setting.preprocess, batch_size, hardest_first=nll_per_image)
        made.append(ready)

    preparation = seconds(prepare, device_of(setting.network))

    def losses(states: Sequence[State], bounds: Sequence[float | None]) -> list[float]:
        scored = score_states(suffix, states, made[0], per_image=nll_per_image, bounds=bounds)
        return [each.total for each in scored]

    members, bounds = evolved(state_of(setting.network, names), candidates, generations, losses, seed)
    trials = trials_of(members, bounds, generations, seed)
    return _Trials(name, setting, suffix, made[0], preparation, trials, bounds, batch_size)


def _measure(trials: _Trials, rounds: int, tell: Tell) -> tuple[Measured, list[Scored], float]:
    """Returns the rates, what moprune found in the last round, and the largest difference of losses in any."""
    count, place = len(trials.states), device_of(trials.setting.network)
    found: dict[str, list[Any]] = {"naive": [], OURS: [], "EvoTorch": []}
    ways: dict[str, tuple[float, Callable[[], object]]] = {
        "naive": (count, lambda: found["naive"].append(_naive(trials.setting, trials.states, trials.batch_size))),
        OURS: (count, lambda: found[OURS].append(list(trials.score(trials.states, bounds=trials.bounds)))),
    }
    if find_spec("evotorch") is not None:
        peer = Vectorised(trials.setting, trials.states, trials.batch_size)
        ways["EvoTorch"] = (count, lambda: found["EvoTorch"].append(peer.losses()))
    measured = in_turns(ways, rounds, place, tell)
    differences = [_compare(a, b, trials.bounds) for a, b in zip(found["naive"], found[OURS], strict=True)]
    for naive, other in zip(found["naive"], found["EvoTorch"], strict=False):
        for index, (a, b) in enumerate(zip(naive, other, strict=True)):
            agreed(f"candidate {index}: EvoTorch's loss differs from the naive loop's", abs(a - b), TOLERANCE)
    return measured, found[OURS][-1], max(differences)


def _row(
    trials: _Trials, measured: Measured, scored: Sequence[Scored], difference: float, sizes: dict[str, Any]
) -> Row:
    """Returns the row of one part."""
    place, weights = device_of(trials.setting.network), sum(tensor.numel() for tensor in trials.states[0].values())
    share = mean(each.images for each in scored) / len(trials.setting.split)
    full = len(trials.states) / seconds(lambda: list(trials.score(trials.states)), place)
    frontier = sum(tensor.nbytes for parts, _ in trials.images for tensor in parts)
    return measured.row(
        f"weights: {trials.name}", "candidates", sizes, {way: HOWS[way] for way in measured.rates if way != OURS},
        Work(share * _operations(trials.suffix, trials.images), 4 * weights + share * frontier), place,
        difference=difference, tolerance=TOLERANCE,
        figures={
            "weights": weights,
            "rest cached": "yes" if trials.suffix.cached else "no",
            "seconds of preparation, once": trials.preparation,
            "accepted by both ways": sum(s.total <= b for s, b in zip(scored, trials.bounds, strict=True)),
            "share of images run": share,
            "ratio to naive without rejection": full / measured.rates["naive"][-1],
        },
    )  # fmt: skip


def _together(measured: Sequence[Measured], rows: Sequence[Row], sizes: dict[str, Any], place: torch.device) -> Row:
    """Returns the row of all parts: a unit is one candidate of each of them."""
    rates = {way: in_sequence(case.rates[way] for case in measured) for way in measured[0].rates}
    limits = [reduce(Limits.best, each) for each in zip(*(case.limits for case in measured), strict=True)]
    hows = {way: HOWS[way] for way in rates if way != OURS}
    work = Work(sum(row.work.operations for row in rows), sum(row.work.bytes for row in rows))
    return Measured(rates, limits).row(
        "weights", f"candidates of {len(rows)} parts each", sizes, hows, work, place,
        difference=max(row.difference for row in rows), tolerance=TOLERANCE,
    )  # fmt: skip


@torch.no_grad()
def _naive(setting: Setting, states: Sequence[State], batch_size: int) -> list[float]:
    """Returns each candidate's loss, the naive way."""
    network = copy.deepcopy(setting.network)
    place = device_of(network)
    loader: DataLoader[Any] = DataLoader(Images(setting.split, setting.preprocess), batch_size)
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
        agreed(f"candidate {index}: loss differs from the naive loop's", difference, TOLERANCE)
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
