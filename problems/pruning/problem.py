"""Pruning the head of a frozen network: each candidate is a mask, trained from common initial weights."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from moprune.data import Task
from moprune.devices import resolve_device
from moprune.errors import UsageError
from moprune.networks.assembly import with_head
from moprune.networks.features import FeatureExtractor, cached_features
from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights
from moprune.networks.preprocess import Preprocess
from moprune.networks.slimming import slim
from moprune.objectives import Objective, Outcome, resolve
from moprune.population import Training, TrainingSet, fit_heads
from moprune.problem import Genomes, Outcomes, SearchProblem
from problems.pruning.encodings import Encoding

R = TypeVar("R")


class PruningProblem(SearchProblem):
    """Which units of a transferred head stay, under several objectives at once.

    The backbone is frozen and its features are computed once. A candidate's head is cut to the units its genome
    keeps, trained on the ``train`` split, and scored on the split asked for: ``search`` while searching, ``select``
    and ``test`` afterwards.

    Args:
        task: the data, see :class:`moprune.data.Task`.
        network: the pre-trained network; its own classifier is replaced. Or a ready ``FeatureExtractor``.
        encoding: what a bit switches, one of :data:`problems.pruning.ENCODINGS`.
        objectives: names (:data:`moprune.objectives.NAMES`) or objectives of one's own.
        hidden: widths of the head's hidden layers before pruning; empty for a linear head.
        activation: of the hidden layers: relu, tanh or sigmoid.
        hidden_bias: whether hidden layers have a bias.
        training: how heads are trained.
        repeats: initial weights each candidate is trained from; objectives are means over them.
        seed: the run seed: initial weights and batch order, common to all candidates.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        strategy: how the population is trained, see :mod:`moprune.population.heads`.
        chunk: candidates trained at once; by default as many as memory allows.
        features: the module whose output is taken as features; by default the input of the network's classifier.
        preprocess: how images become the network's input.
        cache: folder for features; by default the user's cache folder.
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
        training: Training | None = None,
        repeats: int = 1,
        seed: int = 0,
        device: str | torch.device = "auto",
        strategy: str = "auto",
        chunk: int | None = None,
        features: str | None = None,
        preprocess: Preprocess | None = None,
        cache: Path | None = None,
        on_features: Callable[[str, int, int], None] | None = None,
    ) -> None:
        if repeats < 1:
            raise UsageError(f"repeats must be >= 1, not {repeats}")
        if not isinstance(network, FeatureExtractor):
            network = FeatureExtractor(network, features=features, preprocess=preprocess)
        elif features is not None or preprocess is not None:
            raise UsageError("give features and preprocess to the FeatureExtractor, not to the problem")
        self.task, self.extractor = task, network
        self.training = training or Training()
        self.repeats, self.seed = repeats, seed
        self.device = resolve_device(device)
        self.strategy, self.chunk, self.cache = strategy, chunk, cache
        self._on_features = on_features
        self._features: dict[str, Tensor] = {}
        train = self._split_features("train")
        self.spec = HeadSpec(train.shape[1], tuple(hidden), len(task.classes), activation, hidden_bias)
        self.encoding = Encoding.of(encoding, self.spec)
        largest = {"active_units": self.encoding.length, "head_parameters": self.spec.parameters()}
        resolved = resolve(objectives, largest)
        for objective in resolved:
            if objective.needs_ood and not all(task.ood[split] for split in ("search", "test")):
                raise UsageError(
                    f"objective {objective.name!r} needs OOD pools for search and test; task {task.name!r} has "
                    "none: name some, e.g. noise and photographs, or drop the objective"
                )
        self._uses_ood = any(objective.needs_ood for objective in resolved)
        super().__init__(n_var=self.encoding.length, boolean=True, objectives=resolved)
        self.exclude_from_serialization = ["_on_features"]  # a callback belongs to the process it was made in

    @property
    def context(self) -> str:
        """What an objective value depends on besides genome and fingerprint: the run seed."""
        return f"seed={self.seed}"

    def outcomes(self, X: Genomes, splits: Sequence[str]) -> Iterator[Outcomes]:
        """Yields each candidate's outcomes; one a repeat and split."""
        for split in splits:  # here, not in the workers, which would each compute them
            self._prepare(split)
        scored = partial(self._scored, splits=splits)
        for genome, *repeats in zip(X, *(self._fit(X, r, scored) for r in range(self.repeats)), strict=True):
            kept = float(genome.sum())
            costs = {"active_fraction": kept / len(genome), "active_units": kept}
            yield {
                split: [dataclasses.replace(each[split], costs={**each[split].costs, **costs}) for each in repeats]
                for split in splits
            }

    def fingerprint(self) -> dict[str, Any]:
        """Returns all that an objective value depends on besides the genome and the run seed."""
        return {
            "problem": "pruning",
            "task": self.task.digest(),
            "network": self.extractor.digest(),
            "head": dataclasses.asdict(self.spec),
            "layers": list(self.encoding.layers),
            "objectives": [f"{o.name} ({o.unit})" for o in self.objectives],
            "training": dataclasses.asdict(self.training),
            "repeats": self.repeats,
        }

    def reseeded(self, seed: int) -> "PruningProblem":
        """Returns the same problem for another run seed; features and network are shared."""
        other = copy.copy(self)
        other.seed = seed
        other._on_features = self._on_features
        return other

    def heads(self, X: Genomes) -> list[TrainedHead]:
        """Returns the candidates' trained heads, of the first repeat, on the problem's device."""
        return list(self._fit(self.checked(X), 0, lambda head: head))

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
        inputs = self.task.train.inputs
        example = torch.stack([self.extractor.preprocess(inputs[i]) for i in range(min(4, len(inputs)))])
        return slim(self.network(genome), example)

    def unit_names(self) -> list[str]:
        """Returns a name for each bit: ``feature 17``, ``hidden 1 neuron 3``."""
        return self.encoding.unit_names()

    def _fit(self, X: Genomes, repeat: int, then: Callable[[TrainedHead], R]) -> Iterator[R]:
        return fit_heads(
            self.spec,
            [self.encoding.masks(genome) for genome in X],
            TrainingSet(self._split_features("train"), self.task.train.labels.to(self.device)),
            initial_weights(self.spec, self.seed, repeat),
            self.training,
            then=then,
            seed=self.seed,
            strategy=self.strategy,
            chunk=self.chunk,
        )

    def _scored(self, head: TrainedHead, splits: Sequence[str]) -> dict[str, Outcome]:
        """Returns the outcome of one trained head on each split."""
        return {split: self._outcome(head, split) for split in splits}

    def _outcome(self, head: TrainedHead, split: str) -> Outcome:
        parts = [split, *(f"{split}/{pool}" for pool in self._pools(split))]
        logits = [head.logits(self._split_features(part)).cpu() for part in parts]
        if head.failed or not all(bool(each.isfinite().all()) for each in logits):
            # What did not learn predicts nothing, every class alike; on all parts, lest a pool on which the logits
            # overflow looks easy to tell from one on which they do not.
            logits = [torch.zeros_like(each) for each in logits]
        return Outcome(
            logits=logits[0],
            labels=self.task.split(split).labels,
            ood_logits=dict(zip(self._pools(split), logits[1:], strict=True)),
            costs={"head_parameters": float(self.spec.parameters(head.widths))},
        )

    def _prepare(self, split: str) -> None:
        self._split_features(split)
        for pool in self._pools(split):
            self._split_features(f"{split}/{pool}")

    def _pools(self, split: str) -> list[str]:
        return list(self.task.ood.get(split, {})) if self._uses_ood else []

    def _split_features(self, part: str) -> Tensor:
        """Returns the features of a split, or of ``split/pool``, on the device; each is computed once."""
        if part not in self._features:
            split, _, pool = part.partition("/")
            inputs = self.task.ood[split][pool] if pool else self.task.split(split).inputs
            report = None if self._on_features is None else partial(self._on_features, part)
            computed = cached_features(self.extractor, inputs, device=self.device, folder=self.cache, progress=report)
            self._features[part] = computed.to(self.device)
        return self._features[part]
