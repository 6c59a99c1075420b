"""The benchmark of OOD scoring: a population of heads by every detector that reads no gradients, against a loop.

The naive way takes one candidate and one detector at a time: a ``DataLoader`` over the features of each part, the dense
head times its masks, the detector as its paper has it (scikit-learn's Ledoit-Wolf covariance, `torch.cdist`), and
scikit-learn's AUROC. Both ways get the same heads, cut out of the initial weights, and must come to the same AUROCs.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from experiments.bench.digits import POOL, genomes, pruning_problem
from experiments.bench.naive_heads import Masked
from experiments.bench.rows import OURS, Row, Tell, agreed, check_rounds, in_turns
from experiments.bench.timing import Work
from moprune.detectors import DETECTORS, NEIGHBOURS
from moprune.devices import resolve_device
from moprune.errors import UsageError
from moprune.networks.heads import initial_weights
from moprune.objectives import objective
from problems.pruning import PruningProblem

MEASURED = tuple(name for name, needs in DETECTORS.items() if "perturbed" not in needs)
"""The detectors that read representations or logits; ``odin_perturbed`` runs the whole network either way."""

TOLERANCE = 1e-3
"""Largest difference of two AUROCs that counts as the same result: ties may be broken by rounding."""

_BATCH = 32


def bench_ood(
    *,
    candidates: int = 16,
    hidden: int = 64,
    rounds: int = 3,
    seed: int = 0,
    device: str = "cpu",
    progress: Tell | None = None,
) -> Row:
    """Measures the scoring of OOD pools, without training, against the naive loop.

    Args:
        candidates: heads, of random masks; >= 1.
        hidden: units of their hidden layer.
        rounds: times each way is measured, in turns; >= 2.
        seed: of the task, the masks and the initial weights.
        device: ``auto``, ``cpu`` or ``cuda[:n]``.
        progress: told about each step.

    Raises:
        UsageError: arguments that make no benchmark.
        MopruneError: an AUROC differs by more than :data:`TOLERANCE`.
    """
    check_rounds(rounds)
    if candidates < 1:
        raise UsageError(f"a benchmark needs >= 1 candidate, not {candidates}")
    tell, place = progress or (lambda _: None), resolve_device(device)
    measures = [replace(objective("ood_auroc", detector=name), name=f"ood_auroc {name}") for name in MEASURED]
    problem = pruning_problem(list(measures), hidden=hidden, epochs=0, seed=seed, device=place)
    population = genomes(problem, candidates, seed)
    tell("ood: warming up and comparing results")
    difference = float(np.abs(_naive(problem, population) - problem.values(population)[:, 0]).max())
    agreed("ood: an AUROC differs from the naive loop's", difference, TOLERANCE)
    ways: dict[str, tuple[float, Callable[[], object]]] = {
        "naive": (candidates, lambda: _naive(problem, population)),
        OURS: (candidates, lambda: problem.values(population)),
    }
    measured = in_turns(ways, rounds, place, tell)
    train, queries = (sum(len(problem.scorer.features(part)) for part in parts) for parts in (_TRAIN, _QUERIES))
    return measured.row(
        "ood", "candidates",
        {"candidates": candidates, "hidden": hidden, "features": problem.spec.features, "images": train + queries,
         "detectors": len(MEASURED)},
        {"naive": "one candidate and detector at a time, DataLoader, dense head, scikit-learn"},
        work(problem, population, train, queries), place, difference=difference, tolerance=TOLERANCE,
    )  # fmt: skip


_TRAIN, _QUERIES = ("train",), ("search", f"search/{POOL}")


def work(problem: PruningProblem, population: NDArray[np.bool_], train: int, queries: int) -> Work:
    """Returns the mean work of a candidate: its head on all images once, then each space's distances.

    A space of d units takes distances between queries and training images (nearest neighbours), a covariance of the
    training images and its triangular factor (d^3 / 3), and the whitening of queries (Mahalanobis).
    """
    (hidden,), classes = problem.spec.hidden, problem.spec.classes
    kept = population.sum(1).astype(float)
    head = 2 * (train + queries) * (kept * hidden + hidden * classes)
    spaces = [2 * queries * train * d + 2 * train * d**2 + d**3 / 3 + queries * d**2 for d in (kept, hidden)]
    return Work(float((head + sum(spaces)).mean()), float((4 * (train + queries) * kept).mean()))


def _naive(problem: PruningProblem, population: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the AUROCs ``(candidates, detectors)``."""
    start = initial_weights(problem.spec, problem.seed)
    heads = [Masked(problem.encoding.masks(genome), start).to(problem.device) for genome in population]
    return np.array([[_auroc(problem, head, detector) for detector in MEASURED] for head in heads])


@torch.no_grad()
def _auroc(problem: PruningProblem, head: Masked, detector: str) -> float:
    from sklearn.metrics import roc_auc_score

    read = _reader(head, detector)
    inside, outside = (_read(problem.scorer.features(part), read) for part in _QUERIES)
    if detector.startswith("knn"):
        known = _read(problem.scorer.features("train"), read)
        scores = [_kth_distance(each, known) for each in (inside, outside)]
    elif detector.startswith("mahalanobis"):
        known = _read(problem.scorer.features("train"), read)
        scores = _mahalanobis(known, problem.task.train.labels, inside, outside)
    else:
        scores = [_LOGITS[detector](each) for each in (inside, outside)]
    truth = np.repeat([0, 1], [len(inside), len(outside)])
    return float(roc_auc_score(truth, torch.cat(scores).numpy()))


def _reader(head: Masked, detector: str) -> Callable[[Tensor], Tensor]:
    """Returns what a detector reads of features."""
    if detector.endswith("_features"):
        return lambda x: x[:, head.features.bool()]
    return head if detector in _LOGITS else head.representation


def _read(features: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([read(batch).cpu().double() for (batch,) in DataLoader(TensorDataset(features), _BATCH)])


_LOGITS: dict[str, Callable[[Tensor], Tensor]] = {
    "msp": lambda logits: -logits.log_softmax(1).amax(1),
    "max_logit": lambda logits: -logits.amax(1),
    "energy": lambda logits: -logits.logsumexp(1),
    "odin": lambda logits: -(logits / 1000).log_softmax(1).amax(1),
}


def _kth_distance(x: Tensor, known: Tensor) -> Tensor:
    distances = torch.cdist(functional.normalize(x, dim=1), functional.normalize(known, dim=1))
    return distances.kthvalue(min(NEIGHBOURS, len(known)), dim=1).values


def _mahalanobis(known: Tensor, labels: Tensor, *parts: Tensor) -> list[Tensor]:
    from sklearn.covariance import LedoitWolf

    means = torch.stack([known[labels == label].mean(0) for label in labels.unique()])
    places = torch.searchsorted(labels.unique(), labels)
    fitted = LedoitWolf(assume_centered=True).fit((known - means[places]).numpy())
    precision = torch.from_numpy(fitted.precision_)
    away = [part[:, None] - means for part in parts]
    return [torch.einsum("ncd,de,nce->nc", each, precision, each).amin(1) for each in away]
