"""Linear models of standardised features, as heads that read the raw ones."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from moprune.errors import UsageError
from moprune.networks.heads import HeadSpec, HeadWeights, TrainedHead
from moprune.population import TrainingSet

Array = NDArray[np.float64]

UNSEEN = -100.0
"""Logit of a class without an image in the training set."""


@dataclass(frozen=True, eq=False)
class Standardised:
    """A training set for a linear model.

    Attributes:
        features: ``(n, D)``, each column with mean 0 and standard deviation 1; zero where it is constant.
        labels: ``(n,)``, indices into ``classes``.
        classes: the classes that have an image, ascending.
        mean: of each raw feature, ``(D,)``.
        deviation: of each raw feature, ``(D,)``; 1 where it is constant.
    """

    features: Array
    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    mean: Array
    deviation: Array

    @classmethod
    def of(cls, data: TrainingSet) -> "Standardised":
        """Returns the set in double precision.

        Raises:
            UsageError: features that are not finite, or fewer than two classes.
        """
        raw = data.features.cpu().numpy().astype(np.float64)
        classes, labels = np.unique(data.labels.cpu().numpy(), return_inverse=True)
        if not np.isfinite(raw).all():
            raise UsageError("features of a linear head hold values that are not finite; check the network")
        if len(classes) < 2:
            raise UsageError("a linear head tells classes apart; give images of at least two classes")
        varies = np.ptp(raw, axis=0) > 0
        mean, deviation = raw.mean(0), np.where(varies, raw.std(0), 1.0)
        return cls(np.where(varies, (raw - mean) / deviation, 0.0), labels, classes, mean, deviation)

    def head(self, spec: HeadSpec, coefficients: Array, intercepts: Array, device: torch.device) -> TrainedHead:
        """Returns a model of the standardised features, ``(D, classes)`` and ``(classes,)``, as a linear head.

        Features whose coefficients are all zero are not read; other coefficients of zero count as removed.
        """
        kept = np.flatnonzero(coefficients.any(axis=1))
        raw = coefficients[kept] / self.deviation[kept, None]
        matrix, bias = np.zeros((len(kept), spec.classes)), np.full(spec.classes, UNSEEN)
        matrix[:, self.classes] = raw
        bias[self.classes] = intercepts - self.mean[kept] @ raw
        weights = HeadWeights((_float32(matrix, device),), (_float32(bias, device),))
        linear = HeadSpec(spec.features, (), spec.classes)
        return TrainedHead(linear, torch.tensor(kept, device=device), weights, 0, removed=int((matrix == 0).sum()))


def _float32(array: Array, device: torch.device) -> torch.Tensor:
    return torch.tensor(array, dtype=torch.float32, device=device)
