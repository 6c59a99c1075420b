"""The lasso: multinomial logistic regression whose L1 penalty leaves few features."""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from moprune.networks.heads import HeadSpec, TrainedHead
from moprune.population import TrainingSet
from problems.pruning.controls.linear import Array, Standardised
from problems.pruning.controls.points import Point, Setting, distinct

SHARES = tuple(float(share) for share in np.geomspace(1.0, 0.02, 13)[1:])
"""Penalties of the path, as shares of the least one that leaves no feature."""
_STEPS = 20_000
_CLOSE = 1e-3  # of the penalty: how far from optimal the gradient may be


@dataclass(frozen=True)
class Lasso:
    """Fits multinomial logistic regression with an L1 penalty on standardised features.

    Minimises the mean cross-entropy plus ``penalty`` times the sum of the coefficients' magnitudes; intercepts
    are free.

    Attributes:
        spec: the shape of the search's heads: features and classes.
        share: the penalty as a share of the least one that leaves no feature, in (0, 1].
    """

    spec: HeadSpec
    share: float

    def __call__(self, data: TrainingSet) -> TrainedHead:
        """Returns the linear head of the features with a coefficient that is not zero.

        Raises:
            UsageError: features that are not finite, or fewer than two classes.
        """
        train = Standardised.of(data)
        coefficients, intercepts = fit_lasso(train, self.share * largest_penalty(train))
        return train.head(self.spec, coefficients, intercepts, data.device)


def largest_penalty(train: Standardised) -> float:
    """Returns the least penalty at which all coefficients are zero: the largest slope where intercepts do all."""
    targets = _one_hot(train)
    return float(np.abs(train.features.T @ (targets.mean(0) - targets)).max() / len(targets))


def fit_lasso(train: Standardised, penalty: float) -> tuple[Array, Array]:
    """Returns coefficients ``(D, classes)`` and intercepts ``(classes,)`` of the least penalised cross-entropy.

    Accelerated proximal gradient descent (Beck & Teboulle 2009) with restarts (O'Donoghue & Candes 2015), from zero
    coefficients until the gradient is within a thousandth of the penalty of being optimal.
    """
    targets = _one_hot(train)
    n, classes = targets.shape
    x = np.hstack([train.features, np.ones((n, 1))])
    rate = 2 * n / np.linalg.norm(x, 2) ** 2  # the Hessian of the cross-entropy in its logits is at most 1/2
    thresholds = np.full((x.shape[1], 1), rate * penalty)
    thresholds[-1] = 0.0
    # From the intercepts' own optimum, lest features stand in for them.
    weights = np.vstack([np.zeros((x.shape[1] - 1, classes)), np.log(targets.mean(0))])
    ahead, momentum = weights, 1.0
    for _ in range(_STEPS):
        gradient = x.T @ (softmax(x @ ahead, axis=1) - targets) / n
        moved = ahead - rate * gradient
        new = np.sign(moved) * np.maximum(np.abs(moved) - thresholds, 0.0)
        if np.abs(new - ahead).max() <= _CLOSE * rate * penalty:
            return new[:-1], new[-1]
        if np.vdot(ahead - new, new - weights) > 0:  # the momentum leads uphill: start it anew
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, weights, momentum = new + (momentum - 1) / following * (new - weights), new, following
    return weights[:-1], weights[-1]


def _one_hot(train: Standardised) -> Array:
    return np.eye(len(train.classes))[train.labels]


def path(setting: Setting) -> list[Point]:
    """Returns the path: each penalty's own linear head, and the features it keeps, trained as any candidate."""
    spec, recipes, genomes = setting.encoding.spec, [], []
    for share in SHARES:
        recipe = Lasso(spec, share)
        genome = np.zeros(spec.features, dtype=bool)
        genome[recipe(setting.data).kept.cpu().numpy()] = True
        recipes.append(Point(f"penalty {share:.3f}", fit=recipe))
        genomes.append(Point(f"penalty {share:.3f}, retrained", genome))
    return [*recipes, *distinct(genomes)]
