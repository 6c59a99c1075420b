"""Controls of pruning: what the search has to beat, as points on the same axes.

A control yields points of two kinds (:class:`Point`): genomes, which the problem trains as any candidate, and recipes,
which make a head with weights of their own from the training set in force. Both are scored by the same evaluator and
chosen among by the same rule::

    setting = Setting(problem.encoding, train, problem.training, problem.seed, geometric_sizes(problem.encoding.length))
    for name in suitable(problem.encoding):
        for point in points(name, setting):
            ...

Where a recipe's head lies on the axis of active units follows from the head, see :func:`active_fraction`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from moprune.errors import UsageError, not_one_of
from problems.pruning.controls import group_lasso, lasso, logistic, ranked, weights, widths
from problems.pruning.controls.points import (
    Control,
    Point,
    Recipe,
    Setting,
    active_fraction,
    any_encoding,
    features_alone,
    geometric_sizes,
)
from problems.pruning.encodings import Encoding

__all__ = [
    "CONTROLS", "Control", "Point", "Recipe", "Setting", "active_fraction", "geometric_sizes", "points", "suitable",
]  # fmt: skip

CONTROLS: Mapping[str, Control] = MappingProxyType(
    {
        "unpruned": Control("the head with all units on", widths.unpruned, any_encoding),
        "width_grid": Control("heads of 10, 20, ..., 100 % width", widths.width_grid, widths.has_neurons),
        "random_matched": Control("random masks of the given sizes", ranked.random_matched, any_encoding),
        "anova": Control("the features of largest F statistic, retrained", ranked.anova, features_alone),
        "mutual_information": Control(
            "the features that tell most of the class, retrained", ranked.mutual_information, features_alone
        ),
        "magnitude": Control("the largest units of the trained dense head, retrained", ranked.magnitude, any_encoding),
        "magnitude_one_shot": Control(
            "the largest units of the trained dense head, as they are", ranked.magnitude_one_shot, any_encoding
        ),
        "magnitude_weights": Control(
            "the largest single weights of the trained dense head, as they are and fine-tuned",
            weights.magnitude_weights,
            any_encoding,
        ),
        "polynomial_decay": Control(
            "single weights of the dense head cut step by step (Zhu & Gupta 2017), fine-tuned",
            weights.polynomial_decay,
            any_encoding,
        ),
        "lasso": Control(
            "features kept by L1-penalised logistic regression, retrained, and that model", lasso.path, features_alone
        ),
        "group_lasso": Control(
            "units kept by a penalty on their norms in the head, retrained and as they are",
            group_lasso.path,
            group_lasso.features_or_neurons,
        ),
        "logistic_regression": Control(
            "L2-penalised logistic regression on all features", logistic.logistic_regression, any_encoding
        ),
    }
)


def suitable(encoding: Encoding) -> list[str]:
    """Returns the names of the controls that have points in an encoding's search space."""
    return [name for name, control in CONTROLS.items() if control.suits(encoding)]


def points(name: str, setting: Setting) -> list[Point]:
    """Returns a control's points.

    Raises:
        UsageError: the name is not one of :data:`CONTROLS`, or the control does not suit the encoding.
    """
    if name not in CONTROLS:
        raise not_one_of("control", name, CONTROLS)
    if not CONTROLS[name].suits(setting.encoding):
        accepted = ", ".join(suitable(setting.encoding))
        raise UsageError(f"control {name!r} does not suit what the bits of this search switch; choose from: {accepted}")
    return CONTROLS[name].points(setting)
