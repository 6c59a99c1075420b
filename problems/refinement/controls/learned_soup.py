"""A learned soup: shares of the members in each layer, by gradient on the search split."""

import math

import torch
from torch.func import functional_call
from torch.nn import functional

from moprune.devices import resolve_device
from moprune.networks.modes import evaluating, placed
from moprune.networks.selection import State
from moprune.population.finetuning import STEP_COST
from moprune.seeding import torch_generator
from problems.refinement.controls.points import Point, Setting
from problems.refinement.genomes import Mixing

LEARNING_RATE = 0.1
EPOCHS = 3


def learned_soup(setting: Setting) -> list[Point]:
    """Returns a learned soup by layer, after Wortsman et al. 2022 (appendix on learned soups).

    The shares of the members in a layer's tensors are a softmax, all equal at first, learnt by Adam (rate
    :data:`LEARNING_RATE`, batches as the recipe has them) over :data:`EPOCHS` epochs of the search split, or what
    the budget reaches. Running statistics are mixed by the shares of their layer, without a gradient.
    """
    device = resolve_device(setting.device)
    data, epochs = setting.affordable(setting.search)
    epochs = min(epochs, EPOCHS)
    inputs, labels = data.inputs.to(device), data.labels.to(device)
    shares = _Shares(setting, device)
    optimiser = torch.optim.Adam([shares.scores], lr=LEARNING_RATE)
    with placed(setting.network, device), evaluating(setting.network), torch.enable_grad():
        for epoch in range(epochs):
            order = torch.randperm(len(labels), generator=torch_generator(setting.seed, "learned soup", epoch))
            for rows in order.to(device).tensor_split(math.ceil(len(labels) / setting.recipe.batch_size)):
                logits = functional_call(setting.network, shares.mixture(), (inputs[rows],))
                optimiser.zero_grad()
                torch.autograd.backward(functional.cross_entropy(logits, labels[rows]))
                optimiser.step()
    return [Point(f"{shares.layers} layers", (shares.state(),), STEP_COST * epochs * len(labels))]


class _Shares:
    """Members mixed layer by layer; ``scores`` (layers, K) are the logarithms of their shares, up to a constant."""

    def __init__(self, setting: Setting, device: torch.device) -> None:
        self._mixing = Mixing(setting.network, setting.states, per="layer")
        self._learnt = {name for name, _ in setting.network.named_parameters()}
        self._members = {
            name: torch.stack([state.get(name, start).to(device) for state in setting.states])
            for name, start in self._mixing.base.items()
        }
        self.layers = len(self._mixing.groups)
        self.scores = torch.zeros(self.layers, len(setting.states), device=device, requires_grad=True)

    def mixture(self) -> State:
        """Returns the mixed tensors, differentiable with respect to ``scores``."""
        mixed = {}
        for shares, names in zip(self.scores.softmax(1), self._mixing.groups.values(), strict=True):
            for name in names:
                each = shares if name in self._learnt else shares.detach()
                mixed[name] = torch.tensordot(each, self._members[name], 1)
        return mixed

    def state(self) -> State:
        """Returns the mixed tensors, as the search would mix them."""
        return self._mixing.weights(self.scores.detach().double().softmax(1).flatten().cpu().numpy())
