"""Scoring trained candidates: what they predict, what they cost, and what each training is worth in the search."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from moprune.networks.selection import State
from moprune.objectives import Objective
from moprune.population.tuning import Tuned
from moprune.problem import Outcomes
from problems.refinement.scoring import StateScorer
from problems.selection.costs import Costs
from problems.selection.memory import Memory
from problems.selection.trainer import Run, Trainer

# Trained networks held at once, in bytes; a population of large ones is gone through in parts.
_HELD = 1 << 30
_KNOWN = 1 << 16

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained candidate.

    Attributes:
        predictors: for each training seed a group of states, the probabilities of which are averaged (an ensemble;
            usually one). Empty for a candidate that failed: every value is the worst.
        names: the parameters trained whole.
        ranks: name -> rank of those trained by factors.
        copies: how many networks are stored for the task, >= 1.
    """

    predictors: tuple[tuple[State, ...], ...]
    names: tuple[str, ...]
    ranks: Mapping[str, int] = field(default_factory=dict)
    copies: int = 1


@dataclass(frozen=True)
class Score:
    """What a training is worth on ``search``, or a fold of it.

    Attributes:
        values: natural values of the objectives; None where training diverged.
        images: forward-image equivalents of training and scoring.
    """

    values: tuple[float, ...] | None
    images: float


class Scoring:
    """Scores what was trained; what each training was worth is remembered.

    Args:
        trainer: trains.
        scorer: of the states of the same network.
        costs: of training its parts.
        objectives: of the search.
    """

    def __init__(self, trainer: Trainer, scorer: StateScorer, costs: Costs, objectives: Sequence[Objective]) -> None:
        self.trainer, self.scorer, self.costs, self.objectives = trainer, scorer, costs, tuple(objectives)
        self.memory: Memory[Run, Score] = Memory(_KNOWN)

    @property
    def together(self) -> int:
        """How many trained networks may be held at once."""
        return max(1, _HELD // max(1, self.scorer.state_bytes))

    def outcomes(self, candidates: Sequence[Fitted], splits: Sequence[str]) -> Iterator[Outcomes]:
        """Yields the outcomes of each candidate, one a split and training seed."""
        groups = [group for candidate in candidates for group in candidate.predictors]
        scored = {split: self.scorer.outcomes(groups, split) for split in splits}
        for candidate in candidates:
            costs = self._costs(candidate) if candidate.predictors else {}
            yield {
                split: [replace(each, costs=costs) for each in islice(scored[split], len(candidate.predictors))]
                for split in splits
            }

    def scores(self, runs: Iterable[Run]) -> dict[Run, Score]:
        """Returns what trainings are worth; those not remembered are trained together."""
        asked = list(dict.fromkeys(runs))
        known = {run: score for run in asked if (score := self.memory.get(run)) is not None}
        for part in batched([run for run in asked if run not in known], self.together):
            tuned = dict(zip(part, self.trainer.tuned(part), strict=True))
            for fold in dict.fromkeys(run.fold for run in part):
                known.update(self._scored({run: each for run, each in tuned.items() if run.fold == fold}, fold))
        for run, score in known.items():
            self.memory.put(run, score)
        return known

    def _scored(self, tuned: Mapping[Run, Tuned], fold: int | None) -> Iterator[tuple[Run, Score]]:
        """Yields what trainings on one fold are worth."""
        states = [each.state for each in tuned.values() if each.finite]
        scored = self.scorer.bounded(states, [None] * len(states), None, self.trainer.scored_on(fold))
        for run, each in tuned.items():
            if not each.finite:
                yield run, Score(None, each.images)
                continue
            outcome, _, images = next(scored)
            assert outcome is not None  # nothing is dropped without a bound
            outcome = replace(outcome, costs=self.costs(*self.trainer.trained(self.trainer.tuning(run))))
            yield run, Score(tuple(o.compute(outcome) for o in self.objectives), each.images + images)

    def _costs(self, candidate: Fitted) -> dict[str, float]:
        costs = self.costs(candidate.names, candidate.ranks)
        return costs | {"stored_bytes": costs["stored_bytes"] * candidate.copies}


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yields items in lists of a size, the last of those left."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
