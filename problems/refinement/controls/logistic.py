"""Logistic regression on the frozen features: the convex optimum that a search of the head has to beat."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moprune.devices import resolve_device
from moprune.errors import UsageError
from moprune.networks.features import head_of
from moprune.networks.heads import HeadSpec
from moprune.networks.modes import evaluating, placed
from moprune.networks.selection import State
from moprune.population import TrainingSet
from problems.pruning.controls.linear import Standardised
from problems.pruning.controls.logistic import STRENGTHS, choose_strength, fit_logistic
from problems.refinement.controls.points import Labelled, Point, Setting


def logistic_regression(setting: Setting) -> list[Point]:
    """Returns the network with a classifier fitted by scikit-learn on its features, with an L2 penalty.

    ``train``: fitted on the train split with the strength of least search loss. ``search``: fitted on the search split
    with a strength chosen by cross-validation there; its loss on that split is that of training. The budget pays for
    forward passes, not for the solver.
    """
    train, _ = setting.affordable(setting.train)
    head = _Head.of(setting)
    candidates = head.fits(train, STRENGTHS)
    best = int(setting.losses_of(candidates).argmin())
    features = head.features(setting.search)
    strength = choose_strength(Standardised.of(features), setting.seed)
    return [
        Point("train", (candidates[best],), len(train.labels) + setting.scored(len(candidates))),
        Point("search", (head.fit(Standardised.of(features), strength),), setting.scored(1)),
    ]


def has_linear_head(setting: Setting) -> bool:
    """Suits networks that end in a linear layer with a bias."""
    try:
        head = setting.network.get_submodule(head_of(setting.network))
    except UsageError:
        return False
    return isinstance(head, nn.Linear) and head.bias is not None


@dataclass(frozen=True, eq=False)
class _Head:
    """A network's classifier, to be fitted anew."""

    network: nn.Module
    name: str
    device: torch.device
    batch_size: int

    @classmethod
    def of(cls, setting: Setting) -> "_Head":
        name, device = head_of(setting.network), resolve_device(setting.device)
        return cls(setting.network, name, device, setting.recipe.batch_size)

    def features(self, data: Labelled) -> TrainingSet:
        """Returns what the classifier reads of some inputs, ``(n, D)``, and their labels."""
        seen: list[Tensor] = []
        head = self.network.get_submodule(self.name)
        hook = head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach().cpu()))
        try:
            with placed(self.network, self.device), evaluating(self.network), torch.no_grad():
                for batch in data.inputs.split(self.batch_size):
                    self.network(batch.to(self.device))
        finally:
            hook.remove()
        return TrainingSet(torch.cat(seen), data.labels)

    def fits(self, data: Labelled, strengths: tuple[float, ...]) -> list[State]:
        """Returns the classifier fitted with each strength."""
        standardised = Standardised.of(self.features(data))
        return [self.fit(standardised, strength) for strength in strengths]

    def fit(self, data: Standardised, strength: float) -> State:
        """Returns the classifier fitted with a strength."""
        head = self.network.get_submodule(self.name)
        assert isinstance(head, nn.Linear)
        spec = HeadSpec(head.in_features, (), head.out_features)
        linear = data.head(spec, *fit_logistic(data, strength), torch.device("cpu"))
        (matrix,), (bias,) = linear.weights.matrices, linear.weights.biases
        assert bias is not None
        weight = torch.zeros(head.out_features, head.in_features)
        weight[:, linear.kept] = matrix.T
        return {f"{self.name}.weight": weight, f"{self.name}.bias": bias}
