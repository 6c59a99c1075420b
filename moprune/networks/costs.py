"""What a network costs: parameters, arithmetic and time; for pruned ones without building them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from moprune.errors import UsageError
from moprune.networks.assembly import with_head
from moprune.networks.features import FeatureExtractor
from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights
from moprune.networks.modes import device_of, evaluating
from moprune.networks.slimming import feature_source, slim

_WARM_UP = 3


def parameters(network: nn.Module) -> int:
    """Returns the number of parameters; shared ones count once, buffers (running statistics) do not count."""
    return sum(parameter.numel() for parameter in network.parameters())


def flops(network: nn.Module, example: Tensor) -> int:
    """Returns the floating point operations of one forward pass per sample: 2 x multiply-accumulates.

    Counted as ``torch.utils.flop_counter`` does: convolutions, matrix products and attention only. The
    network is run once on ``example``, in evaluation mode, and left as it was.

    Args:
        network: any network.
        example: a batch it accepts, (n, ...) with n >= 1, on the network's device.

    Raises:
        UsageError: ``example`` has no sample.
    """
    if example.ndim == 0 or len(example) == 0:
        raise UsageError(f"flops: the example has shape {tuple(example.shape)}; give a batch of at least one sample")
    fast = torch.backends.mha.get_fastpath_enabled()
    # The fused attention used in evaluation mode is one opaque operation, which the counter does not know.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # Likewise scaled_dot_product_attention: spelled out as matrix products it is counted by every torch.
        with (
            evaluating(network),
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            network(example)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops()) // len(example)


def latency(network: nn.Module, example: Tensor, repeats: int = 30) -> float:
    """Returns the seconds of one forward pass of a batch: the median of ``repeats``, after some that do not count.

    One CPU thread, evaluation mode, no gradients; the network and torch's number of threads are left as they were. On
    a CUDA device the clock waits for the device.

    Args:
        network: any network.
        example: the batch, on the network's device; its size is part of the question.
        repeats: timed passes, >= 1.

    Raises:
        UsageError: ``repeats`` is below 1.
    """
    if repeats < 1:
        raise UsageError(f"latency: repeats is {repeats}; give at least 1")
    device, threads = device_of(network), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with evaluating(network), torch.inference_mode():
            seconds = [_seconds(network, example, device) for _ in range(_WARM_UP + repeats)]
    finally:
        torch.set_num_threads(threads)
    return median(seconds[_WARM_UP:])


def _seconds(network: nn.Module, example: Tensor, device: torch.device) -> float:
    begin = time.perf_counter()
    network(example)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


@dataclass(frozen=True)
class SlimmedCosts:
    """What :func:`slim` would leave of a pruned network, without building it.

    Slimming cuts whole channels of the layer that the features come from, each as dear as the next: what the backbone
    costs is a first channel's price and so much for each more. Both are measured on networks that are really slimmed.
    Where slimming leaves the backbone whole, so does this: it then counts as a single channel.

    Attributes:
        spec: the head before pruning.
        each: features that come from one channel.
        first: what the backbone costs with one channel, name -> count.
        more: what each further channel adds.
    """

    spec: HeadSpec
    each: int
    first: Mapping[str, int]
    more: Mapping[str, int]

    @classmethod
    def of(cls, extractor: FeatureExtractor, spec: HeadSpec, example: Tensor) -> "SlimmedCosts":
        """Slims a network to one channel, half and all of them, and reads off what a channel costs.

        Args:
            extractor: the backbone with the place its features are taken from.
            spec: the head before pruning.
            example: a preprocessed batch, ``(n, C, H, W)``; FLOPs are of images of its size.

        Raises:
            UsageError: the costs do not grow evenly with the channels, so that they cannot be told in advance.
        """
        source = feature_source(_network(extractor, spec, spec.features), example)
        channels, each = (1, spec.features) if source is None else (source.channels, source.each)
        measured = {
            count: _backbone(extractor, spec, count * each, example)
            for count in sorted({1, (channels + 1) // 2, channels})
        }
        first, last = measured[1], measured[channels]
        more = {name: (last[name] - first[name]) // max(1, channels - 1) for name in first}
        for count, found in measured.items():
            if found != {name: first[name] + more[name] * (count - 1) for name in first}:
                raise UsageError(
                    f"{type(extractor.network).__name__}: what slimming saves does not follow from the channels cut; "
                    "leave out the objectives parameters and flops"
                )
        return cls(spec, each, first, more)

    def costs(self, kept_features: Tensor, widths: Sequence[int]) -> dict[str, int]:
        """Returns ``parameters`` of the slimmed network, head included, and its ``flops`` an image.

        Args:
            kept_features: indices of the features that the head reads, ``(d,)`` int64, each once.
            widths: units left in each layer of the head, the features first.
        """
        read = len(kept_features) if self.each == 1 else len(torch.unique(kept_features // self.each))
        further = max(read, 1) - 1  # of a head that reads nothing one channel stays
        head = _head(self.spec, widths)
        return {name: self.first[name] + self.more[name] * further + head[name] for name in head}

    @property
    def largest(self) -> dict[str, int]:
        """The costs with nothing pruned."""
        return self.costs(torch.arange(self.spec.features), self.spec.units)


def _network(extractor: FeatureExtractor, spec: HeadSpec, features: int) -> nn.Module:
    """Returns the network with an untrained head that reads the first features alone."""
    masks = spec.all_on()
    masks[0][features:] = False
    weights = initial_weights(spec, seed=0).compact(masks)
    return with_head(extractor, TrainedHead(spec, torch.arange(features), weights, epochs=0).module())


def _backbone(extractor: FeatureExtractor, spec: HeadSpec, features: int, example: Tensor) -> dict[str, int]:
    """Returns what is left of the backbone, its head aside, where the first features alone are read."""
    slimmed = slim(_network(extractor, spec, features), example)
    head = _head(spec, (features, *spec.hidden))
    return {
        "parameters": parameters(slimmed) - head["parameters"],
        "flops": flops(slimmed, example) - head["flops"],
    }


def _head(spec: HeadSpec, widths: Sequence[int]) -> dict[str, int]:
    products = sum(a * b for a, b in pairwise([*widths, spec.classes]))
    return {"parameters": spec.parameters(widths), "flops": 2 * products}
