"""OOD detectors that read representations: how far an image lies from the images its head was trained on.

As in :mod:`moprune.metrics`, a **higher score means more out of distribution**. A representation is what the head's
last layer reads, or the features that its first layer does, ``(n, d)``; d may be 0. Scores are ``(n,)`` float64.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.spatial.distance import cdist
from torch import Tensor

from moprune import metrics
from moprune.errors import UsageError
from moprune.metrics import Scores

Matrix: TypeAlias = NDArray[np.float64]
Scoring: TypeAlias = Callable[[Tensor], Scores]

NEIGHBOURS = 5
"""The default k of :func:`knn`. Sun et al. 2022 take about 0.1 % of the training images (50 of CIFAR-10's 50,000),
less than one of a small set; a few neighbours forgive a single odd training image and are fewer than a class has."""

DETECTORS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        **{name: frozenset({"ood"}) for name in metrics.DETECTORS},
        "mahalanobis": frozenset({"ood", "representations"}),
        "knn": frozenset({"ood", "representations"}),
        # The same in the space of the features the head reads. A head trained on few images forgets in its hidden layer
        # what tells other images from its own.
        "mahalanobis_features": frozenset({"ood", "features"}),
        "knn_features": frozenset({"ood", "features"}),
        "odin_perturbed": frozenset({"ood", "perturbed"}),
    }
)
"""Every detector by name, with what it needs of an outcome (:data:`moprune.objectives.NEEDS`)."""

_LEAST_SHRINKAGE = 1e-6  # fewer images than units can leave a shrinkage of 0 and a covariance without an inverse
_QUERIES = 2048  # images compared with the training images at once


def mahalanobis(train: Tensor, labels: Tensor) -> Scoring:
    """Returns the detector of Lee et al. 2018 (section 2.1): squared Mahalanobis distance to the nearest class mean.

    Classes share one covariance, that of the training images around their class means, shrunk towards a multiple of
    the identity as Ledoit and Wolf 2004 do, since units are often more than images.

    Args:
        train: representations of the head's training images, ``(n, d)``, n >= 1, finite.
        labels: their classes, ``(n,)``; a class without images has no mean.
    """
    x = _doubles(train)
    classes, place = np.unique(labels.cpu().numpy(), return_inverse=True)
    means = np.stack([x[place == c].mean(0) for c in range(len(classes))])
    if x.shape[1] == 0:  # a head without units cannot tell images apart
        return lambda representations: np.zeros(len(representations))
    root = cholesky(ledoit_wolf(x - means[place]), lower=True)

    def whitened(rows: Matrix) -> Matrix:
        solved: Matrix = solve_triangular(root, rows.T, lower=True).T
        return solved

    centres = whitened(means)

    def scores(representations: Tensor) -> Scores:
        nearest: Scores = cdist(whitened(_doubles(representations)), centres, "sqeuclidean").min(1)
        return nearest

    return scores


def ledoit_wolf(centred: Matrix) -> Matrix:
    """Returns the covariance ``(1 - s) S + s m I`` of centred rows ``(n, d)``, positive definite.

    ``S`` is the empirical covariance (divided by n), ``m`` the mean of its diagonal, and ``s`` the shrinkage of least
    expected squared error in the closed form of Ledoit and Wolf 2004 (section 3.3), at least 1e-6. The identity where
    the rows do not vary at all.
    """
    n, d = centred.shape
    covariance: Matrix = centred.T @ centred / n
    mean, energy = float(np.trace(covariance)) / d, float((covariance**2).sum())
    if mean == 0:
        return np.eye(d)
    spread = energy / d - mean**2
    noise = (float(((centred**2).sum(1) ** 2).mean()) - energy) / (n * d)
    shrinkage = 1.0 if noise >= spread else max(noise / spread, _LEAST_SHRINKAGE)
    shrunk = (1 - shrinkage) * covariance
    shrunk.flat[:: d + 1] += shrinkage * mean
    return shrunk


def knn(train: Tensor, k: int = NEIGHBOURS) -> Scoring:
    """Returns the detector of Sun et al. 2022: the distance to the k-th nearest training image.

    Representations are divided by their Euclidean norm first (a zero stays zero); distances are in [0, 2].

    Args:
        train: representations of the head's training images, ``(n, d)``, n >= 1, finite.
        k: which neighbour, >= 1; the farthest one where there are fewer images.

    Raises:
        UsageError: k is below 1.
    """
    if k < 1:
        raise UsageError(f"knn: k is {k}; give at least 1")
    known = _directions(train)
    place = min(k, len(known)) - 1
    lengths = (known**2).sum(1)

    def kth(rows: Matrix) -> Scores:
        squares = (rows**2).sum(1)[:, None] + lengths - 2 * rows @ known.T
        distance: Scores = np.sqrt(np.maximum(np.partition(squares, place, axis=1)[:, place], 0))
        return distance

    def scores(representations: Tensor) -> Scores:
        rows = _directions(representations)
        return np.concatenate([kth(rows[i : i + _QUERIES]) for i in range(0, len(rows), _QUERIES)])

    return scores


def _directions(representations: Tensor) -> Matrix:
    rows = _doubles(representations)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def _doubles(representations: Tensor) -> Matrix:
    doubles: Matrix = representations.cpu().numpy().astype(np.float64)
    return doubles
