"""Separable natural evolution strategies: the black-box optimiser for many variables, in the search's own genome."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from moprune.seeding import numpy_generator
from problems.refinement.controls.points import Point, Setting

Array = NDArray[np.float64]

BOX_SHARE = 0.1
"""First standard deviation, as a share of the width of a variable's box."""
UNBOUNDED = 1e-3
"""First standard deviation of a variable without bounds: that of evolution strategies on whole networks (Qiu et al.
2025)."""


def snes(setting: Setting) -> list[Point]:
    """Returns the best candidate that SNES sees from the pre-trained network, with the whole budget, in the genome."""
    genotype = setting.genotype

    def losses(genomes: Array) -> Array:
        return setting.losses_of(genotype.weights(genome) for genome in genomes)

    best, _ = minimise(losses, genotype.start, genotype.lower, genotype.upper, setting.evaluations, setting.seed)
    name = f"{setting.evaluations} evaluations"
    return [Point(name, (genotype.weights(best),), setting.scored(setting.evaluations))]


def small_genome(setting: Setting) -> bool:
    """Suits genomes of up to a million variables; a population of more does not belong in memory."""
    return setting.genotype.n_var <= 1_000_000


def minimise(
    losses: Callable[[Array], Array], start: Array, lower: Array, upper: Array, evaluations: int, seed: int
) -> tuple[Array, float]:
    """Minimises a function of real variables by SNES.

    Schaul, Glasmachers and Schmidhuber 2011 ("High dimensions and heavy tails for natural evolution strategies") with
    its defaults: populations of 4 + 3 ln D, rank utilities, learning rates 1 for the
    centre and (3 + ln D) / (5 sqrt D) for the deviations. Candidates are clipped to the bounds before they are scored.

    Args:
        losses: of the rows of ``(n, D)``, as ``(n,)``.
        start: the first centre, ``(D,)``; it is scored too.
        lower: ``(D,)``, may be -inf.
        upper: ``(D,)``, may be inf.
        evaluations: how many candidates are scored, >= 1. The last population is cut short and changes nothing more.
        seed: of the samples.

    Returns:
        The best candidate scored ``(D,)``, and its loss.
    """
    dimension = len(start)
    size = 4 + int(3 * math.log(dimension))
    utilities = utilities_of(size)
    rate = (3 + math.log(dimension)) / (5 * math.sqrt(dimension))
    centre = np.asarray(start, dtype=np.float64)
    width = upper - lower
    deviation = np.where(np.isfinite(width), BOX_SHARE * np.where(np.isfinite(width), width, 0.0), UNBOUNDED)
    generator = numpy_generator(seed, "snes")
    best, least, left = centre, float(losses(centre[None])[0]), evaluations - 1
    while left > 0:
        samples = generator.standard_normal((min(size, left), dimension))
        candidates = np.clip(centre + deviation * samples, lower, upper)
        scores = losses(candidates)
        left -= len(samples)
        if scores.min() < least:
            best, least = candidates[scores.argmin()], float(scores.min())
        if len(samples) == size:
            ranked = samples[np.argsort(scores, kind="stable")]
            centre = centre + deviation * (utilities @ ranked)
            deviation = deviation * np.exp(rate / 2 * (utilities @ (ranked**2 - 1)))
    return best, least


def utilities_of(size: int) -> Array:
    """Returns the utilities of a population from the best to the worst, ``(size,)``, which sum to zero."""
    raw = np.maximum(0.0, math.log(size / 2 + 1) - np.log(np.arange(1, size + 1)))
    utilities: Array = raw / raw.sum() - 1 / size
    return utilities
