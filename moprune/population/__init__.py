"""Scoring many candidates at once.

* :func:`moprune.population.heads.fit_heads` trains a population of masked heads on frozen features;
* :class:`moprune.population.training.Training` says how.
"""

from moprune.population.heads import STRATEGIES, TrainingSet, fit_heads
from moprune.population.training import Training

__all__ = ["STRATEGIES", "Training", "TrainingSet", "fit_heads"]
