"""Plans of fine-tuning, made before anything is trained: tunings at fixed times, one after another."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from moprune.networks.selection import State
from moprune.population.tuning import Job
from problems.selection.controls.points import RATES, Point, Setting, fitted
from problems.selection.tuning import Tuning


@dataclass(frozen=True)
class Plan:
    """A chain of tunings, each from what the one before came to.

    Attributes:
        name: of its point.
        stages: tunings, and the epochs of each.
    """

    name: str
    stages: tuple[tuple[Tuning, int], ...]


def swept(setting: Setting, tunings: Callable[[float], Iterable[tuple[str, Tuning]]]) -> list[Plan]:
    """Returns plans of one tuning each, at all rates, as many as the budget pays for.

    Args:
        setting: gives epochs and budget.
        tunings: factor of the base rate -> tunings by name.
    """
    epochs = setting.problem.recipe.epochs
    plans = [Plan(f"{name} at {rate:g}", ((tuning, epochs),)) for rate in RATES for name, tuning in tunings(rate)]
    return plans[: setting.affordable]


def plan_points(setting: Setting, plans: Sequence[Plan]) -> list[Point]:
    """Returns the point of each plan, trained from all seeds by the problem's recipe."""
    count = len(setting.seeds)
    chains = [(plan.stages, seed) for plan in plans for seed in range(count)]
    reached: list[State | None] = [setting.starts[seed] for _, seed in chains]
    images = [0.0] * len(chains)
    for number in range(max(len(stages) for stages, _ in chains)):
        jobs = {
            row: _job(setting, *stages[number], start, setting.seeds[seed])
            for row, ((stages, seed), start) in enumerate(zip(chains, reached, strict=True))
            if number < len(stages) and start is not None
        }
        for row, tuned in zip(jobs, setting.problem.trainer.tuner.tune(list(jobs.values())), strict=True):
            reached[row] = tuned.state if tuned.finite else None
            images[row] += tuned.images
    parts = [slice(first, first + count) for first in range(0, len(chains), count)]
    return [_point(setting, plan, reached[part], sum(images[part])) for plan, part in zip(plans, parts, strict=True)]


def _job(setting: Setting, tuning: Tuning, epochs: int, start: State, seed: int) -> Job:
    trainer = setting.problem.trainer
    return replace(trainer.job(trainer.run(tuning, seed)), start=start, epochs=epochs)


def _point(setting: Setting, plan: Plan, states: Sequence[State | None], images: float) -> Point:
    parts = [setting.problem.trainer.trained(tuning) for tuning, _ in plan.stages]
    names = {name for whole, _ in parts for name in whole}
    ranks = {name: rank for _, some in parts for name, rank in some.items() if name not in names}
    ordered = [name for name, _ in setting.problem.base.named_parameters() if name in names]
    return Point(plan.name, fitted(states, ordered, ranks), images + setting.cost(0))
