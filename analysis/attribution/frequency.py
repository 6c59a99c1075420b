"""How often a search kept each unit, against what chance and shared ancestry alone would give.

The members of one seed's front are relatives: a unit that an early ancestor happened to keep is in many of them,
whether it matters or not. Within a seed a frequency is therefore a description. What can be tested is whether the same
units recur in *independent* seeds, each of which has one vote.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moprune.errors import UsageError
from moprune.seeding import numpy_generator

Masks = NDArray[np.bool_]

MIN_SEEDS = 5
"""Fewer independent seeds than this are not tested: ancestry and influence cannot be told apart."""

DRAWS = 200_000


def count_distribution(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the distribution of the number of successes in independent trials (Poisson-binomial), exactly.

    Args:
        shares: probability of each trial, ``(k,)``, in [0, 1]. For masks with ``s`` of ``n`` units at random positions
            it is ``s / n``: the chance that one given unit is on.

    Returns:
        Probabilities of 0..k successes, ``(k + 1,)``.
    """
    distribution = np.ones(1)
    for share in shares:
        distribution = np.convolve(distribution, [1.0 - share, share])
    return distribution


def by_seed(
    masks: Mapping[int, Masks], units: Sequence[str], layers: Sequence[int], *, level: float = 0.95
) -> pd.DataFrame:
    """Describes each seed's front: how often each unit is on, and within which limits independent masks would be.

    Args:
        masks: front members by seed, each ``(k, n)`` with k >= 1.
        units: names of the n units.
        layers: the layer of each unit; masks at random positions keep as many units a layer as the members do.
        level: probability of the band, in (0, 1).

    Returns:
        A row a seed and unit: ``seed, unit, layer, members, frequency, expected, low, high``. ``low`` and ``high`` hold
        the frequency of one unit over as many *unrelated* masks of the same sizes with at least that probability. Front
        members are related, so being outside says nothing about influence.
    """
    layer_of = _checked(masks, units, layers)
    tables = []
    for seed, front in masks.items():
        table = pd.DataFrame(
            {"seed": seed, "unit": list(units), "layer": layer_of, "members": len(front), "frequency": front.mean(0)}
        )
        for layer in np.unique(layer_of):
            inside = layer_of == layer
            shares = front[:, inside].mean(1)
            below = count_distribution(shares).cumsum()
            tail = (1 - level) / 2
            table.loc[inside, "expected"] = shares.mean()
            table.loc[inside, "low"] = np.searchsorted(below, tail) / len(front)
            table.loc[inside, "high"] = np.searchsorted(below, 1 - tail) / len(front)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def over_seeds(
    masks: Mapping[int, Masks],
    units: Sequence[str],
    layers: Sequence[int],
    *,
    same: Sequence[bool] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = 0.95,
) -> pd.DataFrame:
    """Tests which units recur over independent seeds; each seed has one vote, its frequency.

    Two null models, both by Monte Carlo from a seeded generator:

    * *chance*: unrelated masks of the same sizes at random positions (``low`` .. ``high``);
    * *ancestry*: each seed keeps its profile of frequencies as it is, however uneven relatives make it, but which unit
      has which frequency is drawn at random within the layer, independently in each seed (``kin_low`` .. ``kin_high``).

    The p-value is two-sided against *ancestry*: a permutation test over the units of a layer. The q-value is p after
    Benjamini and Hochberg (1995) over all tested units.

    Args:
        masks: front members by seed, each ``(k, n)`` with k >= 1.
        units: names of the n units.
        layers: the layer of each unit; positions are drawn within layers.
        same: whether a unit is the same thing in every seed, ``(n,)``; the features of a frozen network are, hidden
            neurons that start from each seed's own weights are not, and are not tested. None for all.
        seed: of the Monte Carlo draws.
        draws: how many; the least p-value is ``2 / (draws + 1)``.
        level: probability of the bands, in (0, 1).

    Returns:
        A row a unit: ``unit, layer, frequency, expected, low, high, kin_low, kin_high, seeds, p, q``; ``frequency`` and
        ``expected`` are means over seeds, ``seeds`` counts those in which the unit is kept more often than expected.
        With fewer than :data:`MIN_SEEDS` seeds p and q are NaN.
    """
    from scipy.stats import false_discovery_control

    layer_of = _checked(masks, units, layers)
    tested = np.ones(len(units), bool) if same is None else np.asarray(same, bool)
    profiles = np.stack([front.mean(0) for front in masks.values()])
    table = pd.DataFrame({"unit": list(units), "layer": layer_of, "frequency": profiles.mean(0)})
    expected = np.empty_like(profiles)
    p = np.full(len(units), np.nan)
    tails = [(1 - level) / 2, (1 + level) / 2]
    for layer in np.unique(layer_of):
        inside = layer_of == layer
        random = numpy_generator(seed, "frequency null", int(layer))
        chance, kin = np.zeros(draws), np.zeros(draws)
        for s, front in enumerate(masks.values()):
            shares = front[:, inside].mean(1)
            expected[s, inside] = shares.mean()
            chance += random.choice(len(front) + 1, size=draws, p=count_distribution(shares)) / len(front)
            kin += random.choice(profiles[s, inside], size=draws)
        for names, null in ((("low", "high"), chance), (("kin_low", "kin_high"), kin)):
            table.loc[inside, list(names)] = np.quantile(null / len(masks), tails, method="inverted_cdf")
        if len(masks) >= MIN_SEEDS and tested[inside].any():
            p[inside] = np.where(tested[inside], two_sided(profiles[:, inside].sum(0), kin), np.nan)
    table.insert(3, "expected", expected.mean(0))
    # A hair above, or rounding would call a unit of a layer that is always whole more frequent than expected.
    table["seeds"] = (profiles > expected + 1e-9).sum(0)
    table["p"], table["q"] = p, np.nan
    if (known := np.isfinite(p)).any():
        table.loc[known, "q"] = false_discovery_control(p[known])
    return table


def two_sided(observed: NDArray[np.float64], null: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns twice the lesser tail of each observed value in draws from its null, at most 1.

    The observation counts as one of the draws (Phipson and Smyth 2010), so that no p-value is 0.
    """
    null = np.sort(null)
    slack = 1e-9 * max(1.0, float(np.abs(null).max()))  # sums that differ by rounding alone are ties
    above = len(null) - np.searchsorted(null, observed - slack, side="left")
    below = np.searchsorted(null, observed + slack, side="right")
    return np.minimum(1.0, 2.0 * (1 + np.minimum(above, below)) / (1 + len(null)))


def _checked(masks: Mapping[int, Masks], units: Sequence[str], layers: Sequence[int]) -> NDArray[np.int64]:
    if not masks:
        raise UsageError("no front is given; frequencies need at least one seed")
    if len(layers) != len(units):
        raise UsageError(f"{len(units)} units have {len(layers)} layers; give one each")
    for seed, front in masks.items():
        if front.ndim != 2 or front.shape[1] != len(units) or not len(front):
            raise UsageError(f"masks of seed {seed} have shape {front.shape}; give (members, {len(units)})")
    return np.asarray(layers, dtype=np.int64)
