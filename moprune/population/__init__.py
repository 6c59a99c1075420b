"""Scoring many candidates at once.

* :func:`moprune.population.heads.fit_heads` trains a population of masked heads on frozen features;
* :class:`moprune.population.training.Training` says how;
* :mod:`moprune.population.modes` makes start weights from which candidates need few epochs, or none;
* :class:`moprune.population.committee.Committee` makes one head of several small ones.
"""

from moprune.population.committee import Committee
from moprune.population.heads import STRATEGIES, TrainingSet, fit_heads
from moprune.population.modes import MODES
from moprune.population.training import Training

__all__ = ["MODES", "STRATEGIES", "Committee", "Training", "TrainingSet", "fit_heads"]
