"""Which training a candidate needs on which part of the data, and what came of those done before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from moprune.data import Split, Task
from moprune.networks.selection import State
from moprune.networks.units import Unit
from moprune.population.batches import preprocessed
from moprune.population.tuning import Job, Labelled, Tuned, Tuner, TuningRecipe
from moprune.seeding import derive
from problems.selection.fidelity import Rung, fold_of
from problems.selection.heads import drawn_head
from problems.selection.memory import Memory
from problems.selection.tuning import Grade, Tuning, trained

OnPrepared: TypeAlias = Callable[[str, int, int], None]

# Bytes of trained states kept for another look at them, as when members of a front are scored on other splits.
_HELD = 1 << 28


@dataclass(frozen=True)
class Run:
    """One training of a candidate.

    Attributes:
        units: the learning rate's factor and the grade of each unit.
        seed: of the training.
        fold: part of the data; None for all.
        rung: number of the cheaper fidelity; None for the full one.
    """

    units: tuple[tuple[float, Grade], ...]
    seed: int
    fold: int | None = None
    rung: int | None = None


class Trainer:
    """Trains candidates; a pure function of each :class:`Run`, whatever is trained beside it or was before.

    Args:
        task: gives ``train``, and ``search`` where training stops by its accuracy.
        network: where all start; it is not changed.
        units: of the network.
        recipe: of the training.
        preprocess: an item of the data to what the network reads.
        new_head: whether each training seed has a classifier of its own.
        folds: into how many the data is divided; None for no folds.
        rungs: the cheaper fidelities.
        device: where the work is done.
        on_prepared: called with (part, inputs done, inputs in all) when inputs are prepared.
    """

    def __init__(
        self,
        task: Task,
        network: nn.Module,
        units: Sequence[Unit],
        recipe: TuningRecipe,
        *,
        preprocess: Callable[..., Tensor],
        new_head: bool,
        folds: int | None,
        rungs: Sequence[Rung],
        device: torch.device,
        on_prepared: OnPrepared | None = None,
    ) -> None:
        self.task, self.network, self.units, self.recipe = task, network, tuple(units), recipe
        self.preprocess, self.new_head, self.device = preprocess, new_head, device
        self.folds, self.rungs = folds, tuple(rungs)
        self.memory: Memory[Run, Tuned] = Memory(_HELD)
        self._on_prepared = on_prepared
        self._tuner: Tuner | None = None
        self._validations: dict[int | None, Labelled] = {}

    def tuned(self, runs: Sequence[Run]) -> list[Tuned]:
        """Returns what each run yields; those that are not remembered are trained together.

        All of a call are held at once.
        """
        found = {run: self.memory.get(run) for run in runs}
        missing = [run for run, known in found.items() if known is None]
        results = (
            dict(zip(missing, self.tuner.tune([self.job(run) for run in missing]), strict=True)) if missing else {}
        )
        for run, result in results.items():
            self.memory.put(run, result, _bytes(result))
        known = {run: each for run, each in found.items() if each is not None} | results
        return [known[run] for run in runs]

    def trained(self, tuning: Tuning) -> tuple[tuple[str, ...], dict[str, int]]:
        """Returns the names of the parameters trained whole, and name -> rank of the others."""
        return trained(self.network, self.units, tuning)

    def run(self, tuning: Tuning, seed: int, fold: int | None = None, rung: int | None = None) -> Run:
        """Returns the training of a tuning."""
        return Run(tuple((tuning.rates[u.name], tuning.grade(u.name)) for u in self.units), seed, fold, rung)

    def tuning(self, run: Run) -> Tuning:
        """Returns the tuning that a run trains."""
        units = {unit.name: each for unit, each in zip(self.units, run.units, strict=True)}
        grades = {name: grade for name, (_, grade) in units.items() if grade not in ("frozen", "full")}
        return Tuning({name: rate for name, (rate, _) in units.items()}, grades)

    def start(self, seed: int) -> State:
        """Returns the values other than the network's that a training of some seed starts from."""
        return drawn_head(self.network, seed) if self.new_head else {}

    def job(self, run: Run) -> Job:
        """Returns a run as it is asked of the engine."""
        tuning = self.tuning(run)
        whole, ranks = self.trained(tuning)
        names = {*whole, *ranks}
        rung = None if run.rung is None else self.rungs[run.rung]
        return Job(
            rates={name: tuning.rates[unit.name] for unit in self.units for name in unit.parameters if name in names},
            ranks=ranks,
            start=self.start(run.seed),
            seed=run.seed,
            rows=self._rows(run),
            epochs=None if rung is None else rung.trained(self.recipe.epochs),
            validation=None if self.recipe.patience is None else self._validation(run.fold),
        )

    def scored_on(self, fold: int | None) -> Tensor | None:
        """Returns the places of the images of ``search`` in a fold; None for all."""
        return self._fold(self.task.search, fold)

    @property
    def tuner(self) -> Tuner:
        """The engine, with the training images on the device."""
        if self._tuner is None:
            inputs, labels = self._prepared("train", self.task.train)
            self._tuner = Tuner(self.network, inputs, labels, self.recipe, device=self.device)
        return self._tuner

    def _rows(self, run: Run) -> Tensor | None:
        within = self._fold(self.task.train, run.fold)
        if run.rung is None:
            return within
        labels = self.task.train.labels
        chosen = self.rungs[run.rung].chosen(
            labels if within is None else labels[within], derive(run.seed, "rung", run.rung)
        )
        return chosen if within is None else within[chosen]

    def _fold(self, split: Split, number: int | None) -> Tensor | None:
        if number is None or self.folds is None:
            return None
        return fold_of(split.labels, number, self.folds)

    def _validation(self, fold: int | None) -> Labelled:
        if None not in self._validations:
            self._validations[None] = self._prepared("search", self.task.search)
        if fold not in self._validations:
            rows, whole = self.scored_on(fold), self._validations[None]
            self._validations[fold] = whole if rows is None else Labelled(whole.inputs[rows], whole.labels[rows])
        return self._validations[fold]

    def _prepared(self, name: str, split: Split) -> Labelled:
        count = len(split)
        self._report(name, 0, count)
        # Not inference tensors, though whoever asks may be making such: gradients flow through them.
        with torch.inference_mode(False):
            inputs = preprocessed(split.inputs, self.preprocess)
        self._report(name, count, count)
        return Labelled(inputs, split.labels)

    def _report(self, part: str, done: int, total: int) -> None:
        if self._on_prepared is not None:
            self._on_prepared(part, done, total)

    def __getstate__(self) -> dict[str, Any]:
        # A callback belongs to the process it was made in; inputs are prepared again where they are wanted.
        return self.__dict__ | {"_on_prepared": None, "_tuner": None, "_validations": {}}


def _bytes(tuned: Tuned) -> int:
    """Returns the size of the tensors that a training left, at least 1."""
    factors = [factor for pair in tuned.factors.values() for factor in pair]
    return max(1, sum(tensor.nbytes for tensor in (*tuned.state.values(), *factors)))
