"""Genomes of a network's weights: vectors of real numbers that stand for networks near a pre-trained one.

:class:`Genotype` is what they have in common. :class:`Weights`: every weight a variable, in a box or free.
:class:`Scales`: a scale and a shift for each tensor or filter. :class:`Mixing`: coefficients over fine-tuned members.
:class:`Subspace`: random directions, of full or of low rank.
"""

from problems.refinement.genomes.genotype import Genotype
from problems.refinement.genomes.mixing import Mixing
from problems.refinement.genomes.scales import Scales
from problems.refinement.genomes.subspace import Subspace
from problems.refinement.genomes.weights import Weights

__all__ = ["Genotype", "Mixing", "Scales", "Subspace", "Weights"]
