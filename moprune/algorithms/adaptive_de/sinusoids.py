"""The two sinusoids of the ensemble that scale factors follow (Awad, Ali, Suganthan & Reynolds 2016)."""

import numpy as np

from moprune.algorithms.adaptive_de.trials import Floats


def decreasing(frequency: float, generation: int, generations: int) -> float:
    """Returns ``sin(2 pi f g + pi) (G - g) / G + 1``, in [0, 2].

    With the published f = 0.5 the sine is 0 at every whole g, so that this is the constant 1; f = 0.25 gives the
    cycle -1, 0, 1, 0.
    """
    fade = (generations - generation) / generations
    return float(np.sin(2 * np.pi * frequency * generation + np.pi)) * fade + 1


def increasing(frequencies: Floats, generation: int, generations: int) -> Floats:
    """Returns ``sin(2 pi f_i g) g / G + 1`` of each frequency, in [0, 2]."""
    values: Floats = np.sin(2 * np.pi * frequencies * generation) * (generation / generations) + 1
    return values
