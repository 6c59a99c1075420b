"""The benchmark of layer selection: fine-tuning a generation's candidates against training each one alone, in one run.

The naive way is what one writes first: the network is copied, gradients are asked for of what is tuned, a `DataLoader`
reads and preprocesses each image, and every batch goes through the whole network, with torch's own threads. It is also
measured with the images ready in memory. All ways get the same candidates, batches and initial values; the losses on
the search split must agree.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import register_parametrization, remove_parametrizations
from torch.utils.data import DataLoader, Dataset

from experiments.bench.timing import Spread, device_name, seconds, spread
from experiments.bench_generation import Generation
from moprune.errors import MopruneError, UsageError
from moprune.networks.low_rank import factor_shapes
from moprune.networks.selection import State, state_of
from moprune.population.tuning import Job, Labelled, Tuner, TuningRecipe, moving_layers
from moprune.seeding import torch_generator

TOLERANCE = 2e-2
"""Largest difference of two losses in nats that counts as the same result: training magnifies rounding."""


@dataclass(frozen=True)
class TuningCase:
    """What was measured for one kind of candidates.

    Attributes:
        name: the kind.
        candidates: how many.
        preparation: seconds until a new `Tuner` is ready for them, once for all generations; median over rounds.
        naive_rate: epochs of one candidate a second, the naive way; median over rounds.
        ready_rate: the same with the images ready in memory.
        rate: the same, moprune.
        ratio: ``rate / naive_rate`` within a round, over rounds.
        ready_ratio: ``rate / ready_rate`` within a round, over rounds.
        largest_difference: between the losses of the naive way and moprune on search, nats.
    """

    name: str
    candidates: int
    preparation: float
    naive_rate: float
    ready_rate: float
    rate: float
    ratio: Spread
    ready_ratio: Spread
    largest_difference: float


@dataclass(frozen=True)
class TuningBenchmark:
    """What a run of :func:`bench_tuning` measured.

    Attributes:
        network: class of the network.
        parameters: it has.
        images: trained on.
        recipe: of both ways.
        masks: where the candidates of the case ``search`` come from.
        rounds: times each way was measured, in turn.
        seed: of candidates and training.
        cases: first the generation of a search, then kinds of masks.
        tolerance: largest difference of losses accepted.
        threads: threads torch uses on the CPU.
        torch: version of torch.
        device_name: name of the processor.
    """

    network: str
    parameters: int
    images: int
    recipe: TuningRecipe
    masks: str
    rounds: int
    seed: int
    cases: tuple[TuningCase, ...]
    tolerance: float
    threads: int
    torch: str
    device_name: str


def bench_tuning(
    generation: Generation, *, rounds: int = 3, seed: int = 0, progress: Callable[[str], None] | None = None
) -> TuningBenchmark:
    """Measures fine-tuning of candidates against training each alone.

    What a search does once for all generations, tracing and activations that candidates share, is told apart.

    Args:
        generation: network, images and candidates.
        rounds: times each way is measured, in turn, so that a machine changing speed hits both; >= 2.
        seed: of the training.
        progress: told about each step.

    Raises:
        UsageError: less than two rounds.
        MopruneError: both ways differ by more than :data:`TOLERANCE` in a loss.
    """
    if rounds < 2:
        raise UsageError(f"a benchmark needs >= 2 rounds, not {rounds}")
    tell, cases = progress or (lambda _: None), []
    for name, jobs in generation.jobs(seed).items():
        tell(f"{name}: {len(jobs)} candidates, {rounds} rounds")
        cases.append(_case(name, generation, jobs, rounds))
    return TuningBenchmark(
        network=type(generation.network).__name__,
        parameters=sum(parameter.numel() for parameter in generation.network.parameters()),
        images=len(generation.train.labels),
        recipe=generation.recipe,
        masks=generation.masks,
        rounds=rounds,
        seed=seed,
        cases=tuple(cases),
        tolerance=TOLERANCE,
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        device_name=device_name(torch.device("cpu")),
    )


def table(result: TuningBenchmark) -> str:
    """Returns the result as lines to print."""
    r = result
    lines = [
        f"{r.network}, {r.parameters:,} parameters, {r.images} images in batches of {r.recipe.batch_size}, "
        f"{r.recipe.epochs} epochs, {r.rounds} rounds",
        f"cpu ({r.device_name}), torch {r.torch}, CPU threads: {r.threads}",
        f"search: {r.masks}",
    ]
    for c in r.cases:
        ratio, ready = (f"{r.median:.1f} ({r.least:.1f} to {r.most:.1f})" for r in (c.ratio, c.ready_ratio))
        lines += [
            "",
            f"{c.name}: {c.candidates} candidates",
            f"  preparation, once     {c.preparation:.2f} s",
            f"  naive                 {c.naive_rate:.2f} epochs/s",
            f"  naive, images ready   {c.ready_rate:.2f} epochs/s",
            f"  moprune               {c.rate:.2f} epochs/s",
            f"  ratio                 {ratio}; with the images ready {ready}",
            f"  largest difference    {c.largest_difference:.1e} nats (accepted up to {r.tolerance:.0e})",
        ]
    return "\n".join(lines)


def _case(name: str, generation: Generation, jobs: Sequence[Job], rounds: int) -> TuningCase:
    measured = [_round(generation, jobs) for _ in range(rounds)]
    preparation, naive, ready, ours, differences = zip(*measured, strict=True)
    largest = max(differences)
    if largest > TOLERANCE:
        raise MopruneError(f"{name}: a loss differs by {largest:.1e} from that of the naive way; accepted {TOLERANCE}")
    epochs = len(jobs) * generation.recipe.epochs
    return TuningCase(
        name=name,
        candidates=len(jobs),
        preparation=median(preparation),
        naive_rate=epochs / median(naive),
        ready_rate=epochs / median(ready),
        rate=epochs / median(ours),
        ratio=spread([a / b for a, b in zip(naive, ours, strict=True)]),
        ready_ratio=spread([a / b for a, b in zip(ready, ours, strict=True)]),
        largest_difference=largest,
    )


def _round(generation: Generation, jobs: Sequence[Job]) -> tuple[float, float, float, float, float]:
    """Returns seconds (of preparation, the naive way, the same with images ready, ours) and the largest difference."""
    place, tuner = torch.device("cpu"), Tuner(generation.network, *generation.train, generation.recipe)
    first: list[State] = []
    second: list[State] = []
    naive = seconds(lambda: first.extend(_naive(generation, job, _Reading) for job in jobs), place)
    ready = seconds(lambda: [_naive(generation, job, _Ready) for job in jobs], place)
    least = [replace(job, rows=torch.arange(2), epochs=1) for job in jobs]
    preparation = seconds(lambda: tuner.tune(least), place)
    ours = seconds(lambda: second.extend(tuned.state for tuned in tuner.tune(jobs)), place)
    losses = [[_loss(generation.network, state, generation.search) for state in states] for states in (first, second)]
    differences = [abs(a - b) for a, b in zip(*losses, strict=True)]
    # A loss that is no number is a difference, too.
    return preparation, naive, ready, ours, math.inf if any(map(math.isnan, differences)) else max(differences)


class _LowRank(nn.Module):
    """A change of low rank as torch's parametrisations have it."""

    def __init__(self, shapes: tuple[tuple[int, int], tuple[int, int]], generator: torch.Generator) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.zeros(shapes[0]))
        self.down = nn.Parameter(torch.empty(shapes[1]))
        nn.init.kaiming_uniform_(self.down, math.sqrt(5), generator=generator)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


