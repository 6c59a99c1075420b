"""RefinementProblem: better weights for a network that is already trained, found by searching around them."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moprune.contexts import PLAIN, Context
from moprune.data import Task, limit
from moprune.devices import resolve_device
from moprune.errors import UsageError
from moprune.log import genome_digest
from moprune.networks.preprocess import Preprocess
from moprune.networks.selection import State
from moprune.objectives import Objective, Outcome, resolve
from moprune.problem import Genomes, Outcomes, SearchProblem
from moprune.seeding import derive
from problems.refinement.genomes import Genotype
from problems.refinement.members import Members
from problems.refinement.scoring import Candidate, StateScorer

# States of candidates held at once, in bytes; a population of whole networks is gone through in parts.
_HELD = 1 << 30


class RefinementProblem(SearchProblem):
    """Which weights near those of a pre-trained network serve several objectives best.

    A genome stands for the network with some tensors changed, as its genotype says; nothing is trained. Every candidate
    is scored on the same images: those of ``search`` while searching, ``select`` and ``test`` afterwards.

    Args:
        task: the data, see :class:`moprune.data.Task`. Take ``search``, ``select`` and ``test`` from images that the
            network has not seen in pre-training: on those it has, every change looks worse than it is.
        network: the pre-trained network, from preprocessed inputs to logits ``(n, classes)``.
        genotype: what genomes stand for, see :mod:`problems.refinement.genomes`.
        preprocess: an item of the data to what the network reads; None for images that need no more than scaling.
        objectives: names (:data:`moprune.objectives.NAMES`) or objectives of one's own. Those that read features or
            representations, attack images or count a head's units are for pruning.
        reported: measured beside them when candidates are assessed; the search does not see them.
        members: fine-tuned versions of the network, for the first population and for controls.
        reestimate: whether each candidate's batch normalisation statistics are re-estimated, on images of ``train``,
            before it is scored.
        images_a_subset: size of the subsets of ``search`` that an algorithm may have candidates scored on
            (:class:`moprune.contexts.Context`); None for no subsets.
        batch_size: inputs a forward pass.
        precision: of the search's forward passes, ``float32``, ``bfloat16`` or ``float16``; select and test are always
            scored in float32. Less than float32 is faster where the processor has it, and slower elsewhere.
        seed: the run seed: of subsets.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        on_prepared: called with (part of the task, inputs done, inputs in all) while inputs are prepared.

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
        objectives: Sequence[str | Objective] = ("nll",),
        reported: Sequence[str | Objective] = (),
        members: Members | None = None,
        reestimate: bool = False,
        images_a_subset: int | None = None,
        batch_size: int = 500,
        precision: str = "float32",
        seed: int = 0,
        device: str | torch.device = "auto",
        on_prepared: Callable[[str, int, int], None] | None = None,
    ) -> None:
        if images_a_subset is not None and not len(task.classes) <= images_a_subset <= len(task.search):
            raise UsageError(
                f"images_a_subset is {images_a_subset}; give {len(task.classes)} (the classes) to {len(task.search)} "
                "(the images of search), or None"
            )
        measures = resolve([*objectives, *reported])
        needs = frozenset().union(*(each.needs for each in measures))
        self.task, self.genotype, self.members = task, genotype, members
        self.images_a_subset, self.seed = images_a_subset, seed
        self.scorer = StateScorer(
            task,
            network,
            genotype.changed,
            needs,
            preprocess=preprocess or Preprocess(),
            reestimate=reestimate,
            batch_size=batch_size,
            precision=precision,
            device=resolve_device(device),
            on_prepared=on_prepared,
        )
        if (outputs := self.scorer.outputs()) != len(task.classes):
            raise UsageError(
                f"the network has {outputs} outputs and task {task.name!r} has {len(task.classes)} classes; refinement "
                "keeps the classifier: give a network trained for these classes, or fine-tune one first"
            )
        super().__init__(
            n_var=genotype.n_var, boolean=False, objectives=resolve(objectives),
            reported=resolve(reported) if reported else (), xl=genotype.lower, xu=genotype.upper,
        )  # fmt: skip
        self.dtype = genotype.dtype
        self.requires_kwargs = True  # contexts are handed to _evaluate

    @property
    def subsets(self) -> bool:
        """Whether candidates may be scored on subsets of ``search``."""
        return self.images_a_subset is not None

    @property
    def context(self) -> str:
        """What an objective value depends on besides genome, fingerprint and context: the run seed.

        Subsets are drawn by it, and with members of its own the same genome stands for other weights.
        """
        return f"seed={self.seed}"

    def states(self, X: Genomes) -> list[State]:
        """Returns the tensors that genomes stand for, on the device; what they do not hold is the network's own."""
        return [self.genotype.weights(x) for x in self.checked(X)]

    def outcomes(self, X: Genomes, splits: Sequence[str]) -> Iterator[Outcomes]:
        """Yields each candidate's outcomes, one a split."""
        for part in self._parts(X):
            yield from self.outcomes_of([(state,) for state in self.states(part)], splits)

    def outcomes_of(self, candidates: Sequence[Candidate], splits: Sequence[str]) -> Iterator[Outcomes]:
        """Yields the outcomes of networks that no genome stands for, by the same protocol.

        Args:
            candidates: states of each; the predictions of several are averaged.
            splits: names of splits.
        """
        found: list[dict[str, list[Outcome]]] = [{} for _ in candidates]
        for split in splits:
            for each, outcome in zip(found, self.scorer.outcomes(candidates, split), strict=True):
                each[split] = [outcome]
        yield from found

    def losses(self, candidates: Sequence[Candidate]) -> list[float]:
        """Returns the first objective of each candidate on ``search``, minimised, as controls are told it."""
        first = self.objectives[0]
        values = [first.compute(outcome) for outcome in self.scorer.outcomes(candidates, "search")]
        return [float(value) for value in first.minimised(np.array(values))]

    def _evaluate(
        self, X: Genomes, out: dict[str, Any], *_: Any, contexts: Sequence[Context] | None = None, **__: Any
    ) -> None:
        X = self.checked(X)
        contexts = contexts or [PLAIN] * len(X)
        natural = np.empty((len(X), self.n_obj))
        F = np.empty_like(natural)
        provisional, images = np.zeros(len(X)), np.zeros(len(X))
        for subset in dict.fromkeys(context.subset for context in contexts):
            rows = [i for i, context in enumerate(contexts) if context.subset == subset]
            within = None if subset is None else self._subset(subset)
            for part in self._parts(np.array(rows)):
                bounds = [self._bound(contexts[i]) for i in part]
                scored = self.scorer.bounded(self.states(X[part]), bounds, self.objectives[0].terms, within)
                for i, (outcome, least, spent) in zip(part, scored, strict=True):
                    images[i] = spent
                    provisional[i] = outcome is None or subset is not None
                    values = [least] if outcome is None else [o.compute(outcome) for o in self.objectives]
                    natural[i] = values
        F[:] = self.minimised(natural)
        out.update(F=F, natural=natural, provisional=provisional, images=images)

    def _bound(self, context: Context) -> float | None:
        """Returns the bound that a candidate may be dropped beyond, where that can be told from part of the images."""
        objective = self.objectives[0]
        droppable = self.n_obj == 1 and objective.terms is not None and objective.minimise
        if context.bound is None or not droppable or context.bound >= objective.worst:
            return None
        return context.bound

    def _subset(self, number: int) -> Tensor:
        """Returns the places of a subset of ``search``, drawn with its class shares."""
        if self.images_a_subset is None:
            raise UsageError("this problem has no subsets; give it images_a_subset")
        labels = self.task.search.labels
        return torch.as_tensor(limit(labels, self.images_a_subset, seed=derive(self.seed, "subset", number)))

    def _parts(self, rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yields rows in parts whose states may be held together."""
        step = max(1, _HELD // max(1, self.scorer.state_bytes))
        for first in range(0, len(rows), step):
            yield rows[first : first + step]

    def first_population(self, size: int) -> NDArray[Any]:
        """Returns genomes to start from, ``(k, n_var)``, k <= size: the start, the members' mean and the members.

        The first is always the network's own, so that what a search ends with is no worse on ``search``. Members are
        among them if genomes hold at least half of the weights they changed.

        Args:
            size: at most so many, >= 1.
        """
        rows: NDArray[Any] = np.empty((size, self.n_var), dtype=self.dtype)
        seen: set[str] = set()
        for genome in self._known():  # one by one: genomes may be whole networks
            rows[len(seen)] = np.clip(genome, self.xl, self.xu)
            seen.add(genome_digest(rows[len(seen)]))
            if len(seen) == size:
                break
        return rows[: len(seen)]

    def _known(self) -> Iterator[NDArray[np.float64]]:
        states = () if self.members is None else self.members.states
        members = [state for state in states if self._holds(state)]
        yield self.genotype.start
        if len(members) > 1:
            total = np.zeros(self.n_var)
            for state in members:
                total += self.genotype.genome(state)
            yield total / len(members)
        for state in members:
            yield self.genotype.genome(state)

    def _holds(self, state: State) -> bool:
        """Whether genomes can stand for a member: hold half of what it changed, lest it be a head without a body."""
        own = self.scorer.base.state_dict()
        changed = {name: each.numel() for name, each in state.items() if not torch.equal(each.cpu(), own[name].cpu())}
        held = sum(count for name, count in changed.items() if name in self.genotype.changed)
        return 2 * held >= sum(changed.values())

    def fingerprint(self) -> dict[str, Any]:
        """Returns all that an objective value depends on besides the genome and the run seed."""
        return {
            "problem": "refinement",
            "task": self.task.digest(),
            "genotype": self.genotype.describe(),
            "objectives": [f"{o.name} ({o.unit})" for o in self.objectives],
            "images_a_subset": self.images_a_subset,
            **self.scorer.fingerprint(),
        }

    def reseeded(self, seed: int) -> "RefinementProblem":
        """Returns the same problem for another run seed; data and network are shared."""
        other = copy.copy(self)
        other.seed = seed
        return other

    def network(self, genome: Genomes) -> nn.Module:
        """Returns the network a genome stands for, from preprocessed inputs to logits, on the CPU."""
        (state,) = self.states(genome)
        return self.network_of(state)

    def network_of(self, state: State) -> nn.Module:
        """Returns a copy of the network with the tensors of a state, on the CPU, in evaluation mode."""
        return self.scorer.network_of(state)

    def unit_names(self) -> list[str]:
        """Returns a name for each gene."""
        return self.genotype.names()
