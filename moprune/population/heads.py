"""Training a population of masked heads on frozen features.

Every candidate starts from the same initial weights and sees the same batches; only its masks differ. Results
do not depend on the order of the candidates or on how they are cut into chunks.

Two strategies give the same heads to float tolerance:

``loop``
    one compact head after another, a core each, forward and backward written out. A pruned unit costs nothing. Fastest
    on a CPU for all but tiny heads.
``stacked``
    all heads at full width in lock-step, as batched matrix products. Fastest for tiny heads, and on a GPU.

Without epochs there is nothing to train: each head is cut out of the start weights and nothing else is done.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TypeVar

import torch
from torch import Tensor

from moprune.data.rows import StoredFeatures
from moprune.errors import MopruneError, UsageError, not_one_of
from moprune.networks.heads import Connections, HeadSpec, HeadWeights, Masks, TrainedHead, placed_on
from moprune.population import _loop, _stacked
from moprune.population._descent import Learner
from moprune.population.committee import Committee
from moprune.population.committee import fit as fit_committees
from moprune.population.committee import learners as committee_learners
from moprune.population.streaming import Stream, teach
from moprune.population.training import Training
from moprune.population.workers import in_parallel

R = TypeVar("R")

STRATEGIES = ("auto", "loop", "stacked")

# Below this many weights a head's training time is the launching of operations, not arithmetic, and lock-step wins.
# Measured with batches of 32 on two cores, microseconds a candidate and step, loop to stacks: 26 to 20 at 128 x 64, 34
# to 31 at 224 x 112, 36 to 40 at 256 x 128, 119 to 442 at 640 x 512.
_TINY_HEAD = 30_000
# Heads stacked at once on a CPU: enough to spread the dispatch, few enough to stay in a core's cache.
_CPU_STACK = 16
# Heads that share a pass over features on disk: bytes of their weights, momentum, gradient and best weights, at most.
_HEADS_BYTES = 2**30


@dataclass(frozen=True)
class TrainingSet:
    """Features and labels of some images.

    Attributes:
        matrix: features ``(n, D)`` float32, on the device where heads are trained, or on disk if they do not fit there.
        labels: ``(n,)`` int64 on the device where heads are trained.
    """

    matrix: Tensor | StoredFeatures
    labels: Tensor

    @property
    def device(self) -> torch.device:
        """Where heads are trained."""
        return self.labels.device

    @property
    def features(self) -> Tensor:
        """All features, for what needs them in memory.

        Raises:
            UsageError: they are on disk.
        """
        return in_memory(self.matrix)


def in_memory(matrix: Tensor | StoredFeatures) -> Tensor:
    """Returns features that are in memory.

    Raises:
        UsageError: they are on disk.
    """
    if isinstance(matrix, StoredFeatures):
        raise UsageError(
            f"this needs all features in memory, and these {matrix.nbytes / 2**30:.3g} GiB stay on disk; leave it out, "
            "or raise pruning.memory_limit"
        )
    return matrix


def fit_heads(
    spec: HeadSpec,
    masks: Sequence[Masks],
    data: TrainingSet,
    start: HeadWeights,
    training: Training,
    *,
    then: Callable[[TrainedHead], R],
    seed: int,
    strategy: str = "auto",
    chunk: int | None = None,
    committee: Committee | None = None,
) -> Iterator[R]:
    """Trains one head for each candidate, applies ``then`` to it, and yields the results in order.

    Args:
        spec: the shape before pruning.
        masks: each candidate's masks, one per unit layer of ``spec``, or its :class:`Connections`. Asked for one by
            one, some for their size first, so that a sequence may make them when they are wanted.
        data: the training set; its device is where the work is done.
        start: full-width initial weights, common to all candidates.
        training: how to train.
        then: what is wanted of a trained head (scores, say; ``lambda head: head`` for the head itself). Runs beside
            the training of other candidates, without gradients, so that a head need not outlive it.
        seed: seeds the order of the batches, common to all candidates.
        strategy: one of :data:`STRATEGIES`.
        chunk: candidates trained at once; by default as many as memory allows.
        committee: train each head as a committee of small ones, whose members are always in lock-step; ``stacked``
            are several committees.

    Raises:
        UsageError: unknown strategy, or masks that do not fit the shape.
        MopruneError: a single candidate does not fit into the device's memory.
    """
    if strategy not in STRATEGIES:
        raise not_one_of("strategy", strategy, STRATEGIES)
    if chunk is not None and chunk < 1:
        raise UsageError(f"chunk must be >= 1, not {chunk}")
    device = data.device
    start = start.to(device)
    chosen = choose_strategy(spec, device, committee) if strategy == "auto" else strategy
    fit: Callable[..., list[TrainedHead]] = _loop.fit if chosen == "loop" else _stacked.fit
    if committee is not None:
        fit = partial(fit_committees, committee=committee, together=chosen == "stacked")

    @torch.inference_mode()
    def work(part: Sequence[int], stop: Event) -> list[R]:
        placed = [placed_on(_checked(spec, masks[i]), device) for i in part]
        if training.epochs == 0 and committee is None:
            return [then(TrainedHead.of(spec, each, start.compact(each), epochs=0)) for each in placed]
        return [then(head) for head in fit(spec, placed, data.features, data.labels, start, training, seed, stop)]

    candidates = range(len(masks))
    size = stack_size(spec, device, strategy, chunk, committee)
    if isinstance(data.matrix, StoredFeatures) and (training.epochs > 0 or committee is not None):
        make: Callable[..., list[Learner]] = _loop.learners if chosen == "loop" else _stacked.learners
        if committee is not None:
            make = partial(committee_learners, committee=committee, together=chosen == "stacked")
        stream = Stream(data.matrix, data.labels, spec.classes)
        work = partial(_streamed, spec, masks, stream, start, training, then, seed, make, size)
        size = None if size is None else size * max(1, _HEADS_BYTES // (16 * spec.parameters() * size))
        yield from _one_by_one(work, candidates, size or chunk_size(spec, training, device), spec, device)
    elif device.type == "cpu" and size is not None:
        parts = [candidates[i : i + size] for i in candidates[::size]]
        for results in in_parallel(work, parts, torch.get_num_threads(), cost=partial(_weights, spec, masks)):
            yield from results
    else:
        yield from _one_by_one(work, candidates, size or chunk_size(spec, training, device), spec, device)


def _weights(spec: HeadSpec, masks: Sequence[Masks], part: Sequence[int]) -> int:
    """Returns how many weights some candidates have together."""
    return sum(spec.parameters([int(mask.sum()) for mask in masks[i]]) for i in part)


@torch.inference_mode()
def _streamed(
    spec: HeadSpec,
    masks: Sequence[Masks],
    stream: Stream,
    start: HeadWeights,
    training: Training,
    then: Callable[[TrainedHead], R],
    seed: int,
    make: Callable[..., list[Learner]],
    size: int | None,
    part: Sequence[int],
    _stop: Event,
) -> list[R]:
    """Trains the heads of some candidates together, on features on disk; ``size`` neighbours share a stack."""
    device = stream.labels.device
    placed = [placed_on(_checked(spec, masks[i]), device) for i in part]
    size = size or len(placed)
    stacks = [placed[i : i + size] for i in range(0, len(placed), size)]
    learners = [learner for stack in stacks for learner in make(spec, stack, start, training)]
    workers = torch.get_num_threads() if device.type == "cpu" and size == 1 else 1
    teach(learners, stream, training, seed, workers)

    @torch.inference_mode()
    def scored(head: TrainedHead, _stop: Event) -> R:
        return then(head)

    return list(in_parallel(scored, (head for learner in learners for head in learner.heads()), workers))


def _one_by_one(
    work: Callable[[Sequence[int], Event], list[R]],
    candidates: Sequence[int],
    size: int,
    spec: HeadSpec,
    device: torch.device,
) -> Iterator[R]:
    """Yields the results of one chunk after another; a chunk that does not fit into memory is halved."""
    done = 0
    while done < len(candidates):
        part = candidates[done : done + size]
        try:
            results = work(part, Event())
        except torch.cuda.OutOfMemoryError as error:
            if size == 1:
                raise MopruneError(
                    f"one head of {spec.parameters():,} weights does not fit into the memory of {device}; "
                    "use device cpu or smaller hidden layers"
                ) from error
            torch.cuda.empty_cache()
            size = max(1, size // 2)
            continue
        yield from results
        done += len(part)


def choose_strategy(spec: HeadSpec, device: torch.device, committee: Committee | None = None) -> str:
    """Returns the faster strategy for a head of this shape on this kind of device.

    Committees are never stacked on a CPU: their products would be rounded by who else is in the stack.
    """
    return "loop" if device.type == "cpu" and (committee or spec.parameters() > _TINY_HEAD) else "stacked"


def stack_size(
    spec: HeadSpec, device: torch.device, strategy: str, chunk: int | None, committee: Committee | None = None
) -> int | None:
    """Returns how many neighbouring candidates :func:`fit_heads` trains at once; None for as many as memory allows."""
    if device.type != "cpu":
        return chunk
    chosen = choose_strategy(spec, device, committee) if strategy == "auto" else strategy
    return 1 if chosen == "loop" else chunk or _CPU_STACK


def chunk_size(spec: HeadSpec, training: Training, device: torch.device) -> int:
    """Returns how many full-width heads fit at once into half of a CUDA device's free memory (at most 512)."""
    copies = 4 if training.restore_best else 3  # weights, momentum, gradient, best weights
    widths = sum(spec.units) + spec.classes
    each = 4 * (copies * spec.parameters() + 4 * training.batch_size * widths)
    return int(max(1, min(512, torch.cuda.mem_get_info(device)[0] // 2 // each)))


def _checked(spec: HeadSpec, masks: Masks) -> Masks:
    """Returns a candidate's masks if they fit the shape."""
    widths = tuple(len(mask) for mask in masks)
    if widths != spec.units or any(mask.dtype != torch.bool for mask in masks):
        raise UsageError(
            f"masks must be boolean with widths {spec.units} (features, then hidden layers), not {widths} "
            f"of {sorted({str(mask.dtype) for mask in masks})}"
        )
    if isinstance(masks, Connections) and masks.spec != spec:
        raise UsageError(f"connections of {masks.spec} were given for {spec}")
    return masks
