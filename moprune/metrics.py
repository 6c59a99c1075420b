"""Pure functions from logits to numbers: error, calibration, and out-of-distribution (OOD) detection.

One orientation everywhere: a **higher OOD score means more out of distribution, and OOD is the positive class**.
Scores are computed in float64 from logits (never from softmax probabilities, which saturate at 1), and ties
count half.

Logits are ``(n, C)`` tensors, labels ``(n,)`` int64 tensors; every function returns a Python float.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

Scores = NDArray[np.float64]
Logits = NDArray[np.float64]


def error(logits: Tensor, labels: Tensor) -> float:
    """Share of images whose largest logit is not their label (ties go to the lowest class), in [0, 1]."""
    wrong = wrong_terms(logits, labels)
    return int(wrong.sum()) / len(wrong)


def wrong_terms(logits: Tensor, labels: Tensor) -> Scores:
    """Whether each image's largest logit is not its label, 0 or 1, ``(n,)``; their mean is :func:`error`."""
    wrong: Scores = (_doubles(logits).argmax(1) != labels.numpy()).astype(np.float64)
    return wrong


def macro_error(logits: Tensor, labels: Tensor) -> float:
    """Mean over the classes present in ``labels`` of the error within the class, in [0, 1]."""
    return float(_class_errors(logits, labels).mean())


def worst_class_error(logits: Tensor, labels: Tensor) -> float:
    """Largest error within a class among those present in ``labels``, in [0, 1]."""
    return float(_class_errors(logits, labels).max())


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """Mean over the classes that occur in labels or predictions of F1 = 2 TP / (2 TP + FP + FN), in [0, 1]."""
    truth, said = labels.numpy(), _doubles(logits).argmax(1)
    total = np.bincount(truth, minlength=logits.shape[1]) + np.bincount(said, minlength=logits.shape[1])
    right = np.bincount(truth[said == truth], minlength=logits.shape[1])
    return float((2 * right[total > 0] / total[total > 0]).mean())


def expected_cost(logits: Tensor, labels: Tensor, costs: Scores) -> float:
    """Mean cost of the predicted classes, where taking an image of class i for class j costs ``costs[i, j]``."""
    return float(costs[labels.numpy(), _doubles(logits).argmax(1)].mean())


def _class_errors(logits: Tensor, labels: Tensor) -> Scores:
    truth = labels.numpy()
    counts = np.bincount(truth, minlength=logits.shape[1])
    wrongs = np.bincount(truth[_doubles(logits).argmax(1) != truth], minlength=logits.shape[1])
    shares: Scores = wrongs[counts > 0] / counts[counts > 0]
    return shares


def nll(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood of the labels, in nats, >= 0."""
    return float(nll_terms(logits, labels).mean())


def nll_terms(logits: Tensor, labels: Tensor) -> Scores:
    """Negative log-likelihood of each image's label, in nats, ``(n,)``; their mean is :func:`nll`."""
    terms: Scores = -_log_softmax(_doubles(logits))[np.arange(len(labels)), labels.numpy()]
    return terms


def brier(logits: Tensor, labels: Tensor) -> float:
    """Brier score, half the mean squared distance between probabilities and the true class, in [0, 1].

    Brier 1950, divided by two so that certainty in a wrong class costs 1. Unlike the error it sees how sure a right
    answer is, and unlike the likelihood a single wrong answer cannot outweigh all others.
    """
    return float(brier_terms(logits, labels).mean())


def brier_terms(logits: Tensor, labels: Tensor) -> Scores:
    """Brier score of each image, ``(n,)``; their mean is :func:`brier`."""
    probabilities = np.exp(_log_softmax(_doubles(logits)))
    probabilities[np.arange(len(labels)), labels.numpy()] -= 1.0
    terms: Scores = (probabilities**2).sum(1) / 2
    return terms


def ece(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error over ``bins`` equal-width bins of confidence, in [0, 1].

    Guo et al. 2017, equation 3: the mean over images of |accuracy - confidence| of their bin ``(low, high]``.
    """
    probabilities = np.exp(_log_softmax(_doubles(logits)))
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == labels.numpy()
    place = np.clip(np.ceil(confidence * bins).astype(int), 1, bins) - 1
    gap = np.bincount(place, weights=hit - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def _doubles(logits: Tensor) -> Logits:
    # numpy from here on: on arrays this small, torch's threads cost more than the arithmetic, many times more on a
    # machine that has other work.
    doubles: Logits = logits.cpu().numpy().astype(np.float64)
    return doubles


def _log_sum_exp(logits: Logits) -> Scores:
    top = logits.max(1)
    total: Scores = top + np.log(np.exp(logits - top[:, None]).sum(1))
    return total


def _log_softmax(logits: Logits) -> Logits:
    total = _log_sum_exp(logits)
    return logits - total[:, None]


def _msp(logits: Logits) -> Scores:
    lead: Scores = logits.max(1)
    return _log_sum_exp(logits) - lead


DETECTORS: Mapping[str, Callable[[Logits], Scores]] = MappingProxyType(
    {
        # Hendrycks & Gimpel 2017: maximum softmax probability, here by its logarithm.
        "msp": _msp,
        # Hendrycks et al. 2022: the largest logit.
        "max_logit": lambda logits: -logits.max(1),
        # Liu et al. 2020: free energy at temperature 1.
        "energy": lambda logits: -_log_sum_exp(logits),
        # Liang et al. 2018 without input perturbation, temperature 1000 (as MO-EvoPruneDeepTL used it).
        "odin": lambda logits: _msp(logits / 1000.0),
    }
)


def ood_scores(logits: Tensor, detector: str) -> Scores:
    """Returns the OOD score of each image, ``(n,)`` float64; higher means more out of distribution."""
    return DETECTORS[detector](_doubles(logits))


def auroc(inside: Scores, outside: Scores) -> float:
    """Probability that an OOD image scores above an in-distribution one, ties counting half; in [0, 1].

    Args:
        inside: scores of in-distribution images, ``(n,)``, n >= 1.
        outside: scores of OOD images, ``(m,)``, m >= 1.
    """
    n, m = len(inside), len(outside)
    ranks = rankdata(np.concatenate([outside, inside]))
    return float((ranks[:m].sum() - m * (m + 1) / 2) / (n * m))


def fpr95(inside: Scores, outside: Scores) -> float:
    """Share of in-distribution images rejected at the threshold that flags at least 95 % of the OOD images.

    The convention of OpenOOD 1.5 and pytorch-ood (OOD recall fixed), in [0, 1], lower is better.
    """
    return float((inside >= _recall_threshold(outside)).mean())


def fpr95_id(inside: Scores, outside: Scores) -> float:
    """Share of OOD images accepted at the threshold that accepts at least 95 % of the in-distribution images.

    The convention of the ODIN and energy papers (in-distribution recall fixed), in [0, 1], lower is better.
    """
    return float((outside <= -_recall_threshold(-inside)).mean())


def _recall_threshold(positive: Scores, recall: float = 0.95) -> float:
    """Returns the largest threshold t such that at least ``recall`` of the positives score >= t."""
    needed = int(np.ceil(recall * len(positive) - 1e-9))
    return float(np.sort(positive)[::-1][needed - 1])
