"""A training step on a GPU as one launch: recorded as a CUDA graph, and replayed for every batch after that.

A step of a stack of heads is some forty small kernels, each launched from Python. A graph launches them together, and
nothing in it waits for the host.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from moprune.population.without_python import WithoutPython

S = TypeVar("S")

Step = Callable[[Tensor, Tensor, float | Tensor], Tensor]
"""Takes inputs, targets and the rate, moves tensors in place, and returns a tensor of the losses."""

Recorder = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]
"""Takes what reads and writes the same tensors each time; returns what does it again, result in the same tensor."""

_WARM_UP = 3  # calls before a graph is recorded: libraries choose their kernels in the first ones


def cuda_graph(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Records what a call launches, without running it; returns what launches it again."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


class Replayed:
    """A step that is recorded for batches of the first one's size; others are taken as they come.

    Args:
        step: all that it moves stays where it is, and it does not look at numbers on the device.
        record: makes the recording.
    """

    def __init__(self, step: Step, record: Recorder = cuda_graph) -> None:
        self._step, self._record = step, record
        self._calls = 0
        self._inputs: tuple[Tensor, Tensor, Tensor] | None = None
        self._again: Callable[[], Tensor] | None = None

    def __call__(self, x: Tensor, targets: Tensor, rate: float) -> Tensor:
        """Takes a step; returns losses of its own memory."""
        if self._inputs is None:
            self._inputs = x.clone(), targets.clone(), torch.tensor(rate, device=x.device)
        own_x, own_targets, own_rate = self._inputs
        if x.shape != own_x.shape:
            return self._step(x, targets, rate)
        own_x.copy_(x)
        own_targets.copy_(targets)
        own_rate.fill_(rate)
        if self._calls < _WARM_UP:
            self._calls += 1
            return self._step(own_x, own_targets, own_rate)
        if self._again is None:
            self._again = self._record(lambda: self._step(own_x, own_targets, own_rate))
        return self._again().clone()


def launched(
    step: WithoutPython[[S, Tensor, Tensor, float | Tensor], Tensor], state: S, device: torch.device
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Returns the step on a state as it is fastest on a device: replayed on a GPU, without Python elsewhere."""
    return Replayed(partial(step.function, state)) if device.type == "cuda" else partial(step, state)
