"""The tensors that a job trains, and the optimisers that move them."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from moprune.networks.low_rank import Factors, factor_shapes, merged
from moprune.networks.selection import State
from moprune.population.tuning.recipe import TuningRecipe
from moprune.seeding import torch_generator

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class Leaves:
    """What is trained, and the parameters of the network that it makes.

    A parameter that is trained as a change of low rank is put together anew after each step; where its gradient is G,
    those of the factors are ``G @ down.T`` and ``up.T @ G``.

    Args:
        start: initial value of each trained parameter, on the device; is copied.
        rates: its learning rate as a factor of the base rate.
        ranks: of those trained as a change of low rank.
        seed: of the factors.

    Attributes:
        state: the parameters as the network reads them, the same tensors at all times; gradients are taken of these.
        trained: the tensors that are moved, parameters and factors, without gradients.
        rates: factor of the base rate of each of these.
    """

    def __init__(self, start: State, rates: Mapping[str, float], ranks: Mapping[str, int], seed: int) -> None:
        copies = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in start.items()}
        self.state = {name: value.clone().requires_grad_() for name, value in copies.items()}
        self._changes: dict[str, tuple[Tensor, Factors]] = {}
        self.trained: list[Tensor] = []
        self.rates: list[float] = []
        for name, leaf in self.state.items():
            own: Sequence[Tensor] = [leaf.detach()]
            shapes = factor_shapes(leaf.shape, ranks[name]) if name in ranks else None
            if shapes is not None:
                own = Factors(leaf.new_zeros(shapes[0]), _uniform(shapes[1], seed, name).to(leaf))
                self._changes[name] = copies[name], own
            self.trained += own
            self.rates += [rates[name]] * len(own)

    def gradients(self, loss: Tensor) -> list[Tensor | None]:
        """Returns the gradient of a loss by each of the trained tensors; None for one that it does not depend on."""
        leaves = list(self.state.values())
        slopes = torch.autograd.grad(loss, leaves, allow_unused=True) if loss.requires_grad else [None] * len(leaves)
        gradients: list[Tensor | None] = []
        for name, slope in zip(self.state, slopes, strict=True):
            if name not in self._changes:
                gradients.append(slope)
            elif slope is None:
                gradients += [None, None]
            else:
                up, down = self._changes[name][1]
                matrix = slope.reshape(len(up), -1)
                gradients += [matrix @ down.T, up.T @ matrix]
        return gradients

    def refresh(self) -> None:
        """Makes the parameters follow their factors, after each step."""
        if self._changes:
            with torch.no_grad():
                for name, (base, (up, down)) in self._changes.items():
                    torch.add(base, (up @ down).view(base.shape), out=self.state[name])

    def factors(self) -> dict[str, Factors]:
        """Returns copies of the changes of low rank, on the CPU."""
        return {name: Factors(*(part.cpu().clone() for part in own)) for name, (_, own) in self._changes.items()}

    def finished(self) -> State:
        """Returns copies of the parameters on the CPU, changes of low rank merged."""
        whole = {name: leaf.detach().cpu().clone() for name, leaf in self.state.items() if name not in self._changes}
        factors = self.factors()
        return whole | {name: merged(base.cpu(), factors[name]) for name, (base, _) in self._changes.items()}


class Descent:
    """An optimiser of some tensors, each at a rate of its own, in place: torch's Adam, AdamW and SGD, fused.

    Args:
        recipe: which, and its coefficients.
        tensors: contiguous, without gradients; moved by each step.
        rates: of each tensor, a factor of the base rate.

    Attributes:
        recipe: as given.
    """

    def __init__(self, recipe: TuningRecipe, tensors: Sequence[Tensor], rates: Sequence[float]) -> None:
        self.recipe = recipe
        self._steps = torch.zeros((), device=tensors[0].device)
        places: defaultdict[float, list[int]] = defaultdict(list)
        for place, factor in enumerate(rates):
            places[factor].append(place)
        self._groups = [_Group.of(factor, own, tensors) for factor, own in places.items()]

    def step(self, gradients: Sequence[Tensor | None], rate: float) -> None:
        """Takes a step.

        Args:
            gradients: of each tensor; None to leave it alone.
            rate: the base rate.
        """
        self._steps += 1
        for group in self._groups:
            # The kernels go through memory, whatever the strides.
            slopes = [None if (slope := gradients[place]) is None else slope.contiguous() for place in group.places]
            if live := [slope for slope in slopes if slope is not None]:
                self._move(group if len(live) == len(slopes) else group.live(slopes), live, rate * group.factor)

    def _move(self, group: "_Group", slopes: list[Tensor], rate: float) -> None:
        recipe = self.recipe
        if recipe.optimiser == "sgd":
            torch._fused_sgd_(
                group.tensors, slopes, group.first if recipe.momentum else [], weight_decay=recipe.weight_decay,
                momentum=recipe.momentum, lr=rate, dampening=0.0, nesterov=False, maximize=False, is_first_step=False,
            )  # fmt: skip
        else:
            kernel = torch._fused_adamw_ if recipe.optimiser == "adamw" else torch._fused_adam_
            kernel(
                group.tensors, slopes, group.first, group.second, [], [self._steps] * len(slopes), lr=rate,
                beta1=_BETAS[0], beta2=_BETAS[1], weight_decay=recipe.weight_decay, eps=_EPSILON, amsgrad=False,
                maximize=False,
            )  # fmt: skip


class _Group(NamedTuple):
    """Tensors of one rate, as the kernels take them, with the two moments of each."""

    factor: float
    places: list[int]
    tensors: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]

    @classmethod
    def of(cls, factor: float, places: list[int], tensors: Sequence[Tensor]) -> "_Group":
        own = [tensors[place] for place in places]
        return cls(factor, places, own, *([torch.zeros_like(tensor) for tensor in own] for _ in range(2)))

    def live(self, slopes: Sequence[Tensor | None]) -> "_Group":
        """Returns the part that has gradients."""
        on = [place for place, slope in enumerate(slopes) if slope is not None]
        tensors, first, second = ([of[place] for place in on] for of in (self.tensors, self.first, self.second))
        return _Group(self.factor, [self.places[place] for place in on], tensors, first, second)


def _uniform(shape: tuple[int, int], seed: int, name: str) -> Tensor:
    """Kaiming-uniform numbers with a = sqrt(5), LoRA's initial ``down``: within 1 / sqrt(columns)."""
    return (2 * torch.rand(shape, generator=torch_generator(seed, "factors", name)) - 1) / math.sqrt(shape[1])
