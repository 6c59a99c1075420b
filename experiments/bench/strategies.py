"""Both strategies of head training over shapes of heads: whether the one that moprune chooses is the faster one."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch

from experiments.bench.heads import Population, population
from experiments.bench.rows import OURS, Measured, Row, Tell, agreed, check_rounds, in_turns, largest
from moprune.devices import resolve_device
from moprune.errors import UsageError
from moprune.population.heads import choose_strategy

SHAPES = ((64, 64), (128, 64), (256, 128), (512, 128), (640, 512))
"""Features and hidden units of heads around the size where one strategy overtakes the other."""

TOLERANCE = 1e-3
"""Largest difference of two training-set logits that counts as the same result."""

HOWS = {
    "loop": "compact heads one after another, a core each",
    "stacked": "heads at full width in lock-step",
}


def bench_strategies(
    shapes: Sequence[tuple[int, int]] = SHAPES,
    *,
    images: int = 640,
    batch_size: int = 32,
    candidates: int = 32,
    rounds: int = 3,
    seed: int = 0,
    device: str = "cpu",
    progress: Tell | None = None,
) -> list[Row]:
    """Measures both strategies of :mod:`moprune.population.heads` on heads of some shapes.

    Args:
        shapes: features and hidden units of each, >= 1.
        images: size of the training set, one epoch.
        batch_size: images a step.
        candidates: heads of a population.
        rounds: times each strategy is measured, in turns; >= 2.
        seed: of data, masks, initial weights and batch order.
        device: ``auto``, ``cpu`` or ``cuda[:n]``.
        progress: told about each step.

    Returns:
        A row a shape: moprune is the strategy that ``auto`` stands for, so that a ratio below 1 is a wrong choice.

    Raises:
        UsageError: no shapes, or one twice.
        MopruneError: the strategies differ by more than :data:`TOLERANCE` in a logit.
    """
    check_rounds(rounds)
    if not shapes or any(a == b for a, b in pairwise(sorted(shapes))):
        raise UsageError("--shapes: give different shapes, as 64x64,256x128")
    tell, place, rows = progress or (lambda _: None), resolve_device(device), []
    sizes = {"images": images, "batch_size": batch_size, "candidates": candidates, "classes": 4, "epochs": 1}
    for features, hidden in shapes:
        tell(f"{features} x {hidden}")
        some = population(features=features, hidden=hidden, mode="features", seed=seed, device=place, **sizes)
        rows.append(_row(some, {**sizes, "features": features, "hidden": hidden}, rounds, place, tell))
    return rows


def _row(some: Population, sizes: dict[str, int], rounds: int, place: torch.device, tell: Tell) -> Row:
    chosen, count = choose_strategy(some.spec, place), len(some.masks)
    difference = _difference(some)
    ways: dict[str, tuple[float, Callable[[], object]]] = {
        name: (count, partial(some.ours, strategy=name)) for name in HOWS
    }
    measured = in_turns(ways, rounds, place, tell)
    rates = {**measured.rates, OURS: measured.rates[chosen]}
    return Measured(rates, measured.limits).row(
        f"strategies: {some.spec.features} x {some.spec.hidden[0]}", "candidates", sizes, HOWS, some.work(), place,
        difference=difference, tolerance=TOLERANCE, figures={"weights": some.spec.parameters(), "chosen": chosen},
    )  # fmt: skip


def _difference(some: Population) -> float:
    """Returns the largest difference of training-set logits between both; warms both up."""
    first, second = (some.ours(strategy=name) for name in HOWS)
    x = some.features
    differences = [float((a.logits(x) - b.logits(x)).abs().max()) for a, b in zip(first, second, strict=True)]
    return agreed("strategies: logits differ", largest(differences), TOLERANCE)
