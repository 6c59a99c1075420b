"""What low precision gains and costs when weights are scored: rate, differences of losses, and whether ranks hold.

``python -m experiments.bench.precision`` scores trials of differential evolution for the digits' network,
``--weights FILE --data TAR`` for a CIFAR ResNet-20, in float32 and in the other choices of ``refinement.precision``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer
from scipy.stats import kendalltau

from experiments.bench.timing import device_name, seconds
from experiments.bench.trials import Setting, cifar, digits, evolved, trials_of
from moprune.networks.selection import State, select, state_of
from moprune.networks.suffix import Suffix
from moprune.population.batches import batches
from moprune.population.weights import PRECISIONS, nll_per_image, score_states


@dataclass(frozen=True)
class Precision:
    """What one precision does to the losses of some trials.

    Attributes:
        ratio: candidates a second over those in float32, median of rounds.
        difference: largest difference of two losses, nats.
        tau: Kendall's rank correlation of the losses with those in float32.
        decisions: trials that are accepted or rejected as in float32, a share.
    """

    ratio: float
    difference: float
    tau: float
    decisions: float


def bench_precision(setting: Setting, *, candidates: int = 32, rounds: int = 3, seed: int = 0) -> dict[str, Precision]:
    """Returns what each precision but float32 does to trials for all parameters, after ten generations.

    Args:
        setting: network and images.
        candidates: trials; >= 4.
        rounds: times each precision is measured, in turns.
        seed: of population and trials.
    """
    network = setting.network.eval().requires_grad_(False)
    names, split = select(network, ["all"]), setting.split
    suffix = Suffix(network, names)
    ready = batches(suffix, split.inputs, split.labels, setting.preprocess, 100)

    def losses(states: list[State], precision: str = "float32") -> list[float]:
        scored = score_states(suffix, states, ready, per_image=nll_per_image, precision=precision)
        return [each.total for each in scored]

    population, parents = evolved(state_of(network, names), candidates, 10, lambda states, _: losses([*states]), seed)
    trials = trials_of(population, parents, 10, seed)
    found = {name: losses(trials, name) for name in PRECISIONS}  # and a warm-up
    calls: Mapping[str, Callable[[], object]] = {name: partial(losses, trials, name) for name in PRECISIONS}
    times = [{name: seconds(call, torch.device("cpu")) for name, call in calls.items()} for _ in range(rounds)]
    exact = np.array(found["float32"])
    result = {}
    for name in (name for name in PRECISIONS if name != "float32"):
        rough, ratios = np.array(found[name]), [each["float32"] / each[name] for each in times]
        same = (rough <= parents) == (exact <= parents)
        tau = float(kendalltau(exact, rough).statistic)
        result[name] = Precision(median(ratios), float(abs(rough - exact).max()), tau, float(same.mean()))
    return result


def main(
    weights: Annotated[Path | None, typer.Option(help="Of a CIFAR ResNet-20; else digits.")] = None,
    data: Annotated[Path | None, typer.Option(help="Images for --weights, test/<class>/*.")] = None,
    images: Annotated[int, typer.Option(min=1, help="How many of --data.")] = 500,
    candidates: Annotated[int, typer.Option(min=4, help="Trials.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Times each precision is measured.")] = 3,
) -> None:
    """Prints the figures."""
    setting = digits() if weights is None or data is None else cifar(weights, data, images)
    found = bench_precision(setting, candidates=candidates, rounds=rounds)
    print(f"{device_name(torch.device('cpu'))}, torch {torch.__version__}, CPU threads: {torch.get_num_threads()}")
    for name, each in found.items():
        print(
            f"{name:9} {each.ratio:5.2f} times the candidates/s of float32; losses differ by {each.difference:.1e} "
            f"nats at most; Kendall's tau {each.tau:.3f}; {each.decisions:.0%} of the decisions are the same"
        )


if __name__ == "__main__":
    typer.run(main)
