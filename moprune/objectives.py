"""Named objectives: what each measures, in which unit and direction, and how it follows from an outcome.

A search minimises; people and files see natural units. An :class:`Objective` converts between the two, and is
all that has to be written to add a goal of one's own::

    from moprune.objectives import Objective

    confidence = Objective(
        name="confidence", unit="mean probability", minimise=False, worst=0.0,
        compute=lambda outcome: float(outcome.logits.softmax(1).amax(1).mean()),
    )
    PruningProblem(task, network, objectives=["active_fraction", confidence])
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from moprune import metrics
from moprune.detectors import DETECTORS, NEIGHBOURS, knn, mahalanobis
from moprune.errors import UsageError, not_one_of

T = TypeVar("T")

NEEDS: Mapping[str, str] = MappingProxyType(
    {
        "ood": "predictions on OOD pools",
        "representations": "what the head's last layer reads, also of its training images",
        "features": "the features the head reads, also of its training images",
        "corruptions": "predictions on corrupted images",
        "attacks": "predictions on adversarial images",
        "perturbed": "predictions on images and pools perturbed as ODIN does",
    }
)
"""What an objective may ask for besides predictions on the split's images, which every outcome has."""


@dataclass(frozen=True)
class Representations:
    """What a part of the head reads, float32: its last layer (the hidden units before it), or its first (features).

    Attributes:
        images: of the split's images, ``(n, d)``.
        pools: of each OOD pool of the split, name -> ``(m, d)``.
        train: of the images the head was trained on, ``(k, d)``.
        train_labels: their classes, ``(k,)`` int64.
    """

    images: Tensor
    pools: Mapping[str, Tensor]
    train: Tensor
    train_labels: Tensor


@dataclass(frozen=True)
class Attacked:
    """Predictions on attacked images of the split: logits ``(k, C)`` and their classes ``(k,)``, k <= n."""

    logits: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Perturbed:
    """Predictions on perturbed images: logits ``(k, C)`` of the split's, k <= n, and of each OOD pool's."""

    images: Tensor
    pools: Mapping[str, Tensor]


@dataclass(frozen=True)
class Outcome:
    """What one evaluated candidate yields on one split; objectives read nothing else.

    Attributes:
        logits: predictions on the split's images, ``(n, C)`` float32.
        labels: the images' classes, ``(n,)`` int64.
        ood_logits: predictions on each OOD pool of the split, name -> ``(m, C)``.
        costs: what the candidate costs whatever the images (``active_fraction``, ``head_parameters``, ...).
        representations: what the head's last layer reads; None unless an objective needs it.
        features: what its first layer reads, the kept features; None unless an objective needs it.
        corrupted_logits: predictions on the split's images under each corruption, ``type@severity`` -> ``(n, C)``.
        attacked: predictions on adversarial images; None unless an objective needs them.
        perturbed: predictions on images perturbed as ODIN does; None unless an objective needs them.
    """

    logits: Tensor
    labels: Tensor
    ood_logits: Mapping[str, Tensor] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    representations: Representations | None = None
    features: Representations | None = None
    corrupted_logits: Mapping[str, Tensor] = field(default_factory=dict)
    attacked: Attacked | None = None
    perturbed: Perturbed | None = None


