"""Named objectives: what each measures, in which unit and direction, and how it follows from an outcome.

A search minimises; people and files see natural units. An :class:`Objective` converts between the two, and is
all that has to be written to add a goal of one's own::

    from moprune.objectives import Objective

    worst_class = Objective(
        name="worst_class_error", unit="share of images", minimise=True, worst=1.0,
        compute=lambda outcome: max(...),
    )
    PruningProblem(task, network, objectives=["active_fraction", worst_class])
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from moprune import metrics
from moprune.errors import UsageError, not_one_of


@dataclass(frozen=True)
class Outcome:
    """What one evaluated candidate yields on one split; objectives read nothing else.

    Attributes:
        logits: predictions on the split's images, ``(n, C)`` float32.
        labels: the images' classes, ``(n,)`` int64.
        ood_logits: predictions on each OOD pool of the split, name -> ``(m, C)``.
        costs: what the candidate costs whatever the images (``active_fraction``, ``head_parameters``, ...).
    """

    logits: Tensor
    labels: Tensor
    ood_logits: Mapping[str, Tensor] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)


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
        needs_ood: whether it reads OOD pools.
        is_cost: whether it depends on the genome alone, not on images (the same on every split).
        scale: the span of its useful range, by which hypervolumes are normalised; > 0.
    """

    name: str
    unit: str
    minimise: bool
    worst: float
    compute: Callable[[Outcome], float]
    needs_ood: bool = False
    is_cost: bool = False
    scale: float = 1.0

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
    outcome: Outcome, *, measure: Callable[[metrics.Scores, metrics.Scores], float], detector: str
) -> float:
    """Returns the mean over the OOD pools of a detection measure (each pool weighs the same)."""
    inside = metrics.ood_scores(outcome.logits, detector)
    pools = outcome.ood_logits.values()
    return float(np.mean([measure(inside, metrics.ood_scores(pool, detector)) for pool in pools]))


def _predictive(outcome: Outcome, *, measure: Callable[[Tensor, Tensor], float], worst: float) -> float:
    return min(measure(outcome.logits, outcome.labels), worst)


_PREDICTIVE: Mapping[str, tuple[str, float, Callable[[Tensor, Tensor], float]]] = MappingProxyType(
    {
        "error": ("share of images", 1.0, metrics.error),
        "macro_error": ("mean share of images per class", 1.0, metrics.macro_error),
        # A uniform prediction over 1,000 classes has 6.9 nats; beyond 10 nothing is learnt from the difference.
        "nll": ("nats per image", 10.0, metrics.nll),
        "ece": ("share", 1.0, metrics.ece),
    }
)
_COSTS: Mapping[str, str] = MappingProxyType(
    {
        "active_fraction": "share of maskable units",
        "active_units": "units",
        "head_parameters": "parameters",
    }
)
_DETECTION: Mapping[str, tuple[bool, Callable[[metrics.Scores, metrics.Scores], float]]] = MappingProxyType(
    {
        "ood_auroc": (False, metrics.auroc),
        "ood_fpr95": (True, metrics.fpr95),
        "ood_fpr95_id": (True, metrics.fpr95_id),
    }
)

NAMES: tuple[str, ...] = tuple(sorted([*_PREDICTIVE, *_COSTS, *_DETECTION]))


def objective(name: str, *, detector: str | None = None, largest: float | None = None) -> Objective:
    """Returns the objective of that name.

    Args:
        name: one of :data:`NAMES`.
        detector: for the ``ood_`` objectives, one of :data:`moprune.metrics.DETECTORS` (default ``energy``).
        largest: for counts (``active_units``, ``head_parameters``), their value with nothing pruned.

    Raises:
        UsageError: the name or the detector is not known, or an option does not apply.
    """
    if name not in NAMES:
        raise not_one_of("objective", name, NAMES)
    if detector is not None and name not in _DETECTION:
        raise UsageError(f"objective {name!r} takes no detector; remove it")
    if name in _PREDICTIVE:
        unit, worst, measure = _PREDICTIVE[name]
        return Objective(name, unit, True, worst, partial(_predictive, measure=measure, worst=worst), scale=worst)
    if name in _COSTS:
        span = 1.0 if name == "active_fraction" else float(largest or 1)
        return Objective(name, _COSTS[name], True, span, partial(_cost, name=name), is_cost=True, scale=span)
    detector = detector or "energy"
    if detector not in metrics.DETECTORS:
        raise not_one_of("OOD detector", detector, metrics.DETECTORS)
    minimise, measure_pools = _DETECTION[name]
    return Objective(
        name, f"share ({detector} score)", minimise, 1.0 if minimise else 0.0,
        partial(_over_pools, measure=measure_pools, detector=detector), needs_ood=True,
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
