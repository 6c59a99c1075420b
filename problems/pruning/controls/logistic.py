"""Logistic regression on the frozen features: the linear probe that a pruned head has to beat."""

from dataclasses import dataclass

import numpy as np

from moprune.networks.heads import HeadSpec, TrainedHead
from moprune.population import TrainingSet
from moprune.seeding import derive
from problems.pruning.controls.linear import Array, Standardised
from problems.pruning.controls.points import Point, Setting

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths C of the L2 penalty to choose from."""
USUAL = 1e-2
"""The one taken where a class has too few images to choose by cross-validation."""


@dataclass(frozen=True)
class LogisticRegression:
    """Fits multinomial logistic regression with an L2 penalty on standardised features.

    Its strength is chosen by the likelihood in five-fold cross-validation within the training set (fewer folds where a
    class has fewer images; :data:`USUAL` if one has a single image).

    Attributes:
        spec: the shape of the search's heads: features and classes.
        seed: the run seed, of the folds.
    """

    spec: HeadSpec
    seed: int

    def __call__(self, data: TrainingSet) -> TrainedHead:
        """Returns the linear head.

        Raises:
            UsageError: features that are not finite, or fewer than two classes.
        """
        train = Standardised.of(data)
        coefficients, intercepts = fit_logistic(train, choose_strength(train, self.seed))
        return train.head(self.spec, coefficients, intercepts, data.device)


def choose_strength(train: Standardised, seed: int) -> float:
    """Returns the strength of :data:`STRENGTHS` with the least cross-validated negative log-likelihood."""
    from sklearn.linear_model import LogisticRegression as Model
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = min(5, int(np.bincount(train.labels).min()))
    if folds < 2:
        return USUAL
    splits = StratifiedKFold(folds, shuffle=True, random_state=derive(seed, "logistic regression") % 2**32)
    model = make_pipeline(StandardScaler(), Model(max_iter=1000))
    grid = {"logisticregression__C": STRENGTHS}
    search = GridSearchCV(model, grid, scoring="neg_log_loss", cv=splits, refit=False, error_score="raise")
    search.fit(train.features, train.labels)
    return float(search.best_params_["logisticregression__C"])


def fit_logistic(train: Standardised, strength: float) -> tuple[Array, Array]:
    """Returns coefficients ``(D, classes)`` and intercepts ``(classes,)``; of two classes, half of each sign."""
    from sklearn.linear_model import LogisticRegression as Model

    model = Model(C=strength, max_iter=1000).fit(train.features, train.labels)
    coefficients, intercepts = model.coef_.T, model.intercept_
    if len(train.classes) == 2:
        return np.hstack([-coefficients, coefficients]) / 2, np.hstack([-intercepts, intercepts]) / 2
    return coefficients, intercepts


def logistic_regression(setting: Setting) -> list[Point]:
    """Returns the one linear head."""
    return [Point("all features", fit=LogisticRegression(setting.encoding.spec, setting.seed))]
