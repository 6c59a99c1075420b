"""Selection of layers: which units of a pre-trained network are fine-tuned for a task, how far and how fast.

:class:`Tuning` is what a genome stands for. :class:`Importances`: BioTune's genes of importance and evolved threshold.
:class:`Graded`: a grade and a learning rate for each unit, independent of each other.
"""

from problems.selection.genomes import Genotype, Graded, Importances
from problems.selection.tuning import Grade, Tuning, trained

__all__ = ["Genotype", "Grade", "Graded", "Importances", "Tuning", "trained"]
