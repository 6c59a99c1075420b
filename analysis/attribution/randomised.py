"""What keeping a unit does, from random masks: an experiment in which nothing is inherited.

Front members are relatives of each other, random masks are not. Given its size, a random mask keeps each unit of a
layer with the same chance, whatever its quality, so the mean difference between masks that keep a unit and masks of the
same size that do not is the effect of keeping it *rather than another of its layer*, averaged over what else is kept.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attribution.frequency import Masks


def effects(
    masks: Mapping[int, Masks],
    values: Mapping[int, NDArray[np.float64]],
    units: Sequence[str],
    layers: Sequence[int],
    *,
    same: Sequence[bool] | None = None,
) -> pd.DataFrame:
    """Estimates the effect of keeping each unit on a value, from masks with random positions.

    The value's dependence on size is taken out first by a polynomial of the fifth degree in the share kept. That
    sharpens the estimate and cannot bias it: given the size, positions are random. The test is that of the
    randomisation itself: if no unit of the layer mattered, the estimate would be normal about 0 with the variance that
    the design gives it.

    Args:
        masks: random masks by seed, each ``(m, n)``.
        values: the masks' values by seed, ``(m,)``, in natural units: the error, say.
        units: names of the n units.
        layers: the layer of each unit.
        same: whether a unit is the same thing in every seed; others have no effect over seeds (NaN).

    Returns:
        A row a unit: ``unit, effect, effect_p, effect_q``: the change of the value when the unit is kept in place of
        another, its two-sided p-value and that after Benjamini and Hochberg (1995). NaN where masks never or always
        keep the unit.
    """
    from scipy.stats import false_discovery_control, norm

    layer_of = np.asarray(layers)
    tested = np.ones(len(units), bool) if same is None else np.asarray(same, bool)
    covariance, variance, noise = np.zeros((3, len(units)))
    for seed, given in masks.items():
        residual = _without_size(values[seed], given.mean(1))
        for layer in np.unique(layer_of):
            inside = np.flatnonzero(layer_of == layer)
            share = given[:, inside].mean(1, keepdims=True)
            centred = given[:, inside] - share
            covariance[inside] += (residual[:, None] * centred).sum(0)
            # With the size given, a unit is on with chance ``share``.
            spread = (share * (1 - share))[:, 0]
            variance[inside] += spread.sum()
            noise[inside] += (residual**2 * spread).sum()
    able = tested & (variance > 0) & (noise > 1e-18)
    table = pd.DataFrame({"unit": list(units), "effect": np.nan, "effect_p": np.nan, "effect_q": np.nan})
    if able.any():
        table.loc[able, "effect"] = covariance[able] / variance[able]
        p = 2 * norm.sf(np.abs(covariance[able]) / np.sqrt(noise[able]))
        table.loc[able, "effect_p"] = p
        table.loc[able, "effect_q"] = false_discovery_control(p)
    return table


def _without_size(values: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns what is left of values when their dependence on the share kept is taken out."""
    degree = min(5, len(np.unique(share)) - 1)
    powers = np.polynomial.legendre.legvander(2 * share - 1, degree)
    fitted = powers @ np.linalg.lstsq(powers, values, rcond=None)[0]
    return np.asarray(values - fitted, dtype=np.float64)
