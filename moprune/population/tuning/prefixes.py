"""What of a network comes before the first tensor that a candidate changes: run once, and kept for those after it."""

from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from moprune.networks.modes import device_of
from moprune.networks.suffix import Suffix, tensors_in_order
from moprune.population.batches import laid_out
from moprune.population.tuning.job import Labelled
from moprune.population.tuning.training import BATCH, Ready


class Prefixes:
    """The ways to cut a network in two, and the activations there.

    A cut is before a tensor, in the order in which the network reads them: all tensors from there on may change. So
    there are no more cuts than tensors, and candidates that change different things behind the same one share it.

    Args:
        network: frozen, in evaluation mode.
        share: whether to cut at all; otherwise everything is behind the cut.
        memory: bytes of activations kept.
    """

    def __init__(self, network: nn.Module, share: bool, memory: int) -> None:
        self._network, self._memory = network, memory
        self._order = tensors_in_order(network)
        self._places = {name: place for place, name in enumerate(self._order)}
        self._share = share and not any(
            isinstance(module, _BatchNorm) and not module.track_running_stats for module in network.modules()
        )
        self._cuts: dict[int, Suffix] = {}
        self._kept: OrderedDict[tuple[int, int], _Kept] = OrderedDict()
        self._lock = Lock()

    def cut(self, changed: Collection[str]) -> int:
        """Returns the number of the last cut before all of some tensors, made ready for `at`.

        Not for threads: while a network is traced no other may run.
        """
        cut = min(self._places[name] for name in changed) if self._share else 0
        for each in {0, cut} - self._cuts.keys():
            self._cuts[each] = Suffix(self._network, self._order[each:])
        return cut if self._cuts[cut].cached else 0

    @contextmanager
    def at(self, cut: int, *data: Labelled) -> Iterator[tuple[Suffix, list[Ready]]]:
        """Lends what comes behind a cut, and data up to there, to one thread.

        Where the activations would not fit into the memory, the cut is before the first tensor.
        """
        with ExitStack() as stack:
            with self._lock:
                ready = [self._ready(cut, labelled) for labelled in data]
                if None in ready:
                    cut, ready = 0, [self._ready(0, labelled) for labelled in data]
                suffix = stack.enter_context(self._cuts[cut].lent())
            yield suffix, [each for each in ready if each is not None]

    def _ready(self, cut: int, data: Labelled) -> Ready | None:
        """Returns data up to a cut; None where it does not fit."""
        key = cut, id(data.inputs)
        if key not in self._kept:
            suffix = self._cuts[cut]
            place = device_of(self._network)
            # Two images are enough to see that the halves make the whole, and how large activations are.
            two = sum(part.nbytes for part in suffix.frontier(laid_out(data.inputs[:2].to(place))))
            size = two * len(data.labels) // 2
            if cut > 0 and size > self._memory:
                return None
            while self._kept and size + sum(kept.size for kept in self._kept.values()) > self._memory:
                self._kept.popitem(last=False)
            self._kept[key] = _Kept(data.inputs, _activations(suffix, data.inputs, place), size)
        self._kept.move_to_end(key)
        return Ready(self._kept[key].activations, data.labels.to(device_of(self._network)))


class _Kept(NamedTuple):
    """Activations of some inputs, which are kept too so that nothing else gets their id; their bytes."""

    inputs: Tensor
    activations: tuple[Tensor, ...]
    size: int


def _activations(suffix: Suffix, inputs: Tensor, place: torch.device) -> tuple[Tensor, ...]:
    if not suffix.cached:
        return (laid_out(inputs.to(place)),)
    parts = [suffix.frontier(laid_out(part.to(place))) for part in inputs.split(BATCH)]
    return tuple(laid_out(torch.cat(part)) for part in zip(*parts, strict=True))
