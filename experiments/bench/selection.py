"""The benchmark of layer selection: fine-tuning a generation's candidates against training each one alone, in one run.

The naive way (:mod:`experiments.bench.naive_tuning`) is also measured with the images ready in memory, both in float32.
All ways get the same candidates, batches and initial values; the losses on the search split must agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from scipy.stats import kendalltau
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from experiments.bench import naive_tuning
from experiments.bench.generation import Generation
from experiments.bench.naive_tuning import Reading, Ready
from experiments.bench.rows import OURS, Row, Tell, agreed, check_rounds, in_turns, largest
from experiments.bench.timing import Work, seconds
from moprune.networks.selection import State
from moprune.networks.suffix import Suffix
from moprune.population.tuning import Job, Labelled, Tuner

TOLERANCE = 2e-2
"""Largest difference of two losses in nats that counts as the same result: training magnifies rounding."""

HOWS = {
    "naive": "whole network one after another, Adam with a group a tensor, DataLoader that reads every image",
    "images ready": "the naive way with the images ready in memory",
}


def bench_selection(
    generation: Generation, *, rounds: int = 3, seed: int = 0, progress: Tell | None = None
) -> list[Row]:
    """Measures fine-tuning of candidates.

    What a search does once for all generations, tracing and activations that candidates share, is told apart.

    Args:
        generation: network, images and candidates.
        rounds: times each way is measured, in turn; >= 2.
        seed: of the training.
        progress: told about each step.

    Returns:
        A row for the generation of a search, then one for each kind of masks.

    Raises:
        UsageError: less than two rounds.
        MopruneError: the ways differ by more than :data:`TOLERANCE` in a loss.
    """
    check_rounds(rounds)
    rows = []
    for kind, jobs in generation.jobs(seed).items():

        def tell(what: str, kind: str = kind, count: int = len(jobs)) -> None:
            if progress is not None:
                progress(f"{kind}: {count} candidates, {what}")

        rows.append(_row(kind, generation, jobs, rounds, tell))
    first, *others = rows
    return [replace(first, figures={**first.figures, "candidates": generation.masks}), *others]


def _row(kind: str, generation: Generation, jobs: Sequence[Job], rounds: int, tell: Tell) -> Row:
    place, recipe = torch.device("cpu"), generation.recipe
    tuner = Tuner(generation.network, *generation.train, recipe)
    least = [replace(job, rows=torch.arange(2), epochs=1) for job in jobs]
    preparation = seconds(lambda: tuner.tune(least), place)
    states: dict[str, list[State]] = {}

    def naive(way: str, source: type[Ready | Reading]) -> None:
        states[way] = [naive_tuning.tuned(generation, job, source) for job in jobs]

    def ours() -> None:
        states[OURS] = [tuned.state for tuned in tuner.tune(jobs)]

    epochs = len(jobs) * recipe.epochs
    calls = {"naive": lambda: naive("naive", Reading), "images ready": lambda: naive("images ready", Ready), OURS: ours}
    ways = {way: (epochs, call) for way, call in calls.items()}
    measured = in_turns(ways, rounds, place, tell)
    losses = [[_loss(generation, state) for state in states[way]] for way in ("naive", OURS)]
    difference = largest([abs(a - b) for a, b in zip(*losses, strict=True)])
    ranks = {"rank correlation of losses": float(kendalltau(*losses).statistic)} if len(jobs) > 2 else {}
    return measured.row(
        "selection" if kind == "search" else f"selection: {kind}",
        "epochs",
        {
            "network": type(generation.network).__name__, "images": len(generation.train.labels),
            "batch_size": recipe.batch_size, "epochs": recipe.epochs, "candidates": len(jobs),
            "precision": recipe.precision,
        },
        HOWS,
        _work(generation, jobs),
        place,
        difference=agreed(f"{kind}: losses differ from those of the naive way", difference, TOLERANCE),
        tolerance=TOLERANCE,
        figures={"seconds of preparation, once": preparation, **ranks},
    )  # fmt: skip


@torch.no_grad()
def _loss(generation: Generation, state: Mapping[str, Tensor]) -> float:
    search: Labelled = generation.search
    parts = search.inputs.split(500)
    logits = torch.cat([torch.func.functional_call(generation.network, dict(state), (part,)) for part in parts])
    return functional.cross_entropy(logits.double(), search.labels).item()


def _work(generation: Generation, jobs: Sequence[Job]) -> Work:
    """Returns the mean work of a candidate's epoch: forward and backward behind the first tensor that it tunes."""
    inputs, labels = generation.train
    batch = generation.recipe.batch_size
    operations = written = 0.0
    for job in jobs:
        suffix = Suffix(generation.network, list(job.rates))
        frontier = suffix.frontier(inputs[:batch])
        state = {
            name: tensor.detach().clone().requires_grad_()
            for name, tensor in generation.network.named_parameters() if name in job.rates
        }  # fmt: skip
        with FlopCounterMode(display=False) as counter:
            torch.autograd.backward(functional.cross_entropy(suffix(frontier, state), labels[:batch]))
        operations += counter.get_total_flops() / min(batch, len(labels))
        written += sum(tensor.nbytes for tensor in frontier) / min(batch, len(labels))
    images = len(labels) / len(jobs)
    return Work(operations * images, written * images)
