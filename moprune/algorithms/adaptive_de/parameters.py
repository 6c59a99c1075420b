"""Laws that scale factors and crossover rates are drawn from."""

import numpy as np

from moprune.algorithms.adaptive_de.trials import Floats


def cauchy(random_state: np.random.Generator, location: Floats, scale: float = 0.1) -> Floats:
    """Draws from Cauchy distributions, again while not positive; values above one become one (JADE, section III)."""
    values = location + scale * random_state.standard_cauchy(len(location))
    while (low := values <= 0).any():
        values[low] = location[low] + scale * random_state.standard_cauchy(int(low.sum()))
    return np.minimum(values, 1.0)


def normal(
    random_state: np.random.Generator, mean: Floats, std: float = 0.1, low: float = 0.0, high: float = 1.0
) -> Floats:
    """Draws from normal distributions and clips; a mean of nan, the terminal value of L-SHADE, gives ``low``."""
    values = np.clip(mean + std * random_state.standard_normal(len(mean)), low, high)
    return np.where(np.isnan(mean), low, values)


def normal_within(random_state: np.random.Generator, mean: Floats, std: float) -> Floats:
    """Draws from normal distributions, again while outside [0, 1] (SaDE)."""
    values = random_state.normal(mean, std)
    while (outside := (values < 0) | (values > 1)).any():
        values[outside] = random_state.normal(mean[outside], std)
    return values