@dataclass(frozen=True)
class Objective:
    """One goal of a search.

    Attributes:
        name: the name in files and on axes.
        unit: the unit of its natural value.
        minimise: whether less is better.
        worst: the natural value given to a candidate that failed (its training diverged, say); also the
            coordinate of the hypervolume's reference point. Finite.
        compute: the natural value of an :class:`Outcome`; finite, deterministic.
        needs: what it reads besides the split's own predictions, of :data:`NEEDS`.
        is_cost: whether it depends on the genome alone, not on images (the same on every split).
        scale: the span of its useful range, by which hypervolumes are normalised; > 0.
        terms: logits and labels of some images -> what each adds, ``(n,)`` >= 0, if the value is the mean of that over
            the split's images (at most ``worst``); a search with one such goal may drop candidates early.

    Raises:
        UsageError: a need that is not one of :data:`NEEDS`.
    """

    name: str
    unit: str
    minimise: bool
    worst: float
    compute: Callable[[Outcome], float]
    needs: frozenset[str] = frozenset()
    is_cost: bool = False
    scale: float = 1.0
    terms: Callable[[Tensor, Tensor], NDArray[np.float64]] | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(self.needs - NEEDS.keys()):
            raise not_one_of(f"need of objective {self.name!r}", unknown[0], NEEDS)

    def minimised(self, natural: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns what pymoo minimises: the value itself, or ``1 - value`` for a share to be maximised."""
        return natural if self.minimise else 1.0 - natural

    def natural(self, minimised: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the natural value of a minimised one (to float rounding)."""
        return minimised if self.minimise else 1.0 - minimised

    @property
    def reference(self) -> float:
        """The minimised coordinate of the hypervolume's reference point."""
        return self.worst if self.minimise else 1.0 - self.worst


# Partial applications of these, unlike closures, can be pickled with the problem they belong to.
def _cost(outcome: Outcome, *, name: str) -> float:
    if name not in outcome.costs:
        raise UsageError(f"objective {name!r} is not a cost of this task (it has: {', '.join(sorted(outcome.costs))})")
    return float(outcome.costs[name])


def _over_pools(
    outcome: Outcome, *, measure: Callable[[metrics.Scores, metrics.Scores], float], detector: str, k: int
) -> float:
    """Returns the mean over the OOD pools of a detection measure (each pool weighs the same)."""
    inside, pools = _detected(outcome, detector, k)
    return float(np.mean([measure(inside, pool) for pool in pools]))


def _detected(outcome: Outcome, detector: str, k: int) -> tuple[metrics.Scores, list[metrics.Scores]]:
    """Returns the OOD scores of the split's images and of each pool's."""
    read: tuple[Tensor, Mapping[str, Tensor]]
    space = next((need for need in ("representations", "features") if need in DETECTORS[detector]), None)
    if space is not None:
        given = _given(outcome.features if space == "features" else outcome.representations, space)
        near = detector.startswith("knn")
        score = knn(given.train, k) if near else mahalanobis(given.train, given.train_labels)
        read = given.images, given.pools
    elif "perturbed" in DETECTORS[detector]:
        score = partial(metrics.ood_scores, detector="odin")
        perturbed = _given(outcome.perturbed, "perturbed")
        read = perturbed.images, perturbed.pools
    else:
        score = partial(metrics.ood_scores, detector=detector)
        read = outcome.logits, outcome.ood_logits
    images, pools = read
    return score(images), [score(pool) for pool in pools.values()]


def _given(part: T | None, need: str) -> T:
    if part is None:
        raise UsageError(f"an objective needs {need} ({NEEDS[need]}), which this problem does not provide; drop it")
    return part


def _macro_f1(outcome: Outcome) -> float:
    return metrics.macro_f1(outcome.logits, outcome.labels)


def _expected_cost(outcome: Outcome, *, costs: NDArray[np.float64]) -> float:
    if len(costs) != outcome.logits.shape[1]:
        raise UsageError(
            f"costs for {len(costs)} classes, but the task has {outcome.logits.shape[1]}; give one row each"
        )
    return metrics.expected_cost(outcome.logits, outcome.labels, costs)


def _corruption_error(outcome: Outcome) -> float:
    _given(outcome.corrupted_logits or None, "corruptions")
    return float(np.mean([metrics.error(each, outcome.labels) for each in outcome.corrupted_logits.values()]))


def _adversarial_error(outcome: Outcome) -> float:
    attacked = _given(outcome.attacked, "attacks")
    return metrics.error(attacked.logits, attacked.labels)


def _predictive(outcome: Outcome, *, measure: Callable[[Tensor, Tensor], float], worst: float) -> float:
    return min(measure(outcome.logits, outcome.labels), worst)


_PREDICTIVE: Mapping[str, tuple[str, float, Callable[[Tensor, Tensor], float]]] = MappingProxyType(
    {
        "error": ("share of images", 1.0, metrics.error),
        "macro_error": ("mean share of images per class", 1.0, metrics.macro_error),
        "worst_class_error": ("share of images of the worst class", 1.0, metrics.worst_class_error),
        # A uniform prediction over 1,000 classes has 6.9 nats; beyond 10 nothing is learnt from the difference.
        "nll": ("nats per image", 10.0, metrics.nll),
        "brier": ("squared distance / 2", 1.0, metrics.brier),
        "ece": ("share", 1.0, metrics.ece),
    }
)
_TERMS: Mapping[str, Callable[[Tensor, Tensor], NDArray[np.float64]]] = MappingProxyType(
    {"error": metrics.wrong_terms, "nll": metrics.nll_terms, "brier": metrics.brier_terms}
)
_COSTS: Mapping[str, str] = MappingProxyType(
    {
        "active_fraction": "share of maskable units",
        "active_units": "units",
        "head_parameters": "parameters",
        "parameters": "parameters of the slimmed network",
        "flops": "FLOPs an image of the slimmed network",
        "trainable_parameters": "parameters",
        "trainable_share": "share of all parameters",
        "backward_flops": "FLOPs of a backward pass an image",
        "activation_bytes": "bytes kept for the backward pass of a batch",
        "stored_bytes": "bytes stored for the task",
    }
)
_SHARES = ("active_fraction", "trainable_share")
_DETECTION: Mapping[str, tuple[bool, Callable[[metrics.Scores, metrics.Scores], float]]] = MappingProxyType(
    {
        "ood_auroc": (False, metrics.auroc),
        "ood_fpr95": (True, metrics.fpr95),
        "ood_fpr95_id": (True, metrics.fpr95_id),
    }
)
_ROBUSTNESS: Mapping[str, tuple[str, str, Callable[[Outcome], float]]] = MappingProxyType(
    {
        # A mean of error rates. The mCE of Hendrycks & Dietterich 2019 divides each by AlexNet's, which exists for
        # ImageNet-C alone.
        "corruption_error": ("mean share of images per corruption", "corruptions", _corruption_error),
        "adversarial_error": ("share of attacked images", "attacks", _adversarial_error),
    }
)

NAMES: tuple[str, ...] = tuple(sorted([*_PREDICTIVE, "macro_f1", *_COSTS, *_DETECTION, *_ROBUSTNESS]))


def objective(
    name: str, *, detector: str | None = None, k: int | None = None, largest: float | None = None
) -> Objective:
    """Returns the objective of that name.

    ``corruption_error`` is the mean over corruptions of the error rate, not the mCE, which is relative to AlexNet.
    ``adversarial_error`` is the error rate on attacked images, wrong before the attack or not.

    Args:
        name: one of :data:`NAMES`.
        detector: for the ``ood_`` objectives, one of :data:`moprune.detectors.DETECTORS` (default ``energy``).
        k: for the detectors ``knn`` and ``knn_features``, which neighbour (default
            :data:`moprune.detectors.NEIGHBOURS`).
        largest: for counts (``active_units``, ``trainable_parameters``), their value with nothing pruned or frozen.

    Raises:
        UsageError: the name or the detector is not known, or an option does not apply.
    """
    if name not in NAMES:
        raise not_one_of("objective", name, NAMES)
    if detector is not None and name not in _DETECTION:
        raise UsageError(f"objective {name!r} takes no detector; remove it")
    if k is not None and (not (detector or "").startswith("knn") or k < 1):
        raise UsageError(
            f"objective {name!r} has k {k}; give one of 1 or more, with detectors knn and knn_features alone"
        )
    if name in _PREDICTIVE:
        unit, worst, measure = _PREDICTIVE[name]
        predictive = partial(_predictive, measure=measure, worst=worst)
        return Objective(name, unit, True, worst, predictive, scale=worst, terms=_TERMS.get(name))
    if name == "macro_f1":
        return Objective(name, "mean F1 of the classes", False, 0.0, _macro_f1)
    if name in _COSTS:
        span = 1.0 if name in _SHARES else float(largest or 1)
        return Objective(name, _COSTS[name], True, span, partial(_cost, name=name), is_cost=True, scale=span)
    if name in _ROBUSTNESS:
        unit, need, compute = _ROBUSTNESS[name]
        return Objective(name, unit, True, 1.0, compute, needs=frozenset({need}))
    return _detection(name, detector or "energy", k or NEIGHBOURS)


def expected_cost(costs: ArrayLike) -> Objective:
    """Returns the mean cost of predictions, for mistakes that are not equally bad.

    Args:
        costs: ``(C, C)`` >= 0, finite: the cost of taking an image of class i for class j in row i, column j; 0 on the
            diagonal, some number above 0 elsewhere.

    Raises:
        UsageError: costs of another form.
    """
    table = np.asarray(costs, dtype=np.float64)
    square = table.ndim == 2 and table.shape[0] == table.shape[1]
    if not square or not np.isfinite(table).all() or (table < 0).any() or table.max() <= 0 or np.diag(table).any():
        raise UsageError("costs must be a square table of finite numbers >= 0, 0 on the diagonal and not all 0")
    worst = float(table.max())
    compute = partial(_expected_cost, costs=table)
    return Objective("expected_cost", "cost an image", True, worst, compute, scale=worst)


def _detection(name: str, detector: str, k: int) -> Objective:
    if detector not in DETECTORS:
        raise not_one_of("OOD detector", detector, DETECTORS)
    minimise, measure = _DETECTION[name]
    score = f"{detector} score, k={k}" if detector.startswith("knn") else f"{detector} score"
    return Objective(
        name, f"share ({score})", minimise, 1.0 if minimise else 0.0,
        partial(_over_pools, measure=measure, detector=detector, k=k), needs=DETECTORS[detector],
    )  # fmt: skip


def resolve(objectives: Sequence[str | Objective], largest: Mapping[str, float] | None = None) -> tuple[Objective, ...]:
    """Returns the objectives given by name or as they are, checked: at least one, no name twice."""
    known = largest or {}
    resolved = tuple(o if isinstance(o, Objective) else objective(o, largest=known.get(o)) for o in objectives)
    names = [o.name for o in resolved]
    if not names:
        raise UsageError("no objective given; name at least one, e.g. error")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"objective {name!r} is given twice; name each once")
    return resolved
