"""The operators of BioTune's evolutionary algorithm (Davila et al., IEEE Access 13, 2025, and its code).

All act on single points, ``(D,)``. None looks at the bounds: the algorithm puts points beyond one on it.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def rank_probabilities(members: int) -> Floats:
    """Returns the probability that each rank is chosen to mate, the best first, ``(m,)`` for m >= 3 members.

    Linear in the rank, ``m + 2 - k`` of ``m (m + 3) / 2`` for rank k = 1, ..., m, but that the best has one part more
    and the worst one less, as in the published code.
    """
    parts: Floats = np.arange(members + 1.0, 1.0, -1.0)
    parts[0] += 1
    parts[-1] -= 1
    parts /= parts.sum()
    return parts


def choose_mates(members: int, random_state: np.random.Generator) -> tuple[int, int, int]:
    """Draws the ranks of two different parents and of a prototype, which may be one of them."""
    probabilities = rank_probabilities(members)
    first, second = random_state.choice(members, size=2, replace=False, p=probabilities)
    return int(first), int(second), int(random_state.choice(members, p=probabilities))


def extinction_by_rank(members: int) -> Floats:
    """Returns extinction factors from 0 for the best to 1 for the worst in equal steps, ``(n,)``."""
    return np.linspace(0.0, 1.0, members)


def extinction_by_loss(losses: Floats) -> Floats | None:
    """Returns the published extinction factors, 0 for the best and 1 for the worst, ``(n,)``; None if all losses agree.

    ``(f_i + f_min (i / (n - 1) - 1)) / f_max``. The formula is meant for losses >= 0; where some are below, all are
    taken above the least.

    Args:
        losses: ``(n,)``, rising.
    """
    if losses[-1] == losses[0]:
        return None
    above: Floats = losses - min(losses[0], 0.0)
    factors: Floats = (above + above[0] * (extinction_by_rank(len(losses)) - 1)) / above[-1]
    return factors


def probes(
    x: Floats, selected: NDArray[np.bool_], reach: Floats, random_state: np.random.Generator
) -> tuple[Floats, Floats]:
    """Returns the point with one selected variable moved up and down by the same step.

    Args:
        x: the point.
        selected: ``(D,)`` variables of which one is moved; some of them.
        reach: ``(D,)`` largest step of each variable.
        random_state: draws the variable, then the step from U(-1, 1) of its reach.
    """
    variable = random_state.choice(np.flatnonzero(selected))
    step = np.zeros(len(x))
    step[variable] = reach[variable] * random_state.uniform(-1, 1)
    return x + step, x - step


def recombined(a: Floats, b: Floats, random_state: np.random.Generator) -> Floats:
    """Returns ``r a + (1 - r) b`` with r from U(0, 1) for each variable (intermediate recombination)."""
    r = random_state.random(len(a))
    mixed: Floats = r * a + (1 - r) * b
    return mixed


def mutated(x: Floats, extinction: float, width: Floats, random_state: np.random.Generator) -> Floats:
    """Returns the point after each variable moved with probability ``(E (D - 1) + 1) / D`` by U(-1, 1) E widths.

    Args:
        x: the point.
        extinction: E, the mean extinction factor of the parents, in [0, 1].
        width: ``(D,)`` width of the box.
        random_state: draws which variables move, and all steps.
    """
    moved = random_state.random(len(x)) < (extinction * (len(x) - 1) + 1) / len(x)
    point: Floats = x + moved * random_state.uniform(-1, 1, size=len(x)) * extinction * width
    return point


def adopted(x: Floats, parents: Floats, prototype: Floats, random_state: np.random.Generator) -> Floats:
    """Returns the point after it was drawn towards the mean of its parents and a prototype.

    ``x + (1 - w) u (parents - x) + w v (prototype - x)``, the scalars u, v and w from U(0, 1): a convex combination.
    """
    u, v, w = random_state.random(3)
    point: Floats = x + (1 - w) * u * (parents - x) + w * v * (prototype - x)
    return point
