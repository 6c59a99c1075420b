"""Scoring trained heads: the features of all images that objectives read, and the outcome of a head on a split."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, TypeAlias, TypeVar, cast

import torch
from torch import Tensor, nn

from moprune.data import Inputs, StoredFeatures, Task, limit
from moprune.errors import UsageError, not_one_of
from moprune.networks.assembly import with_head
from moprune.networks.attacks import Attack, from_pixels, odin_perturbation, pixels
from moprune.networks.feature_cache import bounded_features
from moprune.networks.features import FeatureExtractor
from moprune.networks.given import GivenFeatures
from moprune.networks.heads import TrainedHead
from moprune.objectives import NEEDS, Attacked, Outcome, Perturbed, Representations
from moprune.population import TrainingSet
from moprune.population.heads import in_memory

T = TypeVar("T")

MEMORY_LIMIT = 2 * 2**30
"""Bytes that the features of a task may take in memory, by default."""

Rows: TypeAlias = Mapping[str, Tensor]
"""Which images stand for a split: the part they are in (``train``, ``search``) -> their places, int64."""

_Places: TypeAlias = tuple[tuple[str, int], ...]

# One thread at a time computes what is missing: an extractor is not made for several. Of the module, as a lock cannot
# be pickled.
_computing = RLock()


class Scorer:
    """Turns trained heads into outcomes; owns the features of every part of a task, each computed once.

    A part is a split (``search``), one of its OOD pools (``search/noise``) or its images under a corruption
    (``search/gaussian_noise@3``). Several threads may score at once; those that call :meth:`prepare` first do not wait
    for each other.

    Args:
        task: the data.
        extractor: the frozen network.
        needs: what the objectives read besides predictions on the split, of :data:`moprune.objectives.NEEDS`.
        device: where features lie and heads are applied.
        cache: folder for features; by default the user's cache folder.
        on_features: called with (part, images done, images in all) while features are computed.
        attack: how images are attacked.
        memory_limit: bytes that the features of all parts together may take in memory; where they take more, all stay
            on disk and are read in blocks.
        gradient_images: at most how many images of a split, and of each OOD pool, are attacked or perturbed, drawn with
            the split's class shares: each costs several passes through the network for every candidate.

    Raises:
        UsageError: a need that is unknown, or that the task has nothing for.
    """

    def __init__(
        self,
        task: Task,
        extractor: FeatureExtractor,
        needs: frozenset[str],
        *,
        device: torch.device,
        cache: Path | None = None,
        on_features: Callable[[str, int, int], None] | None = None,
        attack: Attack | None = None,
        memory_limit: int = MEMORY_LIMIT,
        gradient_images: int = 128,
    ) -> None:
        if unknown := sorted(needs - NEEDS.keys()):
            raise not_one_of("need", unknown[0], NEEDS)
        if gradient_images < 1:
            raise UsageError(f"gradient_images must be >= 1, not {gradient_images}")
        self.task, self.extractor, self.needs = task, extractor, needs
        self.device, self.cache = device, cache
        self.attack, self.gradient_images = attack or Attack(), gradient_images
        self._on_features = on_features
        self._features: dict[str, Tensor | StoredFeatures] = {}
        self._pixels: dict[_Places, Tensor] = {}
        self._check_task()
        versions = [split for split, corrupted in task.corruptions.items() for _ in corrupted]
        self._most = memory_limit / (sum(task.sizes().values()) + sum(len(task.split(each)) for each in versions))

    def _check_task(self) -> None:
        if isinstance(self.extractor.network, GivenFeatures) and self.needs & {"attacks", "perturbed"}:
            raise UsageError(
                "adversarial_error and detector odin_perturbed change images, and of given features there are none; "
                "leave them out"
            )
        for need, what, example, parts in (
            ("ood", "OOD pools", "noise and photographs", self.task.ood),
            ("corruptions", "corruptions", "gaussian_noise@3 and contrast@3", self.task.corruptions),
        ):
            if need in self.needs and not all(parts[split] for split in ("search", "test")):
                raise UsageError(
                    f"an objective needs {what} for search and test; task {self.task.name!r} has none: name some, e.g. "
                    f"{example}, or drop the objective"
                )

    def fingerprint(self) -> dict[str, Any]:
        """Returns what an outcome depends on besides task, network and head, JSON-ready; often nothing."""
        settings: dict[str, Any] = {}
        if "attacks" in self.needs:
            settings["attack"] = dataclasses.asdict(self.attack)
        if self.needs & {"attacks", "perturbed"}:
            settings["gradient_images"] = self.gradient_images
        return settings

    def features(self, part: str) -> Tensor:
        """Returns the features ``(n, D)`` of a part, float32 on the device.

        Raises:
            UsageError: the task has no such part, or they stay on disk.
        """
        return in_memory(self.matrix(part))

    def matrix(self, part: str) -> Tensor | StoredFeatures:
        """Returns the features ``(n, D)`` of a part, float32 on the device or on disk.

        Raises:
            UsageError: the task has no such part, or an objective needs in memory what stays on disk.
        """
        if part not in self._features:
            # Not inference tensors, though the worker that asks may be making such: features are trained on later.
            with _computing, torch.inference_mode(False):
                if part not in self._features:
                    report = None if self._on_features is None else partial(self._on_features, part)
                    found = bounded_features(
                        self._most, self.extractor, self._inputs(part), device=self.device, folder=self.cache,
                        progress=report,
                    )  # fmt: skip
                    self._features[part] = self._checked(part, found)
        return self._features[part]

    def _checked(self, part: str, found: Tensor | StoredFeatures) -> Tensor | StoredFeatures:
        """Returns features, placed on the device if they are in memory; refuses what does not go with the others."""
        if "train" in self._features and found.shape[1] != (width := self._features["train"].shape[1]):
            raise UsageError(
                f"features of {part!r} have width {found.shape[1]}, those of train {width}; make them alike"
            )
        if isinstance(found, Tensor):
            return found.to(self.device)
        if self.needs & {"representations", "features"}:
            raise UsageError(
                "detectors knn and mahalanobis need all features in memory, and these stay on disk; take detector msp, "
                "max_logit, energy or odin, or raise pruning.memory_limit"
            )
        return found

    def prepare(self, split: str, rows: Rows | None = None) -> None:
        """Computes what :meth:`outcome` of the same arguments reads, so that no worker has to."""
        chosen = self._rows(split, rows)
        pools = [f"{split}/{pool}" for pool in self._pools(split)]
        reference = ["train"] if self.needs & {"representations", "features"} else []
        versions = [f"{part}/{name}" for part in chosen for name in self._corruptions(split)]
        for part in (*chosen, *pools, *versions, *reference):
            self.matrix(part)
        if self.needs & {"attacks", "perturbed"}:
            self._drawn(chosen)
        if "perturbed" in self.needs:
            for pool in pools:
                self._drawn({pool: None})

    def outcome(
        self, head: TrainedHead, split: str, *, reference: TrainingSet | None = None, rows: Rows | None = None
    ) -> Outcome:
        """Returns the outcome of a head on a split.

        A head that failed, or predicts anything that is not finite, predicts every class alike, on all images: else a
        pool on which the logits overflow would look easy to tell from one on which they do not.

        Args:
            head: the trained head, on the device.
            split: ``search``, ``select`` or ``test``, whose OOD pools and corruptions are taken.
            reference: what the head was trained on, read by detectors; the whole of ``train`` by default.
            rows: which images stand for the split (a fold, say); all of its own by default.
        """
        chosen = self._rows(split, rows)
        images = self.gathered(chosen)
        pools = {pool: self.matrix(f"{split}/{pool}") for pool in self._pools(split)}
        attacked, perturbed = self._through_network(head, split, chosen)
        found = Outcome(
            logits=self._applied(head.logits, images),
            labels=self._labels(chosen),
            ood_logits={pool: self._applied(head.logits, features) for pool, features in pools.items()},
            costs={"head_parameters": float(head.parameters())},
            representations=self._read("representations", head.representation, images, pools, reference),
            features=self._read("features", lambda x: x.index_select(1, head.kept), images, pools, reference),
            corrupted_logits={
                name: self._applied(head.logits, self.gathered(chosen, f"/{name}")) for name in self._corruptions(split)
            },
            attacked=attacked,
            perturbed=perturbed,
        )
        return _changed(found, torch.zeros_like) if head.failed or not _all_finite(found) else found

    def _applied(self, apply: Callable[[Tensor], Tensor], features: Tensor | StoredFeatures) -> Tensor:
        """Returns what a function makes of features, on the CPU; those on disk are read in blocks."""
        if isinstance(features, Tensor):
            return apply(features).cpu()
        return torch.cat([apply(block.to(self.device)).cpu() for block in features.blocks()])

    def _read(
        self,
        need: str,
        by: Callable[[Tensor], Tensor],
        images: Tensor | StoredFeatures,
        pools: Mapping[str, Tensor | StoredFeatures],
        reference: TrainingSet | None,
    ) -> Representations | None:
        """Returns what a part of the head reads of the images, the pools and its training images, if it is needed."""
        if need not in self.needs:
            return None
        reference = reference or TrainingSet(self.matrix("train"), self.task.train.labels)
        return Representations(
            images=self._applied(by, images),
            pools={pool: self._applied(by, features) for pool, features in pools.items()},
            train=self._applied(by, reference.matrix),
            train_labels=reference.labels.cpu(),
        )

    def _through_network(
        self, head: TrainedHead, split: str, rows: Mapping[str, Tensor | None]
    ) -> tuple[Attacked | None, Perturbed | None]:
        """Returns what takes gradients of the whole network, on a copy of it that belongs to this call."""
        if not self.needs & {"attacks", "perturbed"}:
            return None, None
        with torch.inference_mode(False), torch.enable_grad():
            network = from_pixels(with_head(self.extractor, head.module()), self.extractor.preprocess).to(self.device)
            images, labels = self._drawn(rows)
            attacked = perturbed = None
            if "attacks" in self.needs:
                attacked = Attacked(_logits(network, self.attack(network, images, labels)), labels)
            if "perturbed" in self.needs:
                pools = {pool: self._drawn({f"{split}/{pool}": None})[0] for pool in self._pools(split)}
                perturbed = Perturbed(
                    _logits(network, odin_perturbation(network, images)),
                    {pool: _logits(network, odin_perturbation(network, each)) for pool, each in pools.items()},
                )
        return attacked, perturbed

    def _pools(self, split: str) -> list[str]:
        return list(self.task.ood.get(split, {})) if "ood" in self.needs else []

    def _corruptions(self, split: str) -> list[str]:
        return list(self.task.corruptions[split]) if "corruptions" in self.needs else []

    def _rows(self, split: str, rows: Rows | None) -> Mapping[str, Tensor | None]:
        return {split: None} if rows is None else rows

    def gathered(self, rows: Mapping[str, Tensor | None], suffix: str = "") -> Tensor | StoredFeatures:
        """Returns features of rows of some parts, or of their versions under a corruption, one part after the other.

        Args:
            rows: places in each part, int64; None for all of it.
            suffix: ``/`` and the name of a corruption.
        """
        stored, held = [], []
        for part, places in rows.items():
            features = self.matrix(part + suffix)
            if isinstance(features, StoredFeatures):
                stored.append(features if places is None else features.subset(places))
            else:
                held.append(features if places is None else features[places.to(self.device)])
        if stored:
            return StoredFeatures.joined(stored)
        return held[0] if len(held) == 1 else torch.cat(held)

    def _labels(self, rows: Mapping[str, Tensor | None]) -> Tensor:
        """Returns the labels of the rows on the CPU; images of a pool all have label 0."""
        pieces = []
        for part, places in rows.items():
            labels = (
                torch.zeros(len(self._inputs(part)), dtype=torch.int64) if "/" in part else self.task.split(part).labels
            )
            pieces.append(labels if places is None else labels[places.cpu()])
        return torch.cat(pieces)

    def _drawn(self, rows: Mapping[str, Tensor | None]) -> tuple[Tensor, Tensor]:
        """Returns the images that gradients are taken for, pixel values ``(k, C, H, W)``, and their labels ``(k,)``."""
        labels = self._labels(rows)
        chosen = limit(labels, self.gradient_images, seed=0)
        everything = [
            (part, place)
            for part, places in rows.items()
            for place in (range(len(self._inputs(part))) if places is None else places.tolist())
        ]
        drawn = tuple(everything[i] for i in chosen)
        with _computing:
            if drawn not in self._pixels:
                items = [pixels(self._inputs(part)[place], self.extractor.preprocess) for part, place in drawn]
                self._pixels[drawn] = torch.stack(items)
        return self._pixels[drawn], labels[chosen]

    def _inputs(self, part: str) -> Inputs:
        split, _, name = part.partition("/")
        if not name:
            return self.task.split(split).inputs
        found = self.task.corruptions.get(split, {}).get(name) or self.task.ood.get(split, {}).get(name)
        if found is None:
            raise UsageError(f"task {self.task.name!r} has no {part!r}, neither a pool nor a corruption; add it")
        return found

    def __getstate__(self) -> dict[str, Any]:
        # A callback belongs to the process it was made in.
        return self.__dict__ | {"_on_features": None}


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([network(batch).cpu() for batch in images.split(128)])


def _all_finite(outcome: Outcome) -> bool:
    found: list[bool] = []

    def note(predictions: Tensor) -> Tensor:
        found.append(bool(predictions.isfinite().all()))
        return predictions

    _changed(outcome, note)
    return all(found)


def _changed(given: T, change: Callable[[Tensor], Tensor]) -> T:
    """Returns an outcome, or a part of one, with every tensor changed but the labels."""
    changed: Any = given
    if isinstance(given, Tensor):
        changed = change(given)
    elif isinstance(given, Mapping):
        changed = {name: _changed(each, change) for name, each in given.items()}
    elif dataclasses.is_dataclass(given) and not isinstance(given, type):
        names = [each.name for each in dataclasses.fields(given) if not each.name.endswith("labels")]
        changed = dataclasses.replace(given, **{name: _changed(getattr(given, name), change) for name in names})
    return cast(T, changed)
