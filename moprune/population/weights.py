"""Scoring many candidates for the weights of one network on the same images.

One network, many `State`: the images are on the device already (`batches`), each candidate's tensors take the
network's places for its forward passes, and a candidate is dropped as soon as its loss is sure to exceed its bound.

Candidates are worked on one after another, on a CPU as many at once as there are cores, and are taken from an
iterator as they are wanted, so that a population of large networks never has to exist as a whole. All candidates in
one batched product (``torch.vmap``) took longer on one core: a ResNet-20 1.8 times the loop's time with batches of 50
and 2.6 times with 200, `DigitsNet` 1.0 times with batches of 60 and 1.6 with 500, a linear head the same.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from moprune.errors import UsageError, not_one_of
from moprune.networks.modes import device_of
from moprune.networks.selection import State
from moprune.networks.suffix import Suffix
from moprune.population.batches import Batches, PerImage, laid_out
from moprune.population.workers import give_up_if, in_parallel

PRECISIONS: Mapping[str, torch.dtype] = MappingProxyType(
    {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
)
"""Of forward passes, by name."""

SLACK = 1e-9
"""Relative; how far a loss must exceed its bound to be dropped. Far above the rounding of sums in float64, so that
whoever computes the same mean in another order comes to the same decision."""


@dataclass(frozen=True, eq=False)
class Scored:
    """What a candidate made of the images.

    Attributes:
        logits: (n, C) float32 on the CPU, in the split's order; None for a candidate that was dropped.
        total: mean over the images of the per-image measure; of a dropped candidate a lower bound of it, above the
            candidate's bound. NaN where nothing was measured.
        images: forward passes of single images spent, those for the statistics included.
    """

    logits: Tensor | None
    total: float
    images: int


def nll_per_image(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of each image's label in nats, float64 (b,)."""
    return functional.cross_entropy(logits.double(), labels, reduction="none")


def wrong_per_image(logits: Tensor, labels: Tensor) -> Tensor:
    """1 for each image whose largest logit is not its label (ties go to the lowest class), else 0; float64 (b,)."""
    return (logits.argmax(1) != labels).double()


def score_states(
    suffix: Suffix,
    states: Iterable[State],
    batches: Batches,
    *,
    per_image: PerImage | None = None,
    bounds: Sequence[float | None] | None = None,
    calibration: Batches | None = None,
    precision: str = "float32",
) -> Iterator[Scored]:
    """Yields what each candidate makes of the images, in order.

    A result depends on its candidate, its bound and the batches, not on the other candidates or the number of cores.
    Decisions are exact: a candidate whose mean is at most its bound is never dropped, since sums of terms >= 0 in a
    fixed order only grow, rounded or not. The network is left as it is.

    Args:
        suffix: the part of the network that candidates run.
        states: values of some or all of ``suffix.changed``, float32, on any device; a few are taken ahead.
        batches: the images, as `moprune.population.batches.batches` made them for this suffix.
        per_image: what the mean is taken of, such as `nll_per_image`; terms >= 0. Weights for classes are part of it.
        bounds: one a candidate; None, or what its mean must not exceed.
        calibration: the running statistics among ``suffix.changed`` are estimated anew for each candidate on these
            images (of the same suffix) before it is scored: each batch is normalised by its own mean and variance, and
            the means of these over the batches become the statistics, as with ``momentum=None`` in torch. What a state
            holds of them is not used.
        precision: of the forward passes, one of `PRECISIONS`. Logits come as float32 and the measure is in float64
            whatever it is, but with less than float32 the decisions are about the rounded logits.

    Raises:
        UsageError: bounds without a measure, or not one a candidate; a measure with a negative term; a state with a
            tensor that may not change; calibration without a statistic that may change, or with a batch of one image;
            an unknown precision.
    """
    _check(suffix, per_image, bounds, calibration, precision)
    place = device_of(suffix.network)
    workers = torch.get_num_threads() if place.type == "cpu" else 1

    @torch.no_grad()
    def work(item: tuple[State, float | None], stop: Event) -> Scored:
        state, bound = item
        # A call of a suffix puts tensors into its modules for as long as it takes: threads need modules of their own.
        with (
            suffix.lent() as replica,
            torch.autocast(place.type, PRECISIONS[precision], enabled=precision != "float32"),
        ):
            state = {name: laid_out(tensor.to(place)) for name, tensor in state.items()}
            if calibration is not None:
                state = _reestimated(replica, state, calibration, stop)
            scored = _score(replica, state, batches, per_image, bound, stop)
        spent = 0 if calibration is None else calibration.images
        return Scored(scored.logits, scored.total, scored.images + spent)

    yield from in_parallel(work, _with_bounds(states, bounds), workers, ahead=2 * workers)


