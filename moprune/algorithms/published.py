"""NSGA-II as published for pruning by evolution."""

from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.operators.crossover.ux import UX
from pymoo.operators.mutation.bitflip import BitflipMutation

from moprune.algorithms.sampling import DensitySampling


def published_nsga2(pop_size: int = 30, n_offsprings: int = 2) -> NSGA2:
    """Returns the NSGA-II of MO-EvoPruneDeepTL (arXiv 2302.10253, its released settings), for bits; 200 evaluations.

    The first masks draw p from U(0, 1) and have exactly round(p L) random bits on; the unpruned network is not among
    them. Binary tournaments on rank and crowding choose two parents; uniform crossover always; each bit flips with
    probability 1/L; non-dominated sorting and crowding choose who stays. Genomes may repeat: a repeated one is answered
    from the log, and counts as an evaluation, as there.

    What differs from jMetalPy, which the published code is built on: the four members of a pair's two tournaments are
    different, so that nobody mates with itself (there about one pair in 22); the first parents too are chosen by rank
    and crowding (there at random); and ties in crowding are broken at random where the population is cut (there by
    order). The published memo left a repeated genome the third objective of its parent; here it gets its own.

    Args:
        pop_size: size of the population, >= 4.
        n_offsprings: offspring a generation, >= 2.
    """
    algorithm = NSGA2(
        pop_size=pop_size,
        n_offsprings=n_offsprings,
        sampling=DensitySampling(),
        crossover=UX(prob=1.0),
        mutation=BitflipMutation(prob=1.0),
        eliminate_duplicates=False,
    )
    algorithm.tournament_type = "comp_by_rank_and_crowding"
    return algorithm
