"""Pruning the head of a frozen network: each candidate is a mask, trained from common initial weights."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from moprune.data import Task
from moprune.devices import resolve_device
from moprune.errors import UsageError, not_one_of
from moprune.networks.assembly import with_head
from moprune.networks.attacks import Attack
from moprune.networks.costs import SlimmedCosts
from moprune.networks.features import FeatureExtractor
from moprune.networks.heads import HeadSpec, HeadWeights, TrainedHead, initial_weights
from moprune.networks.preprocess import Preprocess
from moprune.networks.slimming import slim
from moprune.objectives import Objective, Outcome, resolve
from moprune.population import MODES, Committee, Training, TrainingSet, fit_heads
from moprune.population.heads import stack_size
from moprune.population.modes import abridged, dense_weights, shared_weights
from moprune.problem import Genomes, Outcomes, SearchProblem
from problems.pruning.controls import Recipe, active_fraction
from problems.pruning.encodings import Encoding
from problems.pruning.protocol import Lesson, Protocol, Rows
from problems.pruning.rankings import Scores, anova, ranking
from problems.pruning.scoring import MEMORY_LIMIT, Scorer

R = TypeVar("R")

# Candidates whose outcomes are held at once.
_SLAB = 64
# What a pass through the whole network tells, and features do not.
_NETWORK_COSTS = frozenset({"parameters", "flops"})


class PruningProblem(SearchProblem):
    """Which units of a transferred head stay, under several objectives at once.

    The backbone is frozen and its features are computed once. A candidate's head is cut to the units its genome
    keeps, trained on the images its protocol says, and scored on the split asked for: ``search`` while searching,
    ``select`` and ``test`` afterwards.

    Args:
        task: the data, see :class:`moprune.data.Task`.
        network: the pre-trained network; its own classifier is replaced. Or a ready ``FeatureExtractor``.
        encoding: what a bit switches, one of :data:`problems.pruning.ENCODINGS`.
        objectives: names (:data:`moprune.objectives.NAMES`) or objectives of one's own.
        reported: measured beside them when candidates are assessed; the search does not see them.
        hidden: widths of the head's hidden layers before pruning; empty for a linear head.
        activation: of the hidden layers: relu, tanh or sigmoid.
        hidden_bias: whether hidden layers have a bias.
        training: how heads are trained.
        members: small heads that make up a candidate's head, see :mod:`moprune.population.committee`; 1 for a plain
            head.
        readers: members that read each feature, where there are several.
        mode: how candidates are trained to be scored on ``search``, one of :data:`moprune.population.MODES`; on select
            and test heads are trained in full.
        protocol: which images heads learn from before they are scored on a split.
        attack: how images are attacked, for ``adversarial_error``.
        repeats: initial weights each candidate is trained from; objectives are means over them.
        seed: the run seed: initial weights and batch order, common to all candidates.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        strategy: how the population is trained, see :mod:`moprune.population.heads`.
        chunk: candidates trained at once; by default as many as memory allows.
        features: the module whose output is taken as features; by default the input of the network's classifier.
        preprocess: how images become the network's input.
        cache: folder for features; by default the user's cache folder.
        memory_limit: bytes that the features of all splits and pools may take in memory; where they take more, they
            stay on disk and are read in blocks, with the same results.
        on_features: called with (split, images done, images in all) while features are computed.

    Raises:
        UsageError: arguments that do not fit each other; the message says which.
    """

    def __init__(
        self,
        task: Task,
        network: nn.Module | FeatureExtractor,
        *,
        encoding: str = "features",
        objectives: Sequence[str | Objective] = ("error", "active_fraction", "ood_auroc"),
        hidden: Sequence[int] = (512,),
        activation: str = "relu",
        hidden_bias: bool = False,
        reported: Sequence[str | Objective] = (),
        training: Training | None = None,
        members: int = 1,
        readers: int = 2,
        mode: str = "full",
        protocol: Protocol | None = None,
        attack: Attack | None = None,
        repeats: int = 1,
        seed: int = 0,
        device: str | torch.device = "auto",
        strategy: str = "auto",
        chunk: int | None = None,
        features: str | None = None,
        preprocess: Preprocess | None = None,
        cache: Path | None = None,
        memory_limit: int = MEMORY_LIMIT,
        on_features: Callable[[str, int, int], None] | None = None,
    ) -> None:
        if mode not in MODES:
            raise not_one_of("mode", mode, MODES)
        if min(repeats, members) < 1:
            raise UsageError(f"repeats must be >= 1, not {repeats}, and members >= 1, not {members}")
        if not isinstance(network, FeatureExtractor):
            network = FeatureExtractor(network, features=features, preprocess=preprocess)
        elif features is not None or preprocess is not None:
            raise UsageError("give features and preprocess to the FeatureExtractor, not to the problem")
        self.task, self.extractor = task, network
        self.training, self.protocol = training or Training(), protocol or Protocol()
        self.protocol.lessons(task, "search", seed)  # refuses what does not fit the task, before work is done
        self.members, self.readers, self.mode = members, readers, mode
        self.repeats, self.seed = repeats, seed
        self.device = resolve_device(device)
        self.strategy, self.chunk = strategy, chunk
        measures = resolve([*objectives, *reported])
        needs = frozenset().union(*(each.needs for each in measures))
        self.scorer = Scorer(
            task, network, needs, device=self.device, cache=cache, on_features=on_features, attack=attack,
            memory_limit=memory_limit,
        )  # fmt: skip
        width = self.scorer.matrix("train").shape[1]
        self.spec = HeadSpec(width, tuple(hidden), len(task.classes), activation, hidden_bias)
        self.encoding = Encoding.of(encoding, self.spec)
        self._committee = self._divided()
        self._costs = self._slimmed_costs() if {each.name for each in measures} & _NETWORK_COSTS else None
        largest = {"active_units": self.encoding.length, "head_parameters": self.spec.parameters()}
        if self._costs is not None:
            largest |= self._costs.largest
        self._starts: dict[tuple[str, str, int], HeadWeights] = {}
        super().__init__(
            n_var=self.encoding.length, boolean=True,
            objectives=resolve(objectives, largest), reported=resolve(reported, largest) if reported else (),
        )  # fmt: skip

    def _divided(self) -> Committee | None:
        """Returns how heads are divided into members; features are dealt out by what they tell of the classes."""
        if self.members == 1:
            return None
        if self.encoding.edges:
            raise UsageError("connections are pruned in single heads; use members 1, or another encoding")
        if self.mode in ("warm", "one_shot"):
            raise UsageError(
                f"mode {self.mode!r} starts from a plain head's weights; use members 1, or mode full or short"
            )
        train = TrainingSet(self.scorer.matrix("train"), self.task.train.labels)
        return Committee(self.members, self.readers, torch.from_numpy(anova(train)))

    @property
    def context(self) -> str:
        """What an objective value depends on besides genome and fingerprint: the run seed."""
        return f"seed={self.seed}"

    @property
    def lockstep(self) -> int:
        """How many heads are trained in common products, which begin anew with each slab."""
        stack = stack_size(self.spec, self.device, self.strategy, self.chunk, self._committee)
        return stack if stack is not None and _SLAB % stack == 0 else _SLAB

    def prepare(self) -> None:
        """Computes the features that a search reads and the weights it starts from."""
        for lesson, mode, scored in self._lessons(["search"]):
            for part in lesson.train:
                self.scorer.matrix(part)
            for split, rows in scored.items():
                self.scorer.prepare(split, rows)
            for repeat in range(self.repeats):
                self._start(lesson, mode, repeat)

    def outcomes(self, X: Genomes, splits: Sequence[str]) -> Iterator[Outcomes]:
        """Yields each candidate's outcomes; one a lesson (fold), repeat and split."""
        for first in range(0, len(X), _SLAB):
            yield from self._slab(X[first : first + _SLAB], splits)

    def outcomes_of(self, recipes: Sequence[Recipe], splits: Sequence[str]) -> Iterator[Outcomes]:
        """Yields the outcomes of heads made by recipes instead of genomes, by the same protocol."""
        for recipe in recipes:
            found = _nothing(splits)
            for lesson, _, scored in self._lessons(splits):
                data = self._training_set(lesson)
                _collect(found, self._outcomes(recipe(data), data, scored))
            yield found

    def _slab(self, X: Genomes, splits: Sequence[str]) -> Iterator[Outcomes]:
        found = [_nothing(splits) for _ in X]
        for lesson, mode, scored in self._lessons(splits):
            for split, rows in scored.items():  # here, not in the workers, which would each compute it
                self.scorer.prepare(split, rows)
            data = self._training_set(lesson)
            score = partial(self._outcomes, data=data, scored=scored)
            for repeat in range(self.repeats):
                for candidate, outcomes in zip(found, self._fit(X, lesson, mode, repeat, score), strict=True):
                    _collect(candidate, outcomes)
        yield from found

    def _lessons(self, splits: Sequence[str]) -> list[tuple[Lesson, str, dict[str, Rows | None]]]:
        """Returns each training once (images and mode), with all that is scored by heads trained so."""
        plan: dict[tuple[str, str], tuple[Lesson, str, dict[str, Rows | None]]] = {}
        for split in splits:
            mode = self.mode if split == "search" else "full"
            for lesson in self.protocol.lessons(self.task, split, self.seed):
                plan.setdefault((lesson.name, mode), (lesson, mode, {}))[2][split] = lesson.scored
        return list(plan.values())

    def _training_set(self, lesson: Lesson) -> TrainingSet:
        labels = [self.task.split(part).labels[rows] for part, rows in lesson.train.items()]
        return TrainingSet(self.scorer.gathered(lesson.train), torch.cat(labels).to(self.device))

    def _outcomes(self, head: TrainedHead, data: TrainingSet, scored: Mapping[str, Rows | None]) -> dict[str, Outcome]:
        """Returns the outcome of one trained head on each split."""
        active = active_fraction(self.encoding, head)
        costs = {"active_fraction": active, "active_units": float(round(active * self.encoding.length))}
        if self._costs is not None:
            costs |= self._costs.costs(head.kept, head.widths)
        outcomes = {}
        for split, rows in scored.items():
            found = self.scorer.outcome(head, split, reference=data, rows=rows)
            outcomes[split] = dataclasses.replace(found, costs={**found.costs, **costs})
        return outcomes

    def _fit(self, X: Genomes, lesson: Lesson, mode: str, repeat: int, then: Callable[[TrainedHead], R]) -> Iterator[R]:
        start, training = self._start(lesson, mode, repeat)
        return fit_heads(
            self.spec,
            self.encoding.population(X),
            self._training_set(lesson),
            start,
            training,
            then=then,
            seed=self.seed,
            strategy=self.strategy,
            chunk=self.chunk,
            committee=self._committee,
        )

    def _start(self, lesson: Lesson, mode: str, repeat: int) -> tuple[HeadWeights, Training]:
        """Returns the weights that candidates start from, and how they are trained from there."""
        start = initial_weights(self.spec, self.seed, repeat)
        if mode in ("full", "short"):
            return start, self.training if mode == "full" else abridged(self.training)
        key, short = (lesson.name, mode, repeat), abridged(self.training)
        if key not in self._starts:
            data = self._training_set(lesson)
            if mode == "warm":
                self._starts[key] = dense_weights(self.spec, data, start, self.training, seed=self.seed)
            else:
                self._starts[key] = shared_weights(self.spec, self.encoding.draw, data, start, short, seed=self.seed)
        return self._starts[key], short if mode == "warm" else dataclasses.replace(short, epochs=0)

    def ranking(self, name: str) -> Scores:
        """Returns a score for each bit, higher for those worth keeping, from the ``train`` split alone, ``(n_var,)``.

        Args:
            name: one of :data:`problems.pruning.rankings.RANKINGS`.
        """
        (lesson,) = Protocol().lessons(self.task, "search", self.seed)
        return ranking(name, self.encoding, self._training_set(lesson), self.training, self.seed)

    def fingerprint(self) -> dict[str, Any]:
        """Returns all that an objective value depends on besides the genome and the run seed."""
        return {
            "problem": "pruning",
            "task": self.task.digest(),
            "network": self.extractor.digest(),
            "head": dataclasses.asdict(self.spec),
            "layers": list(self.encoding.layers),
            "edges": self.encoding.edges,
            "objectives": [f"{o.name} ({o.unit})" for o in self.objectives],
            "training": dataclasses.asdict(self.training),
            "mode": self.mode,
            "members": [self.members, self.readers] if self.members > 1 else [1],
            "protocol": dataclasses.asdict(self.protocol),
            "repeats": self.repeats,
            **self.scorer.fingerprint(),
        }

    def reseeded(self, seed: int) -> "PruningProblem":
        """Returns the same problem for another run seed; features and network are shared."""
        other = copy.copy(self)
        other.seed, other._starts = seed, {}
        return other

    def heads(self, X: Genomes) -> list[TrainedHead]:
        """Returns the candidates' trained heads as they are scored on ``test``, of the first repeat, on the device."""
        (lesson,) = self.protocol.lessons(self.task, "test", self.seed)
        return list(self._fit(self.checked(X), lesson, "full", 0, lambda head: head))

    def network(self, genome: Genomes) -> nn.Module:
        """Returns the network with the pruned and trained head in place of its classifier, on the CPU.

        It maps preprocessed images ``(n, C, H, W)`` to logits ``(n, classes)``.
        """
        (head,) = self.heads(self.checked(genome))
        return with_head(self.extractor, head.module())

    def slimmed(self, genome: Genomes) -> nn.Module:
        """Returns :meth:`network` with the backbone's last channels that the head does not read cut out too.

        Equal to it, and smaller where the backbone's end is of a known kind; see :mod:`moprune.networks.slimming`.
        """
        return slim(self.network(genome), self._example())

    def unit_names(self) -> list[str]:
        """Returns a name for each bit: ``feature 17``, ``hidden 1 neuron 3``."""
        return self.encoding.unit_names()

    def _slimmed_costs(self) -> SlimmedCosts:
        return SlimmedCosts.of(self.extractor, self.spec, self._example())

    def _example(self) -> Tensor:
        inputs = self.task.train.inputs
        return torch.stack([self.extractor.preprocess(inputs[i]) for i in range(min(4, len(inputs)))])


def _nothing(splits: Sequence[str]) -> dict[str, list[Outcome]]:
    return {split: [] for split in splits}


def _collect(found: dict[str, list[Outcome]], outcomes: Mapping[str, Outcome]) -> None:
    for split, outcome in outcomes.items():
        found[split].append(outcome)
