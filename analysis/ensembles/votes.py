"""From the logits of several members to one prediction, and to one OOD score."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from moprune import metrics
from moprune.errors import UsageError, not_one_of
from moprune.metrics import Scores

# Of the released MO-EvoPruneDeepTL: thresholds are these quantiles of the in-distribution confidences. The first
# stands for "above all of them", so that nobody is accepted there.
_QUANTILES = np.array([1 - 1e-8, *(step / 100 for step in range(98, -1, -1))])


class SoftVote(nn.Module):
    """Averages the class probabilities of its members and returns their logarithm.

    Args:
        members: modules from the same input to logits ``(n, C)``, at least one.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise UsageError("an ensemble needs at least one member")
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Returns log-probabilities ``(n, C)``."""
        return soft_vote([member(x) for member in self.members])


def soft_vote(logits: Sequence[Tensor] | Tensor) -> Tensor:
    """Returns the logarithm of the members' mean probabilities, ``(n, C)``, in the type of the logits.

    Args:
        logits: k >= 1 members' logits, ``(k, n, C)`` or as many ``(n, C)``.
    """
    stacked = logits if isinstance(logits, Tensor) else torch.stack(list(logits))
    log_probabilities = stacked.double().log_softmax(-1)
    return (log_probabilities.logsumexp(0) - math.log(len(stacked))).to(stacked.dtype)


def hard_vote(logits: Tensor) -> Tensor:
    """Returns the class most members predict, ``(n,)`` int64; ties go to the lowest class.

    Args:
        logits: ``(k, n, C)``. A member whose largest logits tie votes for the lowest of these classes.
    """
    # numpy's argmax is the first of equals; torch's may be any.
    votes = logits.cpu().numpy().argmax(-1)
    counts = sum((vote[:, None] == np.arange(logits.shape[-1])).astype(np.int64) for vote in votes)
    return torch.from_numpy(np.asarray(counts).argmax(-1))


def ensemble_ood_scores(logits: Tensor, detector: str) -> Scores:
    """Returns one OOD score an image for the whole ensemble, ``(n,)`` float64; higher means more out of distribution.

    ``msp`` reads the mean probabilities, the others the mean logits: the energy of log-probabilities is 0 for every
    image. For one member both are its own score.

    Args:
        logits: ``(k, n, C)``.
        detector: one of :data:`moprune.metrics.DETECTORS`.
    """
    if detector not in metrics.DETECTORS:
        raise not_one_of("OOD detector", detector, metrics.DETECTORS)
    pooled = soft_vote(logits.double()) if detector == "msp" else logits.double().mean(0)
    return metrics.ood_scores(pooled, detector)


def threshold_vote_auroc(inside: Scores, outside: Scores) -> float:
    """AUROC of the members' majority vote at each of 100 thresholds, in [0, 1] (MO-EvoPruneDeepTL's OOD ensemble).

    Each member has its own thresholds, the quantiles 0.99999999, 0.98, 0.97, ..., 0 of its in-distribution
    confidences (the negative scores), and at each accepts the images above it. An image is in distribution if more
    than half the members accept it (ties: out). The share of accepted in-distribution images is set to 0 at the first
    threshold and to 1 at the last, the point (1, 1) is added, and the area is by trapezoids. For one member it is
    its AUROC but for the steps of one hundredth.

    Args:
        inside: the members' OOD scores of in-distribution images, ``(k, n)``.
        outside: those of OOD images, ``(k, m)``.
    """
    thresholds = np.quantile(-inside, _QUANTILES, axis=1)  # (100, k)

    def accepted(scores: Scores) -> Scores:
        votes = [(-scores > each[:, None]).sum(0) for each in thresholds]
        shares: Scores = np.mean(2 * np.array(votes) > len(scores), axis=1)
        return shares

    recall, fall_out = accepted(inside), accepted(outside)
    recall[0], recall[-1] = 0.0, 1.0
    return float(np.trapezoid([*recall, 1.0], [*fall_out, 1.0]))
