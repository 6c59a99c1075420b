"""Fine-tuning many parts of one network: what candidates have in common is done once, each has a core to itself.

One after another on each core, since all in one batched product (``torch.vmap``) took 1.3 to 1.8 times as long: a
ResNet-20 tuned as a whole, `DigitsNet` in whole and in part, two to eight candidates. Heads on shared features would
gain by it, from 0.2 ms a step to 0.03, which is nothing beside the candidates that tune more than that.
"""

import copy
from collections.abc import Callable, Sequence
from threading import Event

import torch
from torch import Tensor, nn

from moprune.devices import resolve_device
from moprune.errors import UsageError
from moprune.networks.selection import State
from moprune.networks.suffix import Suffix
from moprune.population.batches import laid_out
from moprune.population.tuning.descent import Leaves
from moprune.population.tuning.folding import Pair, foldable
from moprune.population.tuning.job import Job, Labelled, Tuned
from moprune.population.tuning.pooling import pool_first
from moprune.population.tuning.prefixes import Prefixes
from moprune.population.tuning.recipe import TuningRecipe
from moprune.population.tuning.training import Trained, fit, moving_layers
from moprune.population.workers import in_parallel


class Tuner:
    """Fine-tunes parts of one network on one set of images.

    All that is random in a network (dropout, stochastic depth) is off. The loss is the cross-entropy. A result depends
    on its job alone: not on other jobs, their order or the number of cores; on sharing to float tolerance.

    Args:
        network: where all jobs start; it is not changed.
        inputs: (n, ...), what the network reads: preprocessed images or tokens, n >= 2.
        labels: (n,) int64.
        recipe: how to train.
        share: whether what comes before the first tensor that a job changes is run only once for all jobs that begin
            to differ there; it is kept for later calls within ``memory``. Otherwise each job runs the whole network.
        device: where the work is done.
        memory: bytes of activations kept, >= 0; a job whose own would not fit runs the whole network.

    Raises:
        UsageError: inputs and labels that do not fit.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        recipe: TuningRecipe,
        *,
        share: bool = True,
        device: torch.device | str = "cpu",
        memory: int = 1 << 30,
    ) -> None:
        if len(inputs) != len(labels) or len(labels) < 2:
            raise UsageError(f"tuning: {len(inputs)} inputs with {len(labels)} labels; give two or more of each")
        self.recipe = recipe
        self._device = resolve_device(device)
        self._images = Labelled(inputs, labels)
        # Not inference tensors, though whoever asks may be making such: gradients flow through them.
        with torch.inference_mode(False), torch.no_grad():
            self._network = _placed(network, self._device)
            pool_first(self._network)
            self._pairs: list[Pair] = []
            if recipe.statistics != "all":
                example = laid_out(inputs[:2].to(self._device))
                self._pairs = foldable(self._network, example, moving=recipe.statistics == "tuned")
        self._prefixes = Prefixes(self._network, share, memory)
        self._parameters = dict(self._network.named_parameters())
        self._buffers = dict(self._network.named_buffers())

    def tune(self, jobs: Sequence[Job], on_done: Callable[[int, int], None] | None = None) -> list[Tuned]:
        """Returns what comes of each job, in their order.

        Args:
            jobs: any number, none included.
            on_done: called with (jobs done, jobs in all) after each.

        Raises:
            UsageError: a job that trains nothing, names what the network does not have, has a factor that is not above
                zero, start values of another shape, less than two images, or no validation images where the recipe
                has a patience.
        """
        for job in jobs:
            self._check(job)
        cuts = [self._prefixes.cut(self._changed(job)) for job in jobs]
        # Those that share activations come together, and the longest first, so that no core waits at the end.
        order = sorted(range(len(jobs)), key=lambda index: (cuts[index], -len(jobs[index].rates)))
        workers = torch.get_num_threads() if self._device.type == "cpu" else 1
        done: list[Tuned | None] = [None] * len(jobs)

        def work(index: int, stop: Event) -> Tuned:
            return self._tune(jobs[index], cuts[index], stop)

        results = in_parallel(work, order, workers, long=True)
        for count, (index, tuned) in enumerate(zip(order, results, strict=True), 1):
            done[index] = tuned
            if on_done is not None:
                on_done(count, len(jobs))
        return [tuned for tuned in done if tuned is not None]

    def _tune(self, job: Job, cut: int, stop: Event) -> Tuned:
        start, moving = self._placed(job.start), self._statistics(job)
        initial = {name: start.get(name, self._parameters[name].detach()) for name in job.rates}
        statistics = {name: start.get(name, self._buffers[name]).clone() for name in moving}
        fixed = {name: value for name, value in start.items() if name not in initial and name not in statistics}
        leaves = Leaves(initial, job.rates, job.ranks, job.seed)
        rows = torch.arange(len(self._images.labels)) if job.rows is None else job.rows
        watched = [] if job.validation is None or self.recipe.patience is None else [job.validation]
        with self._prefixes.at(cut, self._images, *watched) as (suffix, ready):
            trained = Trained(suffix, leaves, statistics, self._folded(job, suffix) | fixed)
            planned = self.recipe.epochs if job.epochs is None else job.epochs
            epochs, finite = fit(trained, self.recipe, *ready, rows=rows, epochs=planned, seed=job.seed, stop=stop)
        images = float(self.recipe.images(len(rows), epochs) + epochs * sum(len(each.labels) for each in watched))
        if not finite:
            return Tuned(_copied(job.start), {}, epochs, images, False)
        return Tuned(_copied(job.start) | trained.finished(), leaves.factors(), epochs, images, True)

    def _folded(self, job: Job, suffix: Suffix) -> State:
        """Returns the values with which normalisations that a job leaves alone are part of their convolutions."""
        changed, known = self._changed(job), set(suffix.changed)
        alone = [pair for pair in self._pairs if not pair.names & changed and pair.names <= known]
        return {name: laid_out(value) for pair in alone for name, value in pair.folded.items()}

    def _changed(self, job: Job) -> set[str]:
        """Returns the names of all tensors that differ from the network's in the course of a job."""
        return {*job.rates, *job.start, *self._statistics(job)}

    def _statistics(self, job: Job) -> list[str]:
        layers = moving_layers(self._network, list(job.rates), self.recipe.statistics)
        ends = ("running_mean", "running_var", "num_batches_tracked")
        return [f"{layer}.{end}".lstrip(".") for layer in layers for end in ends]

    def _placed(self, state: State) -> State:
        return {name: laid_out(value.to(self._device)) for name, value in state.items()}

    def _check(self, job: Job) -> None:
        known, count = self._parameters | self._buffers, len(self._images.labels)
        if not job.rates:
            raise UsageError("tuning: a job trains nothing; give at least one parameter a rate")
        for name, factor in job.rates.items():
            if name not in self._parameters:
                raise UsageError(f"tuning: the network has no parameter {name!r} to train; name its own")
            if not 0 < factor < float("inf"):
                raise UsageError(f"tuning: the rate of {name!r} is {factor}; give a factor above 0")
        if idle := job.ranks.keys() - job.rates.keys():
            raise UsageError(f"tuning: {min(idle)!r} has a rank but no rate; give it one")
        for name, value in job.start.items():
            if name not in known or value.shape != known[name].shape:
                raise UsageError(f"tuning: the network has no tensor {name!r} {tuple(value.shape)} to start from")
        if any(rank < 1 for rank in job.ranks.values()):
            raise UsageError(f"tuning: ranks {dict(job.ranks)}; give 1 or more")
        if job.rows is not None and (len(job.rows) < 2 or not 0 <= int(job.rows.min()) <= int(job.rows.max()) < count):
            raise UsageError(f"tuning: a job's rows are {len(job.rows)} of {count} images; give two or more, from 0 on")
        if job.epochs is not None and job.epochs < 1:
            raise UsageError(f"tuning: a job has {job.epochs} epochs; give at least 1")
        if self.recipe.patience is not None and job.validation is None:
            raise UsageError("tuning: the recipe has a patience but a job has no validation images; give it some")


def _placed(network: nn.Module, device: torch.device) -> nn.Module:
    """Returns a frozen copy of a network on a device, in evaluation mode and the fastest layout."""
    copied = copy.deepcopy(network).to(device).eval().requires_grad_(False)
    for parameter in copied.parameters():
        parameter.data = laid_out(parameter.data)
    for module in copied.modules():
        if isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    return copied


def _copied(state: State) -> State:
    return {name: value.detach().cpu().float().clone() for name, value in state.items()}
