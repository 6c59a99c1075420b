"""Prior scores of bits: the higher a bit's score, the more it seems worth keeping."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from moprune.errors import UsageError

Scores = NDArray[np.float64]


def checked_scores(scores: ArrayLike, length: int) -> Scores:
    """Returns the scores as a float64 vector.

    Raises:
        UsageError: they are not one finite number for each of ``length`` bits.
    """
    try:
        array = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError("scores must be numbers, one a bit") from error
    if array.shape != (length,):
        raise UsageError(f"scores must be one number a bit, of shape ({length},), not {array.shape}")
    if not np.isfinite(array).all():
        raise UsageError(f"the score of bit {int(np.argmin(np.isfinite(array)))} is not finite; every score must be")
    return array


def log_weights(scores: ArrayLike, temperature: float) -> Scores:
    """Returns the logarithms of weights to draw bits with: standardised rank / temperature, ``(L,)``.

    Ranks have mean 0 and standard deviation 1, and ties share theirs; all are 0 where every score ties. Ranks, so that
    neither the unit of the scores nor one extreme among them matters. At temperature 1 the best of many bits weighs
    32 times as much as the worst.

    Raises:
        UsageError: the scores are not a vector of finite numbers, or the temperature is not > 0.
    """
    if not temperature > 0:
        raise UsageError(f"temperature must be > 0, not {temperature}")
    ranks: Scores = rankdata(checked_scores(scores, np.size(scores)))
    ranks -= ranks.mean()
    deviation = float(ranks.std())
    return ranks / (deviation * temperature) if deviation else ranks


def gumbel_top(weights: Scores, count: int, random_state: np.random.Generator) -> NDArray[np.intp]:
    """Returns ``count`` places drawn without replacement, each next one with probability in proportion to its weight.

    The places with the largest sums of log-weight and Gumbel noise are such a draw (Kool et al. 2019, "Stochastic beams
    and where to find them").

    Args:
        weights: natural logarithms of the weights, up to a constant.
        count: places to draw, from 0 to as many as there are.
        random_state: where the noise comes from.
    """
    keys = weights + random_state.gumbel(size=len(weights))
    return np.argpartition(-keys, count - 1)[:count] if count else np.empty(0, dtype=np.intp)
