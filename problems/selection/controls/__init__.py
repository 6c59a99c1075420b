"""Controls of layer selection: what the search has to beat, on the same axes and for no more than its budget.

A control yields points (:class:`Point`): networks fine-tuned from the training seeds of the problem, on what the search
may look at (:class:`Setting`), and scored by the same evaluator::

    for name in suitable(setting):
        for point in points(name, setting):
            ...

Those that have a learning rate try several, as the budget allows; a caller chooses among points. Those that learn by
rules of their own (penalties, rates from gradients) train all epochs with batch normalisation as in evaluation,
whatever the recipe says of patience and running statistics.
"""

from collections.abc import Mapping
from types import MappingProxyType

from moprune.errors import UsageError, not_one_of
from problems.selection.controls import automatic, penalties, staged, tunings
from problems.selection.controls.points import (
    RATES,
    Control,
    Point,
    Setting,
    always,
    has_body,
    has_norms,
    has_stages,
)
from problems.selection.controls.subtuning import subtuning
from problems.selection.controls.tpe import tpe

__all__ = ["CONTROLS", "RATES", "Control", "Point", "Setting", "points", "suitable"]

CONTROLS: Mapping[str, Control] = MappingProxyType(
    {
        "linear_probe": Control("the head alone", tunings.linear_probe, always),
        "full": Control("everything", tunings.full, always),
        "lp_ft": Control("the head, then everything (Kumar et al. 2022)", staged.lp_ft, has_stages),
        "first_k": Control("the first units, for each number of them", tunings.first_k, has_body),
        "last_k": Control("the last units, for each number of them", tunings.last_k, has_body),
        "norms_only": Control("normalisation layers", tunings.norms_only, has_norms),
        "single_units": Control("each unit alone (Lee et al. 2023, surgical)", tunings.single_units, has_body),
        "gradual_last": Control("unfreezing from the head backwards", staged.gradual_last, has_stages),
        "gradual_first": Control("unfreezing from the first unit forwards", staged.gradual_first, has_stages),
        "l2_sp": Control("everything, drawn to the pre-trained weights (Li et al. 2018)", penalties.l2_sp, always),
        "l1_sp": Control("the same by absolute distances", penalties.l1_sp, always),
        "auto_rgn": Control("rates from relative gradient norms (Lee et al. 2023)", automatic.auto_rgn, always),
        "auto_snr": Control("tensors of gradients with little noise (Lee et al. 2023)", automatic.auto_snr, always),
        "lora": Control("low rank everywhere (Hu et al. 2022)", tunings.lora, has_body),
        "subtuning": Control("units added greedily (Kaplun et al. 2023)", subtuning, has_body),
        "tpe": Control("tree-structured Parzen estimators in the genome (Optuna)", tpe, always),
    }
)


def suitable(setting: Setting) -> list[str]:
    """Returns the names of the controls that have points in a setting."""
    return [name for name, control in CONTROLS.items() if control.suits(setting)]


def points(name: str, setting: Setting) -> list[Point]:
    """Returns a control's points; together they cost no more than the budget.

    Raises:
        UsageError: the name is not one of :data:`CONTROLS`, the control does not suit the setting, or the budget does
            not pay for one candidate.
    """
    if name not in CONTROLS:
        raise not_one_of("control", name, CONTROLS)
    if not CONTROLS[name].suits(setting):
        raise UsageError(
            f"control {name!r} does not suit this search (a single epoch, or a network without normalisation or of one "
            f"unit); choose from: {', '.join(suitable(setting))}"
        )
    return CONTROLS[name].points(setting)
