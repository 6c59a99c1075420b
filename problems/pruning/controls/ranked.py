"""Masks chosen without a search: at random, and by a ranking."""

from dataclasses import dataclass
from functools import partial

from moprune.networks.heads import TrainedHead, placed_on
from moprune.population import Training, TrainingSet
from moprune.seeding import numpy_generator
from problems.pruning.controls.points import Point, Setting, distinct, units
from problems.pruning.encodings import Encoding
from problems.pruning.rankings import best, fitted, magnitudes, ranking

DRAWS = 5
"""Random masks of each size."""


def random_matched(setting: Setting) -> list[Point]:
    """Returns random genomes of the sizes given, several of each; give those of a front to match it."""
    points = []
    for size in sorted(set(setting.sizes)):
        for draw in range(DRAWS):
            generator = numpy_generator(setting.seed, "random masks", size, draw)
            genome = best(generator.random(setting.encoding.length), size)
            points.append(Point(f"{units(size)}, draw {draw}", genome))
    return distinct(points)


def ranked(name: str, setting: Setting) -> list[Point]:
    """Returns genomes of the best units by a ranking, one of each size.

    With ``magnitude`` these are structured lottery tickets (Frankle & Carbin 2019): units chosen in the trained dense
    head, trained again from the initial weights they had in it.
    """
    scores = ranking(name, setting.encoding, setting.data, setting.training, setting.seed)
    return [Point(units(size), best(scores, size)) for size in sorted(set(setting.sizes))]


anova = partial(ranked, "anova")
mutual_information = partial(ranked, "mutual_information")
magnitude = partial(ranked, "magnitude")


@dataclass(frozen=True)
class OneShot:
    """Trains the dense head and cuts it down to its units of largest magnitude; nothing is trained again.

    Attributes:
        encoding: the units to choose from.
        size: units kept.
        training: how the dense head is trained.
        seed: the run seed.
    """

    encoding: Encoding
    size: int
    training: Training
    seed: int

    def __call__(self, data: TrainingSet) -> TrainedHead:
        """Returns the head."""
        dense = fitted(self.encoding.spec, self.encoding.spec.all_on(), data, self.training, self.seed)
        genome = best(magnitudes(self.encoding, dense), self.size)
        masks = placed_on(self.encoding.masks(genome), data.device)
        return TrainedHead.of(dense.spec, masks, dense.weights.compact(masks), dense.epochs)


def magnitude_one_shot(setting: Setting) -> list[Point]:
    """Returns the trained dense head cut to its largest units, one head of each size."""
    return [
        Point(units(size), fit=OneShot(setting.encoding, size, setting.training, setting.seed))
        for size in sorted(set(setting.sizes))
    ]