class _Ready:
    """The batches of a generation's training images, out of memory."""

    def __init__(self, generation: Generation) -> None:
        self._train = generation.train

    def __call__(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in batches:
            yield self._train.inputs[rows], self._train.labels[rows]


class _Reading(Dataset[tuple[Tensor, Tensor]]):
    """The batches of a generation's training images, each read and preprocessed when it is asked for."""

    def __init__(self, generation: Generation) -> None:
        self._read, self._labels = generation.read, generation.train.labels

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self._read(row), self._labels[row]

    def __len__(self) -> int:
        return len(self._labels)

    def __call__(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(DataLoader(self, batch_sampler=[rows.tolist() for rows in batches]))


def _naive(generation: Generation, job: Job, source: type[_Ready | _Reading]) -> State:
    """Returns a candidate's state after training, the naive way."""
    network, recipe = copy.deepcopy(generation.network).eval().requires_grad_(False), generation.recipe
    network.load_state_dict(job.start, strict=False)
    for layer in moving_layers(network, list(job.rates), recipe.statistics):
        network.get_submodule(layer).train()
    groups, changed = _trained(network, job, recipe.learning_rate)
    optimiser = torch.optim.Adam(groups)
    images, count = source(generation), len(generation.train.labels)
    steps = recipe.steps(count)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs * steps)
    for epoch in range(recipe.epochs):
        order = torch.randperm(count, generator=torch_generator(job.seed, "batch order", epoch))
        for x, labels in images(order.tensor_split(steps)):
            optimiser.zero_grad()
            torch.autograd.backward(functional.cross_entropy(network(x), labels))
            optimiser.step()
            schedule.step()
    for module, name in changed:
        remove_parametrizations(module, name)
    return state_of(network)


def _trained(network: nn.Module, job: Job, rate: float) -> tuple[list[dict[str, object]], list[tuple[nn.Module, str]]]:
    """Asks for gradients of what is tuned; returns the optimiser's groups, and what is parametrised by factors."""
    groups: list[dict[str, object]] = []
    changed = []
    for name, factor in job.rates.items():
        where, _, own = name.rpartition(".")
        module, tensors = network.get_submodule(where), [network.get_parameter(name)]
        shapes = factor_shapes(tensors[0].shape, job.ranks[name]) if name in job.ranks else None
        if shapes is not None:
            low_rank = _LowRank(shapes, torch_generator(job.seed, "factors", name))
            register_parametrization(module, own, low_rank)
            changed.append((module, own))
            tensors = [low_rank.up, low_rank.down]
        groups.append({"params": [tensor.requires_grad_() for tensor in tensors], "lr": rate * factor})
    return groups, changed


@torch.no_grad()
def _loss(network: nn.Module, state: Mapping[str, Tensor], search: Labelled) -> float:
    logits = torch.cat([torch.func.functional_call(network, dict(state), (part,)) for part in search.inputs.split(500)])
    return functional.cross_entropy(logits.double(), search.labels).item()
