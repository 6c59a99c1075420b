"""Fine-tuning parts of one network, many times over.

* :class:`moprune.population.tuning.tuner.Tuner` trains jobs, and shares between them what they have in common;
* :class:`moprune.population.tuning.job.Job` is one candidate with one training seed, :class:`Tuned` what comes of it;
* :class:`moprune.population.tuning.recipe.TuningRecipe` says how.
"""

from moprune.population.tuning.job import Job, Labelled, Tuned
from moprune.population.tuning.recipe import TuningRecipe
from moprune.population.tuning.training import moving_layers
from moprune.population.tuning.tuner import Tuner

__all__ = ["Job", "Labelled", "Tuned", "Tuner", "TuningRecipe", "moving_layers"]
