"""Members that stay apart."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from moprune.algorithms.adaptive_de.trials import Floats, Rows


def mean_distance(rows: Rows) -> float:
    """Returns the mean Euclidean distance between two members."""
    return float(np.mean([np.linalg.norm(a - b) for a, b in combinations(rows, 2)]))


def keep_apart(
    rows: Rows, losses: Floats, trials: Rows, trial_losses: Floats, accepted: NDArray[np.bool_], least: float
) -> NDArray[np.bool_]:
    """Returns which accepted trials may take their parents' places so that members stay apart.

    The best trial is asked first. One nearer than ``least`` to another member, trials let in before it included, is
    let in only if it is better than all of them.

    Args:
        rows: the members, each ``(D,)``.
        losses: ``(n,)`` their losses.
        trials: one for each member.
        trial_losses: ``(n,)`` their losses.
        accepted: ``(n,)`` which trials are not worse than their parents.
        least: distance, >= 0.
    """
    rows, losses, admitted = list(rows), losses.copy(), np.zeros_like(accepted)
    for i in np.argsort(trial_losses, kind="stable"):
        if not accepted[i]:
            continue
        others = (row for j, row in enumerate(rows) if j != i)
        if trial_losses[i] < losses.min() or all(np.linalg.norm(trials[i] - row) >= least for row in others):
            rows[i], losses[i], admitted[i] = trials[i], trial_losses[i], True
    return admitted
