"""Training heads on features that stay on disk: all learn from each block of batches while the next one is read.

Reading is what is shared: an epoch is one pass over the files, however many heads there are. Batches, and what a head
does with each, are those of training in memory, so that the heads are the same bit for bit.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from moprune.data.rows import BLOCK_BYTES, StoredFeatures
from moprune.population._descent import Learner
from moprune.population.training import Training
from moprune.population.workers import give_up_if, in_parallel

Block = list[tuple[Tensor, Tensor]]
"""Batches that follow each other: features ``(b, D)`` and targets ``(b, C)`` each."""


@dataclass(frozen=True, eq=False)
class Stream:
    """A training set whose features stay on disk.

    Args:
        features: ``(n, D)``.
        labels: ``(n,)`` int64, on the device where heads are trained.
        classes: their number C.
    """

    features: StoredFeatures
    labels: Tensor
    classes: int

    def blocks(self, training: Training, epoch: int, seed: int) -> Iterator[Block]:
        """Yields the batches of an epoch in order, many at a time; the next ones are being read meanwhile."""
        batches = training.batches(len(self.features), epoch, seed, torch.device("cpu"))
        with ThreadPoolExecutor(1, thread_name_prefix="moprune-features") as reader:
            ahead = None
            for group in self._groups(list(batches)):
                following = reader.submit(self._read, group)
                if ahead is not None:
                    yield ahead.result()
                ahead = following
            if ahead is not None:
                yield ahead.result()

    def _groups(self, batches: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
        """Yields as many batches at a time as make a block, at least one."""
        count = max(1, BLOCK_BYTES // (4 * self.features.shape[1] * len(batches[0])))
        for first in range(0, len(batches), count):
            yield batches[first : first + count]

    def _read(self, batches: Sequence[Tensor]) -> Block:
        places, sizes = torch.cat(list(batches)), [len(batch) for batch in batches]
        device = self.labels.device
        x = copied_beside(self.features.index_select(0, places), device).split(sizes)
        targets = one_hot(self.labels[places.to(device)], self.classes).float().split(sizes)
        return list(zip(x, targets, strict=True))


def copied_beside(x: Tensor, device: torch.device) -> Tensor:
    """Returns a tensor of the CPU on a device; a GPU goes on with its work while this thread waits for the copy."""
    if device.type != "cuda":
        return x.to(device)
    working, copying = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    with torch.cuda.stream(copying):
        moved = x.pin_memory().to(device, non_blocking=True)
    copying.synchronize()
    moved.record_stream(working)  # else its memory could be handed out again while the work still reads it
    return moved


def teach(learners: Sequence[Learner], stream: Stream, training: Training, seed: int, workers: int) -> None:
    """Trains heads, each on one of the threads for each block, and those that stop early for fewer epochs.

    Args:
        learners: changed in place.
        stream: the training set.
        training: how to train.
        seed: seeds the order of the batches.
        workers: number of threads, >= 1.
    """
    alive = list(learners)
    for epoch in range(1, training.epochs + 1):
        losses = [torch.zeros((), device=stream.labels.device) for _ in alive]
        for block in stream.blocks(training, epoch, seed):
            taught = in_parallel(partial(_taught, block), zip(alive, losses, strict=True), workers)
            losses = list(taught)
        means = [loss / len(stream.labels) for loss in losses]
        alive = [each for each, mean in zip(alive, means, strict=True) if not each.ends(mean)]
        if not alive:
            break


@torch.inference_mode()
def _taught(block: Block, item: tuple[Learner, Tensor], stop: Event) -> Tensor:
    """Returns the sum of a learner's losses so far, after it has learnt from a block."""
    learner, loss = item
    for x, targets in block:
        give_up_if(stop)
        loss = loss + learner.step(x, targets)
    return loss
