"""Scoring many candidates at once.

* :func:`moprune.population.heads.fit_heads` trains a population of masked heads on frozen features;
* :class:`moprune.population.training.Training` says how;
* :mod:`moprune.population.modes` makes start weights from which candidates need few epochs, or none;
* :class:`moprune.population.committee.Committee` makes one head of several small ones;
* :func:`moprune.population.finetuning.finetune` trains a whole network by a :class:`moprune.population.recipes.Recipe`;
* :func:`moprune.population.weights.score_states` scores many candidates for the weights of one network, on images made
  ready by :func:`moprune.population.batches.batches`.
"""

from moprune.population.committee import Committee
from moprune.population.finetuning import finetune
from moprune.population.heads import STRATEGIES, TrainingSet, fit_heads
from moprune.population.modes import MODES
from moprune.population.recipes import Recipe, draw_recipes
from moprune.population.training import Training

__all__ = [
    "MODES", "STRATEGIES", "Committee", "Recipe", "Training", "TrainingSet", "draw_recipes", "finetune", "fit_heads",
]  # fmt: skip
