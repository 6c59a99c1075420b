"""Which members make the ensemble. Every rule reads predictions on one split, ``select``, and nothing else."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moprune import metrics
from moprune.errors import UsageError, not_one_of

METHODS = ("best_k", "greedy", "diverse", "front", "windows")
"""``best_k`` to ``diverse`` take a given number of members, ``front`` all, ``windows`` those of the published rule."""

WINDOWS = ((50, 60), (55, 65), (60, 70), (65, 75), (70, 80), (75, 85), (80, 90), (85, 95))
"""Percentiles between which MO-EvoPruneDeepTL takes members by their own accuracy or OOD AUROC."""

MEASURES = ("nll", "error")

Places = tuple[int, ...]
"""Indices into the members a rule chose from; one may come several times, which gives it more weight."""

# Both of a sum of probabilities: the loss asked for, then what decides between equals.
_Loss = tuple[float, float]


def best_k(logits: Tensor, labels: Tensor, size: int) -> Places:
    """Returns the members of least error, ties by least negative log-likelihood, then in order.

    Args:
        logits: ``(k, n, C)`` on the select split, as for all rules here.
        labels: ``(n,)``.
        size: members wanted; all k if there are fewer.
    """
    losses = [(metrics.error(each, labels), metrics.nll(each, labels), i) for i, each in enumerate(_checked(logits))]
    return tuple(i for *_, i in sorted(losses)[: _positive(size)])


def greedy(logits: Tensor, labels: Tensor, size: int, *, measure: str = "nll") -> Places:
    """Returns members added one by one, with replacement, each the one that helps the soft vote most.

    Caruana et al. 2004, "Ensemble selection from libraries of models". They return the best of the nested ensembles;
    here the size is as asked for, so that controls of the same size can be set beside it.

    Args:
        logits: ``(k, n, C)``.
        labels: ``(n,)``.
        size: members, counted with repetitions.
        measure: what is minimised, ``nll`` or ``error`` (ties by the other one, then the first member).
    """
    if measure not in MEASURES:
        raise not_one_of("measure", measure, MEASURES)
    probabilities, truth = _probabilities(logits), labels.numpy()
    total = np.zeros_like(probabilities[0])
    places: list[int] = []
    for _ in range(_positive(size)):
        losses = [_loss(total + each, truth, measure) for each in probabilities]
        places.append(losses.index(min(losses)))
        total += probabilities[places[-1]]
    return tuple(places)


def diverse(logits: Tensor, labels: Tensor, size: int, *, among: float = 0.4) -> Places:
    """Returns distinct members, each the most accurate addition among those that disagree most with the others.

    DREP (Li, Yu & Zhou 2012, "Diversity regularized ensemble pruning"): begin with the member of least error; of the
    rest, the share ``among`` that agrees least with the ensemble so far are candidates; add the one whose addition
    leaves the least error. For several classes agreement is the share of images given the same class by the soft vote.
    It goes on to ``size`` where DREP stops at the first addition that does not help, for the sake of equal sizes. Its
    authors chose among learners of similar quality; on a front whose small members err much, the most different are
    often the worst.

    Args:
        logits: ``(k, n, C)``.
        labels: ``(n,)``.
        size: members wanted; all k if there are fewer.
        among: share of the rest that are candidates, in (0, 1]; 1 is greedy selection without replacement.
    """
    if not 0 < among <= 1:
        raise UsageError(f"diverse: among is {among}; give a share in (0, 1]")
    probabilities, truth = _probabilities(logits), labels.numpy()
    predicted = probabilities.argmax(-1)
    places = list(best_k(logits, labels, 1))
    total = probabilities[places[0]].copy()
    for _ in range(min(_positive(size), len(probabilities)) - 1):
        rest = [i for i in range(len(probabilities)) if i not in places]
        agreement = (predicted[rest] == total.argmax(-1)).mean(1)
        count = int(np.ceil(among * len(rest)))
        candidates = [rest[j] for j in np.argsort(agreement, kind="stable")[:count]]
        losses = [_loss(total + probabilities[i], truth, "error") for i in candidates]
        places.append(candidates[losses.index(min(losses))])
        total += probabilities[places[-1]]
    return tuple(places)


def windows(metric: Sequence[float] | NDArray[np.float64]) -> dict[str, Places]:
    """Returns the members in each of the published percentile windows of a metric, both ends included.

    Args:
        metric: each member's own accuracy or OOD AUROC on select, higher is better, ``(k,)``.

    Returns:
        ``"50-60"`` -> members, in order; windows without a member are left out.
    """
    values = np.asarray(metric, dtype=np.float64)
    found = {}
    for low, high in WINDOWS:
        least, most = np.percentile(values, [low, high])
        inside = np.flatnonzero((values >= least) & (values <= most))
        if len(inside):
            found[f"{low}-{high}"] = tuple(inside.tolist())
    return found


def _loss(total: NDArray[np.float64], truth: NDArray[np.int64], measure: str) -> _Loss:
    """Returns the error and NLL of a sum of probabilities ``(n, C)``, the measure asked for first."""
    likelihood = total[np.arange(len(truth)), truth] / total.sum(1)
    nll = float(-np.log(np.maximum(likelihood, np.finfo(np.float64).tiny)).mean())
    error = float((total.argmax(1) != truth).mean())
    return (nll, error) if measure == "nll" else (error, nll)


def _probabilities(logits: Tensor) -> NDArray[np.float64]:
    probabilities: NDArray[np.float64] = torch.softmax(_checked(logits).double(), -1).numpy()
    return probabilities


def _checked(logits: Tensor) -> Tensor:
    if logits.ndim != 3 or not len(logits):
        raise UsageError(f"an ensemble is chosen from logits (k, n, C) of k >= 1 members, not {tuple(logits.shape)}")
    return logits.cpu()


def _positive(size: int) -> int:
    if size < 1:
        raise UsageError(f"the size of an ensemble is {size}; give at least 1")
    return size
