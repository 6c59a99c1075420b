"""The consensus of a front: the bits that its members agree on, instead of the member that happened to score best."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moprune.algorithms import GivenGenomes, RandomSearch
from moprune.errors import UsageError
from moprune.search import Run, search

STAGE = "consensus"
"""The stage of the log that holds the consensus at several sizes."""


def consensus_run(run: Run, sizes: Sequence[int], scores: NDArray[np.float64] | None = None) -> Run:
    """Evaluates the consensus of a search's front at several sizes, logged as a stage of its own.

    Args:
        run: the finished search, over bits.
        sizes: bits on, each once.
        scores: see :func:`consensus`.
    """
    front = run.genomes()[run.front_index()]
    agreed = np.stack([consensus(front, size, scores) for size in dict.fromkeys(sizes)])
    algorithm = RandomSearch(GivenGenomes(agreed), batch=len(agreed))
    return search(run.problem, algorithm, n_eval=len(agreed), seed=run.seed, log=run.log, stage=STAGE)


def consensus(genomes: NDArray[np.bool_], size: int, scores: NDArray[np.float64] | None = None) -> NDArray[np.bool_]:
    """Returns the genome of the bits most members have on, ``(L,)``.

    The best of many members that were measured on few images is largely the luckiest (the winner's curse). How often a
    bit is on over all members that survived is not chosen by any one measurement, as in stability selection
    (Meinshausen & Buehlmann 2010), whose subsamples are here the members of the front. Members with less than a quarter
    of the size have no say, unless there are no others: which handful is best tells little of which half is.

    Args:
        genomes: the front, ``(n, L)``, n >= 1.
        size: bits on, 0 to L.
        scores: settles ties, higher first, ``(L,)``; by default the first bits win.

    Raises:
        UsageError: no genomes, or a size that is out of range.
    """
    count, length = genomes.shape
    if count == 0 or not 0 <= size <= length:
        raise UsageError(f"a consensus needs members and a size of 0 to {length}, not {count} members and size {size}")
    sizes = genomes.sum(axis=1)
    voters = genomes[sizes >= min(size / 4, sizes.max())]
    order = np.lexsort((np.zeros(length) if scores is None else -scores, -voters.sum(axis=0)))
    agreed = np.zeros(length, dtype=bool)
    agreed[order[:size]] = True
    return agreed
