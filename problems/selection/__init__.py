"""Selection of layers: which units of a pre-trained network are fine-tuned for a task, how far and how fast.

:class:`Tuning` is what a genome stands for. :class:`Importances`: BioTune's genes of importance and evolved threshold.
:class:`Graded`: a grade and a learning rate for each unit, independent of each other. :class:`SelectionProblem` is the
search, :class:`Rung` a cheaper way to score its candidates, and :mod:`problems.selection.controls` what it has to beat.
"""

from problems.selection.anchors import anchors
from problems.selection.fidelity import Rung
from problems.selection.genomes import Genotype, Graded, Importances
from problems.selection.problem import SelectionProblem
from problems.selection.scoring import Fitted
from problems.selection.tuning import Grade, Tuning, trained

__all__ = [
    "Fitted",
    "Genotype",
    "Grade",
    "Graded",
    "Importances",
    "Rung",
    "SelectionProblem",
    "Tuning",
    "anchors",
    "trained",
]
