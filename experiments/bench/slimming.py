"""What slimming saves: a pruned network before and after, its size and its time, in one run.

``python -m experiments.bench.slimming`` prints the table of docs/benchmarks.md. Time depends on shapes alone, so that
the networks have random weights.
"""

from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

from moprune.networks import FeatureExtractor, cifar_resnet, flops, latency, parameters
from moprune.networks.assembly import with_head
from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights
from moprune.networks.initial import seeded
from moprune.networks.slimming import slim
from moprune.seeding import torch_generator


@dataclass(frozen=True)
class Cost:
    """Parameters, FLOPs an image, and the seconds of a batch on one thread."""

    parameters: int
    flops: int
    seconds: float


def bench_slimming(backbone: nn.Module, share: float, images: Tensor, *, rounds: int = 7) -> dict[str, Cost]:
    """Returns the costs of a network with a linear head: ``unpruned``, ``pruned`` (the head alone) and ``slimmed``.

    Args:
        backbone: a network with a classifier.
        share: of its features that the head reads, drawn at random, in (0, 1].
        images: the batch that is timed, ``(n, C, H, W)``.
        rounds: how often each is timed, in turns. The least of the rounds' medians counts: other programs on the
            machine only ever add time.
    """
    extractor = FeatureExtractor(backbone.eval())
    spec = HeadSpec(extractor(images[:2]).shape[1], (), 10)
    drawn = torch.randperm(spec.features, generator=torch_generator(0, "kept features"))
    pruned = _network(extractor, spec, drawn[: max(1, round(share * spec.features))].sort().values)
    networks = {
        "unpruned": _network(extractor, spec, torch.arange(spec.features)),
        "pruned": pruned,
        "slimmed": slim(pruned, images[:2]),
    }
    timed = [{name: latency(network, images, repeats=5) for name, network in networks.items()} for _ in range(rounds)]
    return {
        name: Cost(parameters(network), flops(network, images[:1]), min(each[name] for each in timed))
        for name, network in networks.items()
    }


def _network(extractor: FeatureExtractor, spec: HeadSpec, kept: Tensor) -> nn.Module:
    masks = spec.all_on()
    masks[0].fill_(False)[kept] = True
    return with_head(extractor, TrainedHead(spec, kept, initial_weights(spec, 0).compact(masks), epochs=0).module())


def main() -> None:
    """Prints a Markdown table."""
    with seeded(0):
        mobile = torchvision.models.mobilenet_v2()
    cases = [
        ("MobileNetV2, 161 px, 10 % of 1,280 features", mobile, 0.1, 161),
        ("CIFAR ResNet-20, 32 px, 25 % of 64 features", cifar_resnet(20), 0.25, 32),
    ]
    print("| network | batch | | parameters | MFLOPs an image | ms a batch |\n|---|---|---|---|---|---|")
    for label, backbone, share, size in cases:
        for batch in (1, 8):
            images = torch.rand(batch, 3, size, size, generator=torch_generator(0, "images"))
            for name, cost in bench_slimming(backbone, share, images).items():
                row = f"{cost.parameters:,} | {cost.flops / 1e6:.1f} | {cost.seconds * 1e3:.2f}"
                print(f"| {label} | {batch} | {name} | {row} |")


if __name__ == "__main__":
    main()
