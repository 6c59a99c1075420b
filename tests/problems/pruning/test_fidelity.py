"""How well cheap modes rank masks: cases whose answer is known."""

import math

import pytest
import torch

from moprune.networks.heads import HeadSpec
from moprune.population import Training, TrainingSet
from problems.pruning import Encoding
from problems.pruning.fidelity import rank_correlation


def blobs(seed, images=60, features=12, informative=2):
    """Classes that differ in few features alone, so that which features are on decides the loss."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % 2
    x = torch.randn(images, features, generator=generator)
    x[:, :informative] += 3.0 * (labels[:, None] * 2 - 1)
    return TrainingSet(x, labels)


def table(encoding, training, **options):
    return rank_correlation(encoding, blobs(0), blobs(1), training, **options).set_index("mode")


def test_every_mode_ranks_masks_by_the_features_that_matter():
    rows = table(Encoding.of("features", HeadSpec(12, (8,), 2)), Training(epochs=10, weight_decay=0.0))
    assert list(rows.index) == [
        "full, repeated",
        "short, from scratch",
        "short, from the dense head",
        "none, from the dense head",
        "none, from shared weights",
    ]
    assert (rows["nll"] > 0.6).all()
    assert (rows[["seconds", "seconds_before"]] >= 0).all(axis=None)


def test_without_epochs_all_modes_from_the_same_weights_agree_fully():
    rows = table(Encoding.of("edges", HeadSpec(12, (8,), 2)), Training(epochs=0), candidates=20)
    assert rows.drop("full, repeated")[["nll", "error"]].to_numpy().ravel() == pytest.approx(1.0)
    assert rows.loc["full, repeated", "nll"] < 1.0


def test_masks_that_all_score_alike_have_no_rank():
    """Images that are all zero: a head without hidden biases predicts the same whatever is pruned."""
    data = TrainingSet(torch.zeros(20, 4), torch.arange(20) % 2)
    encoding = Encoding.of("features", HeadSpec(4, (3,), 2))
    rows = rank_correlation(encoding, data, data, Training(epochs=2), candidates=5)
    assert all(math.isnan(value) for value in rows[["nll", "error"]].to_numpy().ravel())


def test_the_correlations_repeat_themselves():
    encoding = Encoding.of("neurons", HeadSpec(12, (8,), 2))
    first, again = (table(encoding, Training(epochs=5), candidates=10, seed=3) for _ in range(2))
    assert first[["nll", "error"]].equals(again[["nll", "error"]])
