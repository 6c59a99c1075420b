"""Points of descents with hooks, over rates and training seeds."""

from collections.abc import Mapping
from dataclasses import replace
from threading import Event

import torch

from moprune.population.workers import in_parallel
from problems.selection.controls.descent import Course, Descended, descend
from problems.selection.controls.points import RATES, Point, Setting, fitted
from problems.selection.scoring import Fitted


def course_points(setting: Setting, variants: Mapping[str, Course], *, decay: bool = True) -> list[Point]:
    """Returns a point for each rate and variant of a descent, as many as the budget pays for.

    Args:
        setting: gives network, images, recipe, training seeds and budget.
        variants: of equal costs, by name; all of each but its rate, start and seed.
        decay: whether the recipe's weight decay is on.
    """
    problem, data = setting.problem, setting.train
    recipe = problem.recipe if decay else replace(problem.recipe, weight_decay=0.0)
    cost = setting.cost(next(iter(variants.values())).images(len(data.labels), recipe))
    named = [(f"{name} at {rate:g}", replace(each, rate=rate)) for rate in RATES for name, each in variants.items()]
    paid = named[: setting.pays_for(cost)]
    seeds = list(zip(setting.starts, setting.seeds, strict=True))
    courses = [replace(each, start=start, seed=seed) for _, each in paid for start, seed in seeds]

    def work(course: Course, stop: Event) -> Descended:
        return descend(problem.base, data, recipe, course, stop)

    workers = torch.get_num_threads() if problem.device.type == "cpu" else 1
    found = list(in_parallel(work, courses, workers))
    parts = [found[first : first + len(seeds)] for first in range(0, len(found), len(seeds))]
    return [Point(name, _fitted(course, part), cost) for (name, course), part in zip(paid, parts, strict=True)]


def _fitted(course: Course, found: list[Descended]) -> Fitted:
    moved = {name for each in found for name in each.names}
    return fitted([each.state for each in found], [name for name in course.names if name in moved])
