"""The benchmark of head training: a population of masked heads against the naive loop, in one run.

The naive way is what one writes first: a dense head whose features are multiplied by the mask, trained by
autograd, ``torch.optim.SGD`` and a ``DataLoader`` over the cached features, one candidate after another. Both ways
get the same data, masks, initial weights and batches, and must come to the same logits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor, nn

from experiments.bench import naive_heads
from experiments.bench.naive_heads import TOLERANCE
from experiments.bench.published import Backbone
from experiments.bench.rows import OURS, Measured, Row, Tell, check_rounds, in_turns
from experiments.bench.timing import Work, torch_peak
from moprune.devices import resolve_device
from moprune.errors import UsageError, not_one_of
from moprune.networks.heads import HeadSpec, HeadWeights, Masks, TrainedHead, initial_weights
from moprune.population import Training, TrainingSet, fit_heads
from moprune.population.heads import choose_strategy
from moprune.seeding import torch_generator

MODES = ("features", "neurons")

COMPARED_EPOCHS = 2
"""After so many epochs results are compared: rounding grows from step to step, as in any training."""


@dataclass(frozen=True)
class Population:
    """Candidates, and what each is trained from and on.

    Attributes:
        spec: the shape before pruning.
        masks: the candidates'.
        features: of the training images, ``(n, D)``.
        labels: their classes, ``(n,)``.
        start: common initial weights.
        training: how.
        seed: of the order of batches.
    """

    spec: HeadSpec
    masks: Sequence[Masks]
    features: Tensor
    labels: Tensor
    start: HeadWeights
    training: Training
    seed: int

    def ours(self, count: int | None = None, strategy: str = "auto") -> list[TrainedHead]:
        """Trains the first candidates, or all."""
        return list(
            fit_heads(
                self.spec, self.masks[:count], TrainingSet(self.features, self.labels), self.start, self.training,
                then=lambda head: head, seed=self.seed, strategy=strategy,
            )
        )  # fmt: skip

    def naive(self, count: int) -> list[nn.Module]:
        """Trains the first candidates one after another."""
        return [
            naive_heads.train(masks, self.features, self.labels, self.start, self.training, self.seed)
            for masks in self.masks[:count]
        ]

    def work(self) -> Work:
        """Returns the mean work of a candidate: operations of active weights, features it reads once an epoch."""
        kept = [[int(mask.sum()) for mask in masks] for masks in self.masks]
        images, epochs = len(self.features), self.training.epochs
        operations = sum(head_operations(each, self.spec.classes, images, epochs) for each in kept)
        return Work(operations / len(kept), 4 * images * epochs * sum(each[0] for each in kept) / len(kept))


def population(
    *,
    images: int,
    features: int,
    hidden: int,
    classes: int,
    batch_size: int,
    candidates: int,
    epochs: int,
    mode: str,
    seed: int,
    device: torch.device,
) -> Population:
    """Returns candidates on synthetic features; masks have density U(0, 1).

    Raises:
        UsageError: an unknown mode; no image, no candidate or no epoch.
    """
    if mode not in MODES:
        raise not_one_of("mode", mode, MODES)
    if min(images, candidates, epochs) < 1:
        raise UsageError(
            f"a benchmark needs images, candidates and epochs, not {images}, {candidates}, {epochs} of them"
        )
    spec = HeadSpec(features, (hidden,), classes)
    training = Training(epochs=epochs, batch_size=batch_size, learning_rate=1e-3, weight_decay=0.0)
    x, labels = _data(images, features, classes, seed)
    masks = _masks(spec, candidates, mode, seed)
    return Population(spec, masks, x.to(device), labels.to(device), initial_weights(spec, seed), training, seed)


def bench_heads(
    *,
    images: int = 2520,
    features: int = 2048,
    hidden: int = 512,
    classes: int = 3,
    batch_size: int = 32,
    candidates: int = 16,
    naive_candidates: int = 2,
    epochs: int = 10,
    seed: int = 0,
    device: str = "cpu",
    mode: str = "features",
    published: str = "pretrained_digits",
    rounds: int = 3,
    progress: Tell | None = None,
) -> Row:
    """Measures head training against the naive loop on synthetic cached features.

    Args:
        images: size of the training set.
        features: features an image.
        hidden: hidden units.
        classes: number of classes.
        batch_size: images a step.
        candidates: heads trained by moprune in a round, masks of density U(0, 1).
        naive_candidates: how many of them are also trained the naive way; a dense head costs the same whatever its
            mask, so that a few stand for all.
        epochs: passes over the training set.
        seed: seeds data, masks, initial weights and batch order.
        device: ``auto``, ``cpu`` or ``cuda[:n]``.
        mode: one of :data:`MODES`: masks over the features or over the hidden units.
        published: the backbone whose time an image the published way is computed from, one of
            :data:`experiments.bench.published.NETWORKS`.
        rounds: times each way is measured, in turns; >= 2.
        progress: told about each step.

    Raises:
        UsageError: arguments that make no benchmark.
        MopruneError: the two ways disagree, see :func:`experiments.bench.naive_heads.compare`.
    """
    check_rounds(rounds)
    if not 1 <= naive_candidates <= candidates:
        raise UsageError(
            f"a benchmark needs 1 to {candidates} naive candidates (of its candidates), not {naive_candidates}"
        )
    tell, place = progress or (lambda _: None), resolve_device(device)
    sizes = {
        "images": images, "features": features, "hidden": hidden, "classes": classes, "batch_size": batch_size,
        "candidates": candidates, "epochs": epochs,
    }  # fmt: skip
    some = population(**sizes, mode=mode, seed=seed, device=place)
    tell("heads: warming up and comparing results")
    short = replace(some, training=replace(some.training, epochs=min(epochs, COMPARED_EPOCHS)))
    difference = naive_heads.compare(
        short.naive(naive_candidates), short.ours(naive_candidates), some.features, some.labels
    )
    backbone, passes = Backbone(published, place), images * epochs
    ways: dict[str, tuple[float, Callable[[], object]]] = {
        "naive": (naive_candidates, lambda: some.naive(naive_candidates)),
        "published": (backbone.images / passes, backbone.run),
        OURS: (candidates, some.ours),
    }
    measured = in_turns(ways, rounds, place, tell)
    hows = {
        "naive": "dense head times mask, autograd, DataLoader over cached features",
        "published": f"{published}, measured on {backbone.images} images and multiplied by {passes:,}",
    }
    return measured.row(
        "heads", "candidates", {**sizes, "mode": mode, "published": published}, hows, some.work(), place,
        difference=difference, tolerance=TOLERANCE, figures=_figures(some, measured, mode, place),
    )  # fmt: skip


def _figures(some: Population, measured: Measured, mode: str, device: torch.device) -> dict[str, int | float | str]:
    on = [float(masks[MODES.index(mode)].float().mean()) for masks in some.masks]
    rates = [some.work().operations * rate for rate in measured.rates[OURS]]
    shares = [rate / each.peak for rate, each in zip(rates, measured.limits, strict=True)]
    return {
        "strategy": choose_strategy(some.spec, device),
        "mean density": sum(on) / len(on),
        "least share of the matrix-product peak, active weights": min(shares),
        "largest share": max(shares),
        "median share of the peak of torch.mm": median(rates) / torch_peak(device),
    }


def _data(images: int, features: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch_generator(seed, "benchmark features")
    x = torch.randn(images, features, generator=generator).relu_()
    labels = torch.randint(classes, (images,), generator=torch_generator(seed, "benchmark labels"))
    return x, labels


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


def head_operations(kept: Sequence[int], classes: int, images: int, epochs: int) -> int:
    """Counts the operations of training one compact head: forward, weight gradients, hidden gradient."""
    features, hidden = kept
    forward = 2 * (features * hidden + hidden * classes)
    return images * epochs * (2 * forward + 2 * hidden * classes)
