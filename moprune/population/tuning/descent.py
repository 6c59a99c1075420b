"""Trained tensors as one vector, and the optimisers on it: one step is a handful of operations, whatever is trained."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from moprune.networks.low_rank import Factors, factor_shapes, merged
from moprune.networks.selection import State
from moprune.population.batches import laid_out
from moprune.population.tuning.recipe import TuningRecipe
from moprune.seeding import torch_generator

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class Leaves:
    """The tensors that gradients are taken of, as views of one vector.

    Args:
        start: initial value of each trained parameter, on the device; is copied.
        rates: its learning rate as a factor of the base rate.
        ranks: of those trained as a change of low rank.
        seed: of the factors.

    Attributes:
        vector: (N,) all that is trained.
        rates: (N,) factors of the base rate.
    """

    def __init__(self, start: State, rates: Mapping[str, float], ranks: Mapping[str, int], seed: int) -> None:
        self._base: State = {}
        tensors: dict[tuple[str, str], Tensor] = {}
        for name, value in start.items():
            shapes = factor_shapes(value.shape, ranks[name]) if name in ranks else None
            if shapes is None:
                tensors[name, "whole"] = laid_out(value)
            else:
                self._base[name] = laid_out(value)
                tensors[name, "up"] = value.new_zeros(shapes[0])
                tensors[name, "down"] = _uniform(shapes[1], seed, name).to(value)
        self.vector = torch.cat([_flat(tensor) for tensor in tensors.values()])
        self.rates = torch.cat([torch.full_like(_flat(tensor), rates[name]) for (name, _), tensor in tensors.items()])
        parts = self.vector.split([tensor.numel() for tensor in tensors.values()])
        self._leaves = {
            key: _shaped(part, tensor).detach().requires_grad_()
            for (key, tensor), part in zip(tensors.items(), parts, strict=True)
        }

    def state(self) -> State:
        """Returns the trained parameters as the network reads them; gradients flow to the vector's parts."""
        whole = {name: leaf for (name, part), leaf in self._leaves.items() if part == "whole"}
        return whole | {
            name: laid_out(base + (self._leaves[name, "up"] @ self._leaves[name, "down"]).view(base.shape))
            for name, base in self._base.items()
        }

    def gradient(self, loss: Tensor) -> Tensor:
        """Returns the gradient (N,) of a loss; a tensor that it does not depend on will not be moved by any step."""
        leaves = list(self._leaves.values())
        slopes = torch.autograd.grad(loss, leaves, allow_unused=True) if loss.requires_grad else [None] * len(leaves)
        parts = []
        for leaf, slope, rates in zip(leaves, slopes, self.rates.split([x.numel() for x in leaves]), strict=True):
            if slope is None:
                rates.zero_()
            parts.append(_flat(laid_out(torch.zeros_like(leaf) if slope is None else slope)))
        return torch.cat(parts)

    def factors(self) -> dict[str, Factors]:
        """Returns copies of the changes of low rank, on the CPU."""
        copies = {key: leaf.detach().cpu().clone() for key, leaf in self._leaves.items() if key[0] in self._base}
        return {name: Factors(copies[name, "up"], copies[name, "down"]) for name in self._base}

    def finished(self) -> State:
        """Returns copies of the trained parameters on the CPU, changes of low rank merged."""
        factors = self.factors()
        whole = {name: leaf.detach() for (name, part), leaf in self._leaves.items() if part == "whole"}
        tensors = whole | {name: merged(base.cpu(), factors[name]) for name, base in self._base.items()}
        return {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


class Descent:
    """An optimiser of one vector, each number at a rate of its own, in place; Adam, AdamW and SGD are torch's.

    Args:
        recipe: which, and its coefficients.
        vector: (N,), moved by each step.
        rates: (N,), factors of the rate.
    """

    def __init__(self, recipe: TuningRecipe, vector: Tensor, rates: Tensor) -> None:
        self._recipe, self._vector, self._rates = recipe, vector, rates
        self._first, self._second = torch.zeros_like(vector), torch.zeros_like(vector)
        self._steps = 0

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """Takes a step.

        Args:
            gradient: (N,), is written to.
            rate: the base rate.
        """
        recipe = self._recipe
        self._steps += 1
        if recipe.weight_decay and recipe.optimiser == "adamw":
            self._vector.addcmul_(self._vector, self._rates, value=-rate * recipe.weight_decay)
        elif recipe.weight_decay:
            gradient.add_(self._vector, alpha=recipe.weight_decay)
        if recipe.optimiser == "sgd":
            self._first.mul_(recipe.momentum).add_(gradient)
            self._vector.addcmul_(self._first, self._rates, value=-rate)
        else:
            self._adam(gradient, rate)

    def _adam(self, gradient: Tensor, rate: float) -> None:
        first, second = _BETAS
        self._first.lerp_(gradient, 1 - first)
        self._second.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        scale = self._second.sqrt().div_(math.sqrt(1 - second**self._steps)).add_(_EPSILON)
        torch.mul(self._first, self._rates, out=gradient)
        self._vector.addcdiv_(gradient, scale, value=-rate / (1 - first**self._steps))


def _uniform(shape: tuple[int, int], seed: int, name: str) -> Tensor:
    """Kaiming-uniform numbers with a = sqrt(5), LoRA's initial ``down``: within 1 / sqrt(columns)."""
    return (2 * torch.rand(shape, generator=torch_generator(seed, "factors", name)) - 1) / math.sqrt(shape[1])


def _flat(tensor: Tensor) -> Tensor:
    """Returns a tensor as a vector in the order it is laid out in memory."""
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).reshape(-1)


def _shaped(vector: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_flat`: a view."""
    if like.ndim != 4:
        return vector.view(like.shape)
    a, b, c, d = like.shape
    return vector.view(a, c, d, b).permute(0, 3, 1, 2)
