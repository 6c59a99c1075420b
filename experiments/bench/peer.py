"""A vectorised peer: EvoTorch's ``Problem`` that scores all candidates at once, by ``torch.func.vmap``.

EvoTorch (Toklu et al. 2023) keeps a population as one matrix and hands it to a vectorised fitness function. What one
writes for a network's weights is `torch.func.functional_call` under ``vmap``: layers before the changed ones run once.
"""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional

from experiments.bench.trials import Setting
from moprune.networks.modes import device_of
from moprune.networks.selection import State
from moprune.optional import require


class Vectorised:
    """Candidates as EvoTorch has them, and images ready on the device.

    Args:
        setting: network and images.
        states: the candidates, which all change the same tensors.
        batch_size: images at once.

    Raises:
        UsageError: EvoTorch is not installed.
    """

    def __init__(self, setting: Setting, states: Sequence[State], batch_size: int) -> None:
        evotorch = _evotorch()
        self._network, self._shapes = setting.network, {name: value.shape for name, value in states[0].items()}
        place, split = device_of(setting.network), setting.split
        images = torch.stack([setting.preprocess(split.inputs[i]) for i in range(len(split))]).to(place)
        self._batches = list(zip(images.split(batch_size), split.labels.to(place).split(batch_size), strict=True))
        genomes = torch.stack([torch.cat([value.flatten() for value in state.values()]) for state in states]).to(place)
        self._problem = evotorch.Problem(
            "min", self._fitness, solution_length=genomes.shape[1], dtype=torch.float32, device=place, vectorized=True
        )
        self._batch = evotorch.SolutionBatch(self._problem, len(states), empty=True)
        self._batch.set_values(genomes)

    def losses(self) -> list[float]:
        """Scores all candidates; returns the mean loss of each in nats."""
        self._batch.forget_evals()
        self._problem.evaluate(self._batch)
        found: list[float] = self._batch.evals[:, 0].tolist()
        return found

    @torch.no_grad()
    def _fitness(self, genomes: Tensor) -> Tensor:
        sizes = [shape.numel() for shape in self._shapes.values()]
        pieces = genomes.as_subclass(Tensor).split(sizes, dim=1)
        tensors = {
            name: piece.view(-1, *shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)
        }
        total = torch.zeros(len(genomes), device=genomes.device)
        for images, labels in self._batches:
            logits = vmap(lambda state, x=images: functional_call(self._network, state, (x,)))(tensors)
            total += vmap(lambda each, y=labels: functional.cross_entropy(each, y, reduction="sum"))(logits)
        return total / sum(len(labels) for _, labels in self._batches)


def _evotorch() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit, which EvoTorch uses while it is imported
        module = require("evotorch", "bench")
    logging.getLogger("evotorch").setLevel(logging.WARNING)
    logging.getLogger("evotorch.core").setLevel(logging.WARNING)
    return module
