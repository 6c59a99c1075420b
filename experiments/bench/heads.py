"""The benchmark of head training: a population of masked heads against the naive loop, in one run.

The naive way is what one writes first: a dense head whose features are multiplied by the mask, trained by
autograd, ``torch.optim.SGD`` and a ``DataLoader`` over the cached features, one candidate after another. Both ways
get the same data, masks, initial weights and batches, and must come to the same logits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from experiments.timing import Spread, device_name, peak, processor, seconds, spread
from moprune.devices import resolve_device
from moprune.errors import MopruneError, UsageError, not_one_of
from moprune.metrics import error
from moprune.networks.heads import HeadSpec, HeadWeights, Masks, TrainedHead, initial_weights
from moprune.population import Training, TrainingSet, fit_heads
from moprune.population.heads import choose_strategy
from moprune.seeding import torch_generator

MODES = ("features", "neurons")
TOLERANCE = 1e-3
"""Largest difference of two training-set logits that counts as the same result."""


@dataclass(frozen=True)
class HeadBenchmark:
    """What a run of :func:`bench_heads` measured.

    Attributes:
        mode: what the masks prune, one of :data:`MODES`.
        images: size of the training set.
        features: features an image.
        hidden: hidden units.
        classes: number of classes.
        batch_size: images a step.
        epochs: passes over the training set, for both ways.
        candidates: heads trained by moprune in a round.
        naive_candidates: heads trained the naive way in a round, the first of the candidates.
        rounds: times each way was measured, in turn.
        seed: seed of data, masks, initial weights and batch order.
        strategy: strategy that ``auto`` chose.
        density: mean share of units that are on.
        naive_rate: candidates a second, the naive way; median over rounds.
        rate: candidates a second, moprune; median over rounds.
        ratio: ``rate / naive_rate`` within a round, over rounds. A dense head costs the same whatever its mask, so
            the few naive candidates stand for all.
        operations: floating-point operations of training all candidates, of active weights alone.
        speed: operations a second reached; median over rounds.
        peak: operations a second of the best large matrix product; median over rounds.
        peak_share: ``speed / peak`` within a round, over rounds.
        largest_difference: between the training-set logits of both ways.
        tolerance: largest difference accepted.
        threads: threads torch uses on the CPU.
        torch: version of torch.
        processor: name of the processor.
        device: where heads were trained.
        device_name: name of that device.
    """

    mode: str
    images: int
    features: int
    hidden: int
    classes: int
    batch_size: int
    epochs: int
    candidates: int
    naive_candidates: int
    rounds: int
    seed: int
    strategy: str
    density: float
    naive_rate: float
    rate: float
    ratio: Spread
    operations: int
    speed: float
    peak: float
    peak_share: Spread
    largest_difference: float
    tolerance: float
    threads: int
    torch: str
    processor: str
    device: str
    device_name: str


def bench_heads(
    *,
    images: int = 2520,
    features: int = 2048,
    hidden: int = 512,
    classes: int = 3,
    batch_size: int = 32,
    candidates: int = 8,
    naive_candidates: int = 4,
    epochs: int = 2,
    seed: int = 0,
    device: str = "cpu",
    mode: str = "features",
    rounds: int = 3,
    progress: Callable[[str], None] | None = None,
) -> HeadBenchmark:
    """Measures head training against the naive loop on synthetic cached features.

    Args:
        images: size of the training set.
        features: features an image.
        hidden: hidden units.
        classes: number of classes.
        batch_size: images a step.
        candidates: heads trained by moprune in a round, masks of density U(0, 1).
        naive_candidates: how many of them are also trained the naive way.
        epochs: passes over the training set.
        seed: seeds data, masks, initial weights and batch order.
        device: ``auto``, ``cpu`` or ``cuda[:n]``.
        mode: one of :data:`MODES`: masks over the features or over the hidden units.
        rounds: times each way is measured, in turn, so that a machine changing speed hits both; >= 2.
        progress: told about each step.

    Raises:
        UsageError: arguments that make no benchmark.
        MopruneError: the two ways disagree by more than :data:`TOLERANCE`.
    """
    if mode not in MODES:
        raise not_one_of("mode", mode, MODES)
    if not 1 <= naive_candidates <= candidates or rounds < 2 or min(images, epochs) < 1:
        raise UsageError(
            "a benchmark needs 1 <= naive candidates <= candidates, >= 2 rounds, >= 1 image and >= 1 epoch, not "
            f"{naive_candidates}, {candidates}, {rounds}, {images}, {epochs}"
        )
    tell = progress or (lambda _: None)
    place = resolve_device(device)
    spec = HeadSpec(features, (hidden,), classes)
    training = Training(epochs=epochs, batch_size=batch_size, learning_rate=1e-3, weight_decay=0.0)
    data = _data(images, features, classes, seed, place)
    masks = _masks(spec, candidates, mode, seed)
    start = initial_weights(spec, seed)
    shared = masks[:naive_candidates]

    def ours(some: Sequence[Masks]) -> list[TrainedHead]:
        return list(fit_heads(spec, some, data, start, training, then=lambda head: head, seed=seed))

    def naive() -> list[nn.Module]:
        return [_naive(candidate, data, start, training, seed) for candidate in shared]

    tell("warming up and comparing results")
    difference = _compare(naive(), ours(shared), data)
    peak(place)
    operations = sum(_operations(_kept(candidate), classes, images, epochs) for candidate in masks)
    naive_rates, rates, peaks = [], [], []
    for turn in range(rounds):
        tell(f"round {turn + 1} of {rounds}")
        naive_rates.append(naive_candidates / seconds(naive, place))
        before = peak(place)
        rates.append(candidates / seconds(lambda: ours(masks), place))
        peaks.append(max(before, peak(place)))
    speeds = [operations / candidates * rate for rate in rates]
    units = sum(int(mask.sum()) for mask in (m[MODES.index(mode)] for m in masks))
    return HeadBenchmark(
        mode=mode,
        images=images,
        features=features,
        hidden=hidden,
        classes=classes,
        batch_size=batch_size,
        epochs=epochs,
        candidates=candidates,
        naive_candidates=naive_candidates,
        rounds=rounds,
        seed=seed,
        strategy=choose_strategy(spec, place),
        density=units / (candidates * spec.units[MODES.index(mode)]),
        naive_rate=median(naive_rates),
        rate=median(rates),
        ratio=spread([a / b for a, b in zip(rates, naive_rates, strict=True)]),
        operations=operations,
        speed=median(speeds),
        peak=median(peaks),
        peak_share=spread([a / b for a, b in zip(speeds, peaks, strict=True)]),
        largest_difference=difference,
        tolerance=TOLERANCE,
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        processor=processor(),
        device=str(place),
        device_name=device_name(place),
    )


def table(result: HeadBenchmark) -> str:
    """Returns the result as lines ``label  value`` to print."""
    r = result
    rows = {
        "device": f"{r.device} ({r.device_name}), torch {r.torch}, CPU threads: {r.threads}",
        "head": f"{r.features} -> {r.hidden} -> {r.classes}, masks over {r.mode}, mean density {r.density:.2f}",
        "training": f"{r.images} images, batches of {r.batch_size}, {r.epochs} epochs, strategy {r.strategy}",
        "naive loop": f"{r.naive_rate:.2f} candidates/s",
        "moprune": f"{r.rate:.2f} candidates/s",
        "ratio": f"{r.ratio.median:.1f} ({r.ratio.least:.1f} to {r.ratio.most:.1f} over {r.rounds} rounds)",
        "matrix-product peak": f"{r.peak / 1e9:.0f} GFLOP/s",
        "reached on active weights": f"{r.speed / 1e9:.0f} GFLOP/s",
        "share of peak": f"{r.peak_share.median:.0%} ({r.peak_share.least:.0%} to {r.peak_share.most:.0%})",
        "largest logit difference": f"{r.largest_difference:.1e} (accepted up to {r.tolerance:.0e})",
    }
    width = max(map(len, rows))
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows.items())


def _data(images: int, features: int, classes: int, seed: int, device: torch.device) -> TrainingSet:
    generator = torch_generator(seed, "benchmark features")
    x = torch.randn(images, features, generator=generator).relu_()
    labels = torch.randint(classes, (images,), generator=torch_generator(seed, "benchmark labels"))
    return TrainingSet(x.to(device), labels.to(device))


def _masks(spec: HeadSpec, candidates: int, mode: str, seed: int) -> list[Masks]:
    generator = torch_generator(seed, "benchmark masks", mode)
    masks = []
    for _ in range(candidates):
        layers = list(spec.all_on())
        pruned = layers[MODES.index(mode)]
        pruned.copy_(torch.rand(len(pruned), generator=generator) < torch.rand((), generator=generator))
        pruned[0] = True  # a head of no unit at all measures nothing
        masks.append(tuple(layers))
    return masks


def _kept(masks: Masks) -> list[int]:
    return [int(mask.sum()) for mask in masks]


def _operations(kept: Sequence[int], classes: int, images: int, epochs: int) -> int:
    """Counts the operations of training one compact head: forward, weight gradients, hidden gradient."""
    features, hidden = kept
    forward = 2 * (features * hidden + hidden * classes)
    return images * epochs * (2 * forward + 2 * hidden * classes)


class _Masked(nn.Module):
    """A dense head that multiplies by its masks."""

    features: Tensor
    units: Tensor

    def __init__(self, masks: Masks, start: HeadWeights) -> None:
        super().__init__()
        first, second = start.matrices
        self.register_buffer("features", masks[0].to(first))
        self.register_buffer("units", masks[1].to(first))
        self.hidden = nn.Linear(len(first), len(second), bias=False)
        self.output = nn.Linear(len(second), second.shape[1])
        with torch.no_grad():
            self.hidden.weight.copy_(first.T)
            self.output.weight.copy_(second.T)
            self.output.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits."""
        y: Tensor = self.output(torch.relu(self.hidden(x * self.features)) * self.units)
        return y


