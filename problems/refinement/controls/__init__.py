"""Controls of refinement: what the search has to beat, on the same axes and for no more than its budget.

A control yields points (:class:`Point`): networks, or several whose predictions are averaged, made from what the search
may look at (:class:`Setting`) and scored by the same evaluator::

    for name in suitable(setting):
        for point in points(name, setting):
            ...
"""

from collections.abc import Mapping
from types import MappingProxyType

from moprune.errors import UsageError, not_one_of
from problems.refinement.controls import balance, chosen, gradient, learned_soup, logistic, snes, soups, trajectories
from problems.refinement.controls.points import (
    Control,
    Labelled,
    Point,
    Setting,
    always,
    has_members,
    starts_elsewhere,
)

__all__ = ["CONTROLS", "Control", "Labelled", "Point", "Setting", "points", "suitable"]

CONTROLS: Mapping[str, Control] = MappingProxyType(
    {
        "pretrained": Control("the pre-trained network, if it is not the start", chosen.pretrained, starts_elsewhere),
        "start": Control("what the search starts from", chosen.start, always),
        "best_member": Control("the fine-tuned member of least search loss", chosen.best_member, has_members),
        "uniform_soup": Control("the mean of all members' weights", soups.uniform_soup, has_members),
        "greedy_soup": Control(
            "members averaged in while that helps (Wortsman et al. 2022)", soups.greedy_soup, has_members
        ),
        "learned_soup": Control(
            "the members' shares in each layer, by gradient on search", learned_soup.learned_soup, has_members
        ),
        "averaging": Control("means of three, iterated, with selection", soups.averaging, has_members),
        "ensemble": Control("the mean of all members' predictions", chosen.ensemble, has_members),
        "gradient": Control("fine-tuning on train for the same budget", gradient.gradient, always),
        "gradient_search": Control("fine-tuning on the images the search sees", gradient.gradient_search, always),
        "swa": Control("stochastic weight averaging (Izmailov et al. 2018)", trajectories.swa, always),
        "fge": Control("fast geometric ensembling (Garipov et al. 2018)", trajectories.fge, always),
        "logistic_regression": Control(
            "a classifier fitted to the frozen features", logistic.logistic_regression, logistic.has_linear_head
        ),
        "class_balance": Control(
            "class biases moved towards equal errors by a rule", balance.class_balance, logistic.has_linear_head
        ),
        "snes": Control("separable natural evolution strategies in the genome", snes.snes, snes.small_genome),
    }
)


def suitable(setting: Setting) -> list[str]:
    """Returns the names of the controls that have points in a setting."""
    return [name for name, control in CONTROLS.items() if control.suits(setting)]


def points(name: str, setting: Setting) -> list[Point]:
    """Returns a control's points.

    Raises:
        UsageError: the name is not one of :data:`CONTROLS`, or the control does not suit the setting.
    """
    if name not in CONTROLS:
        raise not_one_of("control", name, CONTROLS)
    if not CONTROLS[name].suits(setting):
        raise UsageError(
            f"control {name!r} does not suit this search (no members, no linear classifier, or too many variables); "
            f"choose from: {', '.join(suitable(setting))}"
        )
    return CONTROLS[name].points(setting)
