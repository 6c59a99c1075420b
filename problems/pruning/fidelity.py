"""How far cheap ways of scoring masks rank them as full training does."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from moprune.metrics import error, nll
from moprune.networks.heads import HeadWeights, TrainedHead, initial_weights
from moprune.population import Training, TrainingSet, fit_heads
from moprune.population.modes import abridged, dense_weights, shared_weights
from moprune.seeding import torch_generator
from problems.pruning.encodings import Encoding


def rank_correlation(
    encoding: Encoding,
    train: TrainingSet,
    held_out: TrainingSet,
    training: Training,
    *,
    candidates: int = 60,
    seed: int = 0,
    strategy: str = "auto",
) -> pd.DataFrame:
    """Returns Spearman's correlation of held-out scores between full training from scratch and cheaper modes.

    Args:
        encoding: what the masks switch.
        train: what heads are trained on.
        held_out: what they are scored on.
        training: the full training.
        candidates: number of random masks, each of a density from U(0, 1); >= 3.
        seed: seeds masks, initial weights and batches.
        strategy: as for :func:`moprune.population.fit_heads`.

    Returns:
        One row a mode: ``mode``; the correlations ``nll`` and ``error``, in [-1, 1], NaN where all candidates score
        alike; ``seconds`` a candidate, without the training of start weights, and those, ``seconds_before``.
        ``full, repeated`` is full training from other initial weights in another order: what a mode can reach
        where that is not to be told in advance.
    """
    spec, once, short = encoding.spec, replace(training, epochs=0), abridged(training)
    generator = torch_generator(seed, "masks to rank")
    masks = [encoding.draw(generator) for _ in range(candidates)]
    start, other = initial_weights(spec, seed), initial_weights(spec, seed, repeat=1)

    def dense() -> HeadWeights:
        return dense_weights(spec, train, start, training, seed=seed, strategy=strategy)

    def shared() -> HeadWeights:
        return shared_weights(spec, encoding.draw, train, start, short, seed=seed)

    def scored(weights: HeadWeights, how: Training, order: int = seed) -> NDArray[np.float64]:
        fitted = fit_heads(
            spec, masks, train, weights, how, then=lambda h: _scores(h, held_out), seed=order, strategy=strategy
        )
        return np.array(list(fitted))

    modes: dict[str, tuple[Callable[[], HeadWeights], Training, int]] = {
        "full, repeated": (lambda: other, training, seed + 1),
        "short, from scratch": (lambda: start, short, seed),
        "short, from the dense head": (dense, short, seed),
        "none, from the dense head": (dense, once, seed),
        "none, from shared weights": (shared, once, seed),
    }
    truth, rows = scored(start, training), []
    for mode, (prepare, how, order) in modes.items():
        began = time.perf_counter()
        weights = prepare()
        ready = time.perf_counter()
        found = scored(weights, how, order)
        rows.append(
            {
                "mode": mode,
                "nll": _spearman(truth[:, 0], found[:, 0]),
                "error": _spearman(truth[:, 1], found[:, 1]),
                "seconds": (time.perf_counter() - ready) / candidates,
                "seconds_before": ready - began,
            }
        )
    return pd.DataFrame(rows)


def _scores(head: TrainedHead, held_out: TrainingSet) -> tuple[float, float]:
    """Returns NLL (nats) and error of a head; one that failed predicts all classes alike."""
    logits, labels = head.logits(held_out.features).cpu(), held_out.labels.cpu()
    if head.failed or not bool(logits.isfinite().all()):
        logits = torch.zeros_like(logits)
    return nll(logits, labels), error(logits, labels)


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second).statistic)