@torch.no_grad()
def reestimated(suffix: Suffix, state: State, calibration: Batches) -> State:
    """Returns a candidate with the running statistics that :func:`score_states` scores it with, on the device.

    Args:
        suffix: as there.
        state: as there; not changed.
        calibration: as there.

    Raises:
        UsageError: as there.
    """
    _check(suffix, None, None, calibration, "float32")
    placed = {name: laid_out(tensor.to(device_of(suffix.network))) for name, tensor in state.items()}
    with suffix.lent() as replica:
        return _reestimated(replica, placed, calibration, Event())


def _check(
    suffix: Suffix,
    per_image: PerImage | None,
    bounds: Sequence[float | None] | None,
    calibration: Batches | None,
    precision: str,
) -> None:
    if precision not in PRECISIONS:
        raise not_one_of("precision", precision, PRECISIONS)
    if bounds is not None and per_image is None:
        raise UsageError("bounds are given but not what they bound; give per_image, such as nll_per_image")
    if calibration is None:
        return
    if not _with_statistics(suffix):
        raise UsageError("no running statistics may change; add norm_statistics(network) to what the suffix may change")
    if min(len(labels) for labels in calibration.labels) < 2:
        raise UsageError("a calibration batch of one image has no variance; give another batch size or another image")


def _with_bounds(
    states: Iterable[State], bounds: Sequence[float | None] | None
) -> Iterator[tuple[State, float | None]]:
    count = 0
    for count, state in enumerate(states, 1):
        if bounds is not None and count > len(bounds):
            break
        yield state, bounds[count - 1] if bounds is not None else None
    if bounds is not None and count != len(bounds):
        more = "more" if count > len(bounds) else str(count)
        raise UsageError(f"{len(bounds)} bounds for {more} candidates; give one a candidate, None for no bound")


def _score(
    suffix: Suffix, state: State, batches: Batches, per_image: PerImage | None, bound: float | None, stop: Event
) -> Scored:
    limit = math.inf if bound is None else bound + SLACK * abs(bound)

    def over_batches(logits_of: Callable[[Sequence[Tensor]], Tensor]) -> Scored:
        parts: list[Tensor] = []
        total, images = 0.0 if per_image else math.nan, 0
        for frontier, labels in batches:
            if total / batches.images > limit:
                return Scored(None, total / batches.images, images)
            give_up_if(stop)
            parts.append(logits_of(frontier).float().cpu())
            images += len(labels)
            if per_image:
                total += _sum(per_image(parts[-1], labels))
        return Scored(batches.in_order(torch.cat(parts)), total / batches.images, images)

    return suffix.with_state(state, over_batches)


def _sum(terms: Tensor) -> float:
    if bool((terms < 0).any()):
        raise UsageError(f"per_image gave {float(terms.min())}; give a measure whose terms are >= 0")
    return float(terms.double().sum())


def _with_statistics(suffix: Suffix) -> dict[str, _BatchNorm]:
    """Returns the batch normalisations whose statistics may change, by name."""
    may_change = set(suffix.changed)
    return {
        name: module
        for name, module in suffix.network.named_modules()
        if isinstance(module, _BatchNorm) and f"{name}.running_mean" in may_change
    }


def _reestimated(suffix: Suffix, state: State, calibration: Batches, stop: Event) -> State:
    """Returns the state with statistics of its own, those of the calibration images.

    Args:
        suffix: a replica; in evaluation mode what is set in its modules changes nothing.
        state: on the device; not changed.
        calibration: the images.
        stop: gives up once it is set.
    """
    layers = _with_statistics(suffix)
    buffers = dict(suffix.network.named_buffers())
    names = [f"{name}.{each}" for name in layers for each in ("running_mean", "running_var")]
    state = state | {name: buffers[name].clone() for name in names}
    # A call puts all modules into evaluation mode; these leave it, for its time, just before they run.
    hooks = [layer.register_forward_pre_hook(_train) for layer in layers.values()]
    try:
        for number, (frontier, _) in enumerate(calibration, 1):
            give_up_if(stop)
            for layer in layers.values():
                # The k-th batch counts 1/k, so that all count the same. Without the counter, which would be written to.
                layer.momentum, layer.num_batches_tracked = 1 / number, None
            suffix(frontier, state)
    finally:
        for hook in hooks:
            hook.remove()
    return state


def _train(module: nn.Module, _: object) -> None:
    module.train()
