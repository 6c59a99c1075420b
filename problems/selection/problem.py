"""SelectionProblem: which parts of a pre-trained network to fine-tune for a task, how far and how fast."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moprune.contexts import PLAIN, Context
from moprune.data import Task
from moprune.devices import resolve_device
from moprune.errors import UsageError, not_one_of
from moprune.networks.preprocess import Preprocess
from moprune.networks.selection import State, state_of
from moprune.networks.units import Unit
from moprune.objectives import Objective, resolve
from moprune.population.tuning import Tuned, TuningRecipe
from moprune.problem import Genomes, Outcomes, SearchProblem
from moprune.seeding import derive
from problems.refinement.scoring import StateScorer
from problems.selection.anchors import anchors
from problems.selection.costs import Costs
from problems.selection.fidelity import Rung, check_folds, check_rungs
from problems.selection.genomes import Genotype
from problems.selection.heads import with_new_head
from problems.selection.scoring import Fitted, Scoring, batched
from problems.selection.trainer import OnPrepared, Run, Trainer
from problems.selection.tuning import Tuning

__all__ = ["Fitted", "Rung", "SelectionProblem"]

HEADS = ("kept", "new")
_RECIPE = TuningRecipe()


class SelectionProblem(SearchProblem):
    """Which units of a pre-trained network to fine-tune for a task, how far and how fast.

    A candidate is trained on ``train`` once for each training seed (the order of images, factors of low rank, a new
    head), and scored on ``search`` while searching; what is scored on ``select`` and ``test`` afterwards are the same
    networks. Its value is the mean over training seeds. A candidate that selects nothing is not trained, and it and
    one that diverged with any of the seeds have every worst value.

    ``images`` of an evaluation are forward-image equivalents, as if nothing were shared between candidates: of all its
    trainings and their scoring, and in a context with ``seeds`` of the last of these seeds alone, since whoever adds
    seeds one by one has asked for the others before.

    Args:
        task: the data, see :class:`moprune.data.Task`.
        network: the pre-trained network, from preprocessed inputs to logits; it is not changed.
        genotype: what genomes stand for, over :func:`moprune.networks.units` of the network.
        preprocess: an item of the data to what the network reads; None for images that need no more than scaling.
        objectives: names (:data:`moprune.objectives.NAMES`) or objectives of one's own: of predictions, OOD pools and
            corruptions, and the costs :data:`problems.selection.costs.NAMES`.
        reported: measured beside them when candidates are assessed; the search does not see them.
        recipe: how candidates are trained. Where it has a patience, training stops by the accuracy on ``search``.
        head: ``kept``, for a classifier that tells the task's classes apart; ``new``, for one drawn afresh for each
            training seed in its place.
        seeds: trainings of a full evaluation, >= 1.
        folds: into how many stratified folds ``train`` and ``search`` are divided, by number of
            :class:`moprune.contexts.Context` ``subset``, which starts again behind the last; None for no subsets.
        rungs: cheaper fidelities in rising order, by number of the context's ``rung``.
        seed: the run seed: of training seeds.
        batch_size: inputs a forward pass in scoring.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        on_prepared: called with (part of the task, inputs done, inputs in all) while inputs are prepared.

    Attributes:
        base: the network with a head for the task's classes, on the device.
        fidelities: the rungs; ``rungs`` is how many there are.

    Raises:
        UsageError: arguments that do not fit each other; the message says which.
    """

    contextual = True

    def __init__(
        self,
        task: Task,
        network: nn.Module,
        genotype: Genotype,
        *,
        preprocess: Callable[..., Tensor] | None = None,
        objectives: Sequence[str | Objective] = ("macro_error", "trainable_parameters"),
        reported: Sequence[str | Objective] = ("error",),
        recipe: TuningRecipe = _RECIPE,
        head: str = "kept",
        seeds: int = 1,
        folds: int | None = None,
        rungs: Sequence[Rung] = (),
        seed: int = 0,
        batch_size: int = 500,
        device: str | torch.device = "auto",
        on_prepared: OnPrepared | None = None,
    ) -> None:
        if head not in HEADS:
            raise not_one_of("head", head, HEADS)
        if seeds < 1:
            raise UsageError(f"seeds is {seeds}; give at least one training seed")
        check_rungs(rungs)
        check_folds(folds, task.train, task.search)
        _check_units(network, genotype)
        needs = frozenset().union(*(each.needs for each in resolve([*objectives, *reported])))
        if folds is not None and needs:
            raise UsageError(f"folds: an objective needs {min(needs)}, which has no folds; leave one of both out")
        self.task, self.genotype, self.recipe, self.head = task, genotype, recipe, head
        self.seeds, self.folds, self.fidelities, self.rungs, self.seed = seeds, folds, tuple(rungs), len(rungs), seed
        self.device = resolve_device(device)
        base = with_new_head(network, len(task.classes)) if head == "new" else network
        self.scorer = StateScorer(
            task, base, tuple(state_of(base)), needs, preprocess=preprocess or Preprocess(), reestimate=False,
            batch_size=batch_size, device=self.device, on_prepared=on_prepared,
        )  # fmt: skip
        self.base = self.scorer.base
        if (outputs := self.scorer.outputs()) != len(task.classes):
            raise UsageError(
                f"the network has {outputs} outputs and task {task.name!r} has {len(task.classes)} classes; give "
                "head='new' (selection.head) for a classifier of its own"
            )
        self.trainer = Trainer(
            task, self.base, genotype.units, self.recipe, preprocess=self.scorer.preprocess, new_head=head == "new",
            folds=folds, rungs=self.fidelities, device=self.device, on_prepared=on_prepared,
        )  # fmt: skip
        self.costs = Costs(self.base, self._example(), self.recipe.statistics, tuple(self.head_start(0)))
        largest = self.costs([name for unit in genotype.units for name in unit.parameters], {})
        super().__init__(
            n_var=genotype.n_var, boolean=False, objectives=resolve(objectives, largest),
            reported=resolve(reported, largest) if reported else (), xl=genotype.lower, xu=genotype.upper,
        )  # fmt: skip
        self.requires_kwargs = True  # contexts are handed to _evaluate
        self.scoring = Scoring(self.trainer, self.scorer, self.costs, self.objectives)

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units of the network, in its order."""
        return self.genotype.units

    @property
    def subsets(self) -> bool:
        """Whether candidates may be scored on folds of the data."""
        return self.folds is not None

    @property
    def context(self) -> str:
        """What an objective value depends on besides genome, fingerprint and context: the run seed."""
        return f"seed={self.seed}"

    def training_seed(self, number: int) -> int:
        """Returns the seed of the training with a number, from 0."""
        return derive(self.seed, "training", number)

    def head_start(self, number: int) -> State:
        """Returns the new head that the training with a number starts from; nothing where the head is kept."""
        return self.trainer.start(self.training_seed(number))

    def tunings(self, X: Genomes) -> list[Tuning]:
        """Returns what genomes ``(n, n_var)`` stand for."""
        return [self.genotype.decode(x) for x in self.checked(X)]

    def selected(self, x: Genomes) -> NDArray[np.bool_]:
        """Returns which genes of a genome ``(n_var,)`` belong to units that it tunes, ``(n_var,)`` bool."""
        (tuning,) = self.tunings(x)
        return np.array([owner is not None and tuning.rates[owner] > 0 for owner in self.genotype.owners])

    def first_population(self, size: int) -> NDArray[np.float64]:
        """Returns different genomes to start from, ``(k, n_var)``, k <= size: well-known tunings, see `anchors`."""
        known = [self.genotype.encode(tuning) for _, tuning in anchors(self.base, self.units, self.genotype)]
        rows = list({row.tobytes(): row for row in np.clip(known, self.xl, self.xu)}.values())
        return np.array(rows[:size]).reshape(-1, self.n_var)

    def fitted(self, X: Genomes) -> Iterator[list[Tuned]]:
        """Yields what comes of each genome in full, one a training seed; an empty list for one that selects nothing."""
        for tunings in batched(self.tunings(X), self._together):
            runs = [self._runs(tuning, PLAIN) for tuning in tunings]
            tuned = iter(self.trainer.tuned([run for each in runs for run in each]))
            yield from (list(islice(tuned, len(each))) for each in runs)

    def candidates(self, X: Genomes) -> Iterator[Fitted]:
        """Yields genomes as they are scored in full."""
        for tuning, tuned in zip(self.tunings(X), self.fitted(X), strict=True):
            failed = not all(each.finite for each in tuned)
            yield Fitted(() if failed else tuple((each.state,) for each in tuned), *self.trainer.trained(tuning))

    def outcomes(self, X: Genomes, splits: Sequence[str]) -> Iterator[Outcomes]:
        """Yields each candidate's outcomes, one a split and training seed."""
        for part in batched(self.candidates(X), self._together):
            yield from self.outcomes_of(part, splits)

    def outcomes_of(self, candidates: Sequence[Fitted], splits: Sequence[str]) -> Iterator[Outcomes]:
        """Yields the outcomes of trained networks, whoever trained them, by the same protocol.

        Args:
            candidates: as trained.
            splits: names of splits.
        """
        yield from self.scoring.outcomes(candidates, splits)

    def losses(self, candidates: Sequence[Fitted]) -> list[float]:
        """Returns the first objective of each candidate on ``search``, minimised, as controls are told it."""
        first = self.objectives[:1]
        values = self._measured(self.outcomes_of(candidates, ["search"]), len(candidates), ["search"], first)
        return [float(value) for value in first[0].minimised(values[:, 0, 0])]

    def _evaluate(
        self, X: Genomes, out: dict[str, Any], *_: Any, contexts: Sequence[Context] | None = None, **__: Any
    ) -> None:
        contexts = contexts or [PLAIN] * len(X)
        runs = [self._runs(tuning, context) for tuning, context in zip(self.tunings(X), contexts, strict=True)]
        scores = self.scoring.scores([run for each in runs for run in each])
        natural = np.array([self._natural([scores[run].values for run in each]) for each in runs])
        counted = [each if context.seeds is None else each[-1:] for each, context in zip(runs, contexts, strict=True)]
        out["F"], out["natural"] = self.minimised(natural), natural
        out["images"] = np.array([sum(scores[run].images for run in each) for each in counted], dtype=np.float64)
        out["provisional"] = np.array([float(self._in_part(context)) for context in contexts])

    @property
    def _together(self) -> int:
        """How many candidates are held at once with all their training seeds."""
        return max(1, self.scoring.together // self.seeds)

    def _example(self) -> Tensor:
        """Returns a batch as in training."""
        count = min(self.recipe.batch_size, len(self.task.train))
        item = self.scorer.preprocess(self.task.train.inputs[0])
        return item.expand(count, *item.shape).contiguous().to(self.device)

    def _natural(self, values: Sequence[tuple[float, ...] | None]) -> list[float]:
        """Returns the mean over training seeds; every worst value where there are none or one diverged."""
        finite = [each for each in values if each is not None]
        if not finite or len(finite) < len(values):
            return [objective.worst for objective in self.objectives]
        return [float(np.mean(column)) for column in zip(*finite, strict=True)]

    def _in_part(self, context: Context) -> bool:
        fewer = context.seeds is not None and context.seeds < self.seeds
        return fewer or context.subset is not None or context.rung is not None

    def _runs(self, tuning: Tuning, context: Context) -> list[Run]:
        """Returns the trainings that a context asks for; none where nothing is selected."""
        seeds = self.seeds if context.seeds is None else context.seeds
        if not 1 <= seeds <= self.seeds:
            raise UsageError(f"a score with {seeds} training seeds was asked for; this problem has 1 to {self.seeds}")
        if context.subset is not None and self.folds is None:
            raise UsageError("this problem has no subsets; give it folds")
        if context.rung is not None and not 0 <= context.rung < self.rungs:
            raise UsageError(f"rung {context.rung} was asked for; this problem has {self.rungs} rungs, from 0")
        if not any(self.trainer.trained(tuning)):
            return []
        fold = None if self.folds is None or context.subset is None else context.subset % self.folds
        return [self.trainer.run(tuning, self.training_seed(i), fold, context.rung) for i in range(seeds)]

    def fingerprint(self) -> dict[str, Any]:
        """Returns all that an objective value depends on besides the genome, the context and the run seed."""
        recipe = asdict(self.recipe)
        if self.recipe.precision == "float32":
            del recipe["precision"]  # older runs have none
        return {
            "problem": "selection",
            "task": self.task.digest(),
            "genotype": self.genotype.describe(),
            "objectives": [f"{o.name} ({o.unit})" for o in self.objectives],
            "recipe": recipe,
            "head": self.head,
            "seeds": self.seeds,
            "folds": self.folds,
            "rungs": [asdict(rung) for rung in self.fidelities],
            **self.scorer.fingerprint(),
        }

    def reseeded(self, seed: int) -> "SelectionProblem":
        """Returns the same problem for another run seed; data, network and what was trained are shared."""
        other = copy.copy(self)
        other.seed = seed
        return other

    def network(self, genome: Genomes) -> nn.Module:
        """Returns the network a genome stands for with the first training seed, on the CPU.

        Where nothing is selected, or training diverged, it is the one that training starts from.
        """
        (tuning,) = self.tunings(genome)
        first = self.trainer.tuned(self._runs(tuning, Context(seeds=1)))
        return self.network_of(first[0].state if first else self.head_start(0))

    def network_of(self, state: State) -> nn.Module:
        """Returns a copy of the network with the tensors of a state, on the CPU, in evaluation mode."""
        return self.scorer.network_of(state)

    def unit_names(self) -> list[str]:
        """Returns a name for each gene."""
        return self.genotype.names()


def _check_units(network: nn.Module, genotype: Genotype) -> None:
    own = {name for name, _ in network.named_parameters()}
    for unit in genotype.units:
        if strange := [name for name in unit.parameters if name not in own]:
            where = f"unit {unit.name!r} has {strange[0]!r}, which {type(network).__name__} does not"
            raise UsageError(f"genotype: {where}; make it from the units() of this network")