class _Order(Sampler[int]):
    """Draws the images in the order of the batches of :class:`Training`."""

    def __init__(self, training: Training, images: int, seed: int) -> None:
        self._training, self._images, self._seed, self._epoch = training, images, seed, 0

    def __iter__(self) -> Iterator[int]:
        self._epoch += 1
        for batch in self._training.batches(self._images, self._epoch, self._seed, torch.device("cpu")):
            yield from batch.tolist()

    def __len__(self) -> int:
        return self._images


def _naive(masks: Masks, data: TrainingSet, start: HeadWeights, training: Training, seed: int) -> nn.Module:
    """Trains one candidate the naive way."""
    head = _Masked(masks, start).to(data.features.device)
    optimiser = torch.optim.SGD(
        head.parameters(), lr=training.learning_rate, momentum=training.momentum, nesterov=training.nesterov
    )
    order = _Order(training, len(data.features), seed)
    loader = DataLoader(TensorDataset(data.features, data.labels), training.batch_size, sampler=order)
    for _ in range(training.epochs):
        for x, labels in loader:
            optimiser.zero_grad()
            nn.functional.cross_entropy(head(x), labels).backward()
            optimiser.step()
    return head


@torch.no_grad()
def _compare(naive: Sequence[nn.Module], ours: Sequence[TrainedHead], data: TrainingSet) -> float:
    """Returns the largest difference of training-set logits; raises where the two ways disagree."""
    largest = 0.0
    for index, (reference, head) in enumerate(zip(naive, ours, strict=True)):
        expected, logits = reference(data.features), head.logits(data.features)
        difference = float((logits - expected).abs().max())
        # Written so that NaN fails too.
        if not difference <= TOLERANCE:
            raise MopruneError(
                f"candidate {index}: logits differ from the naive loop's by {difference:.1e}, more than {TOLERANCE:.0e}"
            )
        largest = max(largest, difference)
        # An image whose two largest logits are as close as rounding may go either way.
        top = expected.topk(2, dim=1).values
        clear = top[:, 0] - top[:, 1] > 2 * difference
        if bool((logits.argmax(1) != expected.argmax(1))[clear].any()):
            raise MopruneError(f"candidate {index}: predictions differ from the naive loop's")
        close = int((~clear).sum()) / len(clear)
        if abs(error(logits, data.labels) - error(expected, data.labels)) > close:
            raise MopruneError(f"candidate {index}: the error differs from the naive loop's")
    return largest
