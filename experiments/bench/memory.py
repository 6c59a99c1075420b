"""What scoring costs in memory: twenty candidates for all weights of a ResNet-50, in one process.

``python -m experiments.bench.memory`` prints the figures of docs/benchmarks.md. Memory depends on shapes alone, so that
the network has random weights.
"""

import resource
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from moprune.data import TensorInputs
from moprune.networks import Preprocess, build
from moprune.networks.selection import State, select
from moprune.networks.suffix import Suffix
from moprune.population.batches import batches
from moprune.population.weights import score_states
from moprune.seeding import torch_generator


@dataclass(frozen=True)
class Memory:
    """Largest resident memory of the process in bytes, up to each point in turn.

    Attributes:
        ready: network and images.
        streamed: after scoring candidates made one by one.
        held: with all candidates in memory, before they are scored.
        scored: after scoring these.
        states: bytes of all candidates.
    """

    ready: int
    streamed: int
    held: int
    scored: int
    states: int


def bench_memory(arch: str = "resnet50", *, candidates: int = 20, images: int = 8, pixels: int = 64) -> Memory:
    """Returns the memory of scoring candidates for all parameters of a network, first made one by one, then held.

    Args:
        arch: as for `moprune.networks.build`, with random weights.
        candidates: how many.
        images: how many random images, in one batch.
        pixels: their side.
    """
    network = build(arch).requires_grad_(False).eval()
    suffix = Suffix(network, select(network, ["all"]))
    inputs = TensorInputs(torch.rand(images, 3, pixels, pixels, generator=torch_generator(0, "images")))
    ready = batches(suffix, inputs, torch.zeros(images), Preprocess(), images)
    generator = torch_generator(0, "candidates")
    own = {name: parameter for name, parameter in network.named_parameters() if name in suffix.changed}

    def made() -> Iterator[State]:
        for _ in range(candidates):
            yield {name: p + 1e-3 * torch.randn(p.shape, generator=generator) for name, p in own.items()}

    before = _peak()
    for _ in score_states(suffix, made(), ready):
        pass
    streamed = _peak()
    states = list(made())
    held = _peak()
    for _ in score_states(suffix, states, ready):
        pass
    total = sum(tensor.nbytes for state in states for tensor in state.values())
    return Memory(ready=before, streamed=streamed, held=held, scored=_peak(), states=total)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def main() -> None:
    """Prints the figures in MB."""
    m = bench_memory()
    print(f"20 candidates of a ResNet-50, {m.states / 1e6:,.0f} MB, CPU threads: {torch.get_num_threads()}")
    print(f"network and images                     {m.ready / 1e6:8,.0f} MB")
    print(f"scored as they are made                {m.streamed / 1e6:8,.0f} MB ({(m.streamed - m.ready) / 1e6:+,.0f})")
    print(f"all of them in memory                  {m.held / 1e6:8,.0f} MB")
    print(f"all of them in memory, while scored    {m.scored / 1e6:8,.0f} MB ({(m.scored - m.held) / 1e6:+,.0f})")


if __name__ == "__main__":
    main()
