"""Refinement: searching around the weights of a pre-trained network for better ones, under several objectives.

:class:`RefinementProblem` is the search; :mod:`problems.refinement.genomes` says what a genome stands for,
:mod:`problems.refinement.members` makes the fine-tuned networks a population starts from, and
:mod:`problems.refinement.controls` what the search has to beat.
"""

from problems.refinement.genomes import Genotype, Mixing, Scales, Subspace, Weights
from problems.refinement.members import Members, finetuned, last_checkpoints
from problems.refinement.problem import RefinementProblem

__all__ = [
    "Genotype",
    "Members",
    "Mixing",
    "RefinementProblem",
    "Scales",
    "Subspace",
    "Weights",
    "finetuned",
    "last_checkpoints",
]
