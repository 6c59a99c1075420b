"""Do cheap scores tell which candidates are good? Those of rungs and of fewer training seeds against the full ones."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from moprune.log import EvaluationLog
from moprune.objectives import Objective
from moprune.seeding import numpy_generator

COLUMNS = ("context", "objective", "pairs", "rho", "low", "high")

_FEWEST = 5
_RESAMPLES = 2000
_IN_PART = ("rung=", "seeds=")

Values = NDArray[np.float64]


def rank_correlation(log: EvaluationLog, stage: str, seed: int, objectives: Sequence[Objective]) -> pd.DataFrame:
    """Returns how well scores in part rank candidates as their full scores do, a row a context and objective.

    A candidate counts where a stage holds both scores of the same genome. Those are candidates that were promoted, so
    that their cheap scores lie closer together than those of all: the correlation among all is likely to be higher.

    Args:
        log: of a search that scored on rungs or with fewer training seeds (:mod:`moprune.contexts`).
        stage: its stage.
        seed: its run seed.
        objectives: those searched, in order.

    Returns:
        ``context``, such as ``rung=0`` or ``seeds=1``, in order of appearance; ``objective``, its name;
        ``pairs``, candidates with both scores; ``rho``, Spearman's rank correlation, in [-1, 1]; ``low`` and ``high``,
        its 95 % interval by the bootstrap over candidates (percentiles of 2,000 resamples). NaN with fewer than 5 pairs
        or where all scores agree. No rows if nothing was scored in part.
    """
    logged, _ = log.history(stage, seed)
    if "provisional" not in logged:
        return pd.DataFrame(columns=COLUMNS)
    parts = [context.split() for context in logged["context"]]
    logged["part"] = [" ".join(each for each in part if each.startswith(_IN_PART)) for part in parts]
    logged["rest"] = [" ".join(each for each in part if not each.startswith(_IN_PART)) for part in parts]
    provisional = np.array([np.any(each) for each in logged["provisional"]])
    full, cheap = logged[~provisional], logged[provisional & (logged["part"] != "")]
    rows = []
    for context, each in cheap.groupby("part", sort=False):
        both = each.merge(full, on=["rest", "digest"], suffixes=("", "_full"))
        for i, objective in enumerate(objectives):
            x, y = (np.array([row[i] for row in both[name]], dtype=float) for name in ("natural", "natural_full"))
            rows.append((context, objective.name, len(both), *_correlated(x, y, seed)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _correlated(x: Values, y: Values, seed: int) -> tuple[float, float, float]:
    """Returns Spearman's rho of pairs and both ends of its interval, NaN where it is not defined."""
    if len(x) < _FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan, np.nan, np.nan
    drawn = numpy_generator(seed, "bootstrap").integers(len(x), size=(_RESAMPLES, len(x)))
    low, high = np.nanquantile(_spearman(x[drawn], y[drawn]), [0.025, 0.975])
    return float(_spearman(x[None], y[None])[0]), float(low), float(high)


def _spearman(x: Values, y: Values) -> Values:
    """Returns Spearman's rho of each row, ``(r,)`` of ``(r, n)`` twice; NaN for a row of which all values agree."""
    a, b = (rankdata(each, axis=1) - (each.shape[1] + 1) / 2 for each in (x, y))
    with np.errstate(invalid="ignore"):
        rho: Values = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return rho
