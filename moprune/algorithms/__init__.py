"""Search algorithms: pymoo's by name, and what pymoo lacks.

* :func:`make` builds a pymoo algorithm with operators that fit the problem's genomes;
* :class:`DensitySampling` starts bit searches with masks of every density, :class:`RankedSampling` with the bits that a
  ranking puts first;
* :class:`SizePreservingCrossover`, :class:`SparseCrossover` and :class:`SparseMutation` keep sparse masks sparse, and
  are guided by scores where there are any; :class:`SparseEA` finds such scores itself;
* :class:`SteadyStateGA` is that of EvoPruneDeepTL, :func:`published_nsga2` that of MO-EvoPruneDeepTL;
* :class:`PromotingNSGA2` scores many children on a problem's cheaper fidelities, and few in full;
* :class:`ChoiceCrossover`, :class:`ChoiceMutation` and :class:`ChoiceRepair` are for real vectors with choices in them;
* :class:`RandomSearch` is the control of every search;
* :class:`PackedDuplicateElimination` replaces pymoo's quadratic duplicate check for bits,
  :class:`SelectedDuplicateElimination` compares those variables alone that a genome selects.
"""

from moprune.algorithms.choices import ChoiceCrossover, ChoiceMutation, ChoiceRepair, choice_operators
from moprune.algorithms.duplicates import PackedDuplicateElimination, SelectedDuplicateElimination
from moprune.algorithms.promotion import PromotingNSGA2
from moprune.algorithms.published import published_nsga2
from moprune.algorithms.random_search import RandomSearch
from moprune.algorithms.registry import NAMES, OPERATORS, WITH_OPERATORS, make, refuse_unsuitable
from moprune.algorithms.sampling import DensitySampling, GivenGenomes, RankedSampling
from moprune.algorithms.sparse import SizePreservingCrossover, SparseCrossover, SparseMutation
from moprune.algorithms.sparseea import SparseEA
from moprune.algorithms.steady_state import SteadyStateGA

__all__ = [
    "NAMES",
    "OPERATORS",
    "WITH_OPERATORS",
    "ChoiceCrossover",
    "ChoiceMutation",
    "ChoiceRepair",
    "DensitySampling",
    "GivenGenomes",
    "PackedDuplicateElimination",
    "PromotingNSGA2",
    "RandomSearch",
    "RankedSampling",
    "SelectedDuplicateElimination",
    "SizePreservingCrossover",
    "SparseCrossover",
    "SparseEA",
    "SparseMutation",
    "SteadyStateGA",
    "choice_operators",
    "make",
    "published_nsga2",
    "refuse_unsuitable",
]
