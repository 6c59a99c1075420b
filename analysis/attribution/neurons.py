"""How much each unit of a trained, pruned head matters to each class: conductance, internal influence and ablation.

The head is the one the search scored, so the numbers are about the pruned network and its classes, not about the
backbone alone. A unit that is off counts as zero throughout: conductance starts from features of zero, ablation ends
there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from moprune.errors import UsageError
from moprune.networks.heads import Masks, TrainedHead

STEPS = 50
"""Points of the path from zero to the features, on which gradients are summed.

Evenly spaced from end to end: captum's own choice, Gauss and Legendre's points, leaves the two ends of the path out of
a conductance and 0.1% of every value with them."""

_ROWS = 8192  # rows of features that captum and the ablation hold at once


@dataclass(frozen=True)
class Importance:
    """What :func:`importance` returns.

    Attributes:
        table: a row a unit and class: ``unit, layer, index, class, images, conductance, influence, ablation,
            ablation_loss, completeness``. ``class`` is a label, or -1 for all images. ``index`` is the unit's place in
            the head before pruning. Values are means over the class's images of the attribution to the logit of each
            image's own class, in logits; ``influence`` in logits per unit of activation. ``ablation`` is how far that
            logit falls when the unit is zeroed, ``ablation_loss`` how far the loss rises (nats per image).
            ``completeness`` is a quality of the layer's conductances: the mean absolute difference between their sum
            and the change of the logit from zero features to the image's, as a share of that change; 0 is exact.
    """

    table: pd.DataFrame

    def overall(self, layer: int, measure: str = "conductance") -> pd.Series:
        """Returns a measure over all images by unit index, of one layer."""
        rows = self.table[(self.table["class"] == -1) & (self.table["layer"] == layer)]
        return pd.Series(rows[measure].to_numpy(), index=rows["index"].to_numpy())


def importance(head: TrainedHead, masks: Masks, features: Tensor, labels: Tensor) -> Importance:
    """Measures every kept unit of a head.

    Args:
        head: a trained compact head.
        masks: the masks it was cut by, which say what its units are called.
        features: full-width features of n >= 1 images, ``(n, D)``.
        labels: the class of each image, ``(n,)`` int64.

    Raises:
        UsageError: there are no images, the head's training failed, or a layer keeps no unit, so that nothing reaches
            the classes.

    Sources: conductance, Dhamdhere, Sundararajan and Yan (2019); internal influence, Leino et al. (2018); both as in
    captum, for all units of a layer at once.
    """
    _check(head, features)
    network = head.module()
    features, labels = features.detach().cpu().float(), labels.cpu()
    tables = []
    for layer, mask in enumerate(masks):
        kept, place = mask.nonzero()[:, 0], _place(layer)
        conductance, completeness = conductances(head, features, labels, layer)
        values = {
            "conductance": conductance,
            "influence": _influence(network, network[place], features, labels),
            **_ablation(network, place, features, labels),
        }
        name = "feature" if layer == 0 else f"hidden {layer} neuron"
        for label in (-1, *labels.unique().tolist()):
            rows = slice(None) if label == -1 else (labels == label)
            tables.append(
                pd.DataFrame(
                    {
                        "unit": [f"{name} {i}" for i in kept.tolist()],
                        "layer": layer,
                        "index": kept.numpy(),
                        "class": label,
                        "images": len(labels[rows]),
                        **{measure: each[rows].mean(0).numpy() for measure, each in values.items()},
                        "completeness": completeness,
                    }
                )
            )
    return Importance(pd.concat(tables, ignore_index=True))


def conductances(head: TrainedHead, features: Tensor, labels: Tensor, layer: int = 0) -> tuple[Tensor, float]:
    """Returns the conductance of each kept unit of a layer for each image, and how far they are from complete.

    Args:
        head: a trained compact head.
        features: full-width features of n >= 1 images, ``(n, D)``.
        labels: the class whose logit is attributed, ``(n,)`` int64.
        layer: 0 for the features, i for hidden layer i.

    Returns:
        ``(n, kept units)`` in logits, and ``completeness`` as in :class:`Importance`.

    Raises:
        UsageError: as :func:`importance`.
    """
    from captum.attr import LayerConductance

    _check(head, features)
    network = head.module()
    features, labels = features.detach().cpu().float(), labels.cpu()
    parts: list[Tensor] = []
    off, change = 0.0, 0.0
    method: Any = LayerConductance(network, network[_place(layer)])
    for x, y in _batches(features, labels, _ROWS // STEPS):
        given = method.attribute(
            x, baselines=0.0, target=y, n_steps=STEPS, method="riemann_trapezoid", return_convergence_delta=True
        )
        parts.append(given[0].detach())
        with torch.no_grad():
            total = (network(x) - network(torch.zeros_like(x)))[torch.arange(len(y)), y]
        off, change = off + float(given[1].abs().sum()), change + float(total.abs().sum())
    return torch.cat(parts), off / change if change else off


def _influence(network: nn.Sequential, layer: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
    from captum.attr import InternalInfluence

    method: Any = InternalInfluence(network, layer)
    return torch.cat(
        [
            method.attribute(x, baselines=0.0, target=y, n_steps=STEPS).detach()
            for x, y in _batches(features, labels, _ROWS // STEPS)
        ]
    )


@torch.no_grad()
def _ablation(network: nn.Sequential, place: int, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Zeroes each unit in turn; returns the fall of the own class's logit and the rise of the loss, (n, units) each."""
    following, rest = network[place + 1], network[place + 2 :]
    assert isinstance(following, nn.Linear)
    active = network[: place + 1](features)
    before = following(active)
    logits = rest(before)
    count, width = active.shape
    own = torch.arange(count)
    loss = functional.cross_entropy(logits, labels, reduction="none")
    fall, rise = torch.empty(count, width), torch.empty(count, width)
    for units in torch.arange(width).split(max(1, _ROWS // count)):
        # What one unit adds to the next layer is a product of two vectors; the others need not be summed again.
        without = before - active.T[units, :, None] * following.weight.T[units, None]
        changed = rest(without)
        fall[:, units] = (logits[own, labels] - changed[:, own, labels]).T
        target = labels.expand(len(units), -1)
        rise[:, units] = (functional.cross_entropy(changed.movedim(-1, 1), target, reduction="none") - loss).T
    return {"ablation": fall, "ablation_loss": rise}


def _place(layer: int) -> int:
    """Returns where in a head's module a unit layer's output is: the selection of features, then each activation."""
    return 2 * layer


def _batches(features: Tensor, labels: Tensor, size: int) -> Sequence[tuple[Tensor, Tensor]]:
    # Captum warns of inputs that did not ask for gradients.
    return [(x.clone().requires_grad_(), y) for x, y in zip(features.split(size), labels.split(size), strict=True)]


def _check(head: TrainedHead, features: Tensor) -> None:
    if not len(features):
        raise UsageError("importance of units needs at least one image")
    if head.failed:
        raise UsageError("the training of this head diverged; choose another member")
    if min(head.widths) == 0:
        raise UsageError("this head has a layer without units, so nothing reaches the classes; choose another member")
