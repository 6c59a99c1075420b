"""Detectors that read representations, against scikit-learn and small cases worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from moprune import metrics
from moprune.detectors import DETECTORS, NEIGHBOURS, knn, ledoit_wolf, mahalanobis
from moprune.errors import UsageError


def clusters(seed, n, d, classes=4, distance=3.0):
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.permutation(np.arange(n) % classes))
    centres = distance * np.random.default_rng(99).normal(size=(classes, d))
    mixing = np.random.default_rng(98).normal(size=(d, d)) / np.sqrt(d)
    x = centres[labels.numpy()] + rng.normal(size=(n, d)) @ mixing
    return torch.from_numpy(x).float(), labels


def class_centred(x, labels):
    x, labels = x.double().numpy(), labels.numpy()
    means = np.stack([x[labels == c].mean(0) for c in np.unique(labels)])
    return x - means[np.unique(labels, return_inverse=True)[1]], means


@pytest.mark.parametrize(("n", "d"), [(30, 3), (200, 50), (60, 128), (5, 40), (2, 2)])
def test_the_covariance_is_that_of_scikit_learns_ledoit_wolf(n, d):
    rows = np.random.default_rng(n).normal(size=(n, d)) @ np.random.default_rng(d).normal(size=(d, d))
    expected = LedoitWolf(assume_centered=True).fit(rows).covariance_
    assert ledoit_wolf(rows) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("n", "d"), [(200, 6), (40, 64)])
def test_mahalanobis_is_scikit_learns_distance_to_the_nearest_mean(n, d):
    train, labels = clusters(0, n, d)
    images, _ = clusters(1, 33, d)
    centred, means = class_centred(train, labels)
    fitted = LedoitWolf(assume_centered=True).fit(centred)
    to_each = [fitted.mahalanobis(images.double().numpy() - mean) for mean in means]
    scores = mahalanobis(train, labels)(images)
    assert scores.dtype == np.float64
    assert scores == pytest.approx(np.min(to_each, axis=0), rel=1e-9)


def test_with_many_images_shrinkage_vanishes():
    train, labels = clusters(0, 20_000, 4)
    images, _ = clusters(1, 50, 4)
    centred, means = class_centred(train, labels)
    plain = EmpiricalCovariance(assume_centered=True).fit(centred)
    expected = np.min([plain.mahalanobis(images.double().numpy() - mean) for mean in means], axis=0)
    assert mahalanobis(train, labels)(images) == pytest.approx(expected, rel=0.03)


def test_mahalanobis_by_hand():
    """Two classes around (0, 0) and (10, 0) with deviations of 1 and 2: S = diag(1/2, 2), m = 5/4, all in one line."""
    train = torch.tensor([[-1.0, 0], [1, 0], [10, -2], [10, 2]])
    labels = torch.tensor([0, 0, 1, 1])
    # |x|^4 is 1, 1, 16, 16: noise = (17/2 - 17/4) / (4 * 2) = 17/32; spread = 17/8 - 25/16 = 9/16; s = 17/18.
    variances = np.array([0.5, 2.0]) / 18 + 17 / 18 * 1.25
    images = torch.tensor([[0.0, 0], [3, 1], [10, 5], [7, 0]])
    expected = [0, 9 / variances[0] + 1 / variances[1], 25 / variances[1], 9 / variances[0]]
    assert mahalanobis(train, labels)(images) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e18])
def test_representations_that_do_not_vary_or_are_huge_give_finite_scores(scale):
    cases = [
        (torch.zeros(6, 3), torch.arange(6) % 2),  # a head that failed
        (torch.ones(1, 3), torch.zeros(1, dtype=torch.int64)),
        (torch.tensor([[1.0, 1, 0], [-1, -1, 0], [5, 5, 5]]), torch.tensor([0, 0, 1])),  # one direction, no shrinkage
        (torch.eye(3).repeat(2, 1), torch.arange(6) % 3),
        (torch.zeros(4, 0), torch.arange(4) % 2),  # a head without units
    ]
    for train, labels in cases:
        images = scale * torch.randn(7, train.shape[1], generator=torch.Generator().manual_seed(0))
        for scores in (mahalanobis(scale * train, labels)(images), knn(scale * train)(images)):
            assert scores.shape == (7,)
            assert np.isfinite(scores).all()
            assert (scores >= 0).all()


def test_what_cannot_be_told_apart_scores_alike():
    train, labels, images = torch.zeros(6, 3), torch.arange(6) % 2, torch.zeros(4, 3)
    assert set(mahalanobis(train, labels)(images)) == {0}
    assert set(knn(train)(images)) == {0}
    assert set(mahalanobis(train[:, :0], labels)(images[:, :0])) == {0}
    assert set(knn(train[:, :0])(images[:, :0])) == {0}


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 15), st.integers(1, 6))
def test_knn_is_scikit_learns_kth_neighbour(seed, k, n, d):
    rng = np.random.default_rng(seed)
    train, images = rng.normal(size=(n, d)), rng.normal(size=(9, d))
    kth = min(k, n)
    search = NearestNeighbors(n_neighbors=kth, algorithm="brute").fit(normalize(train))
    expected = search.kneighbors(normalize(images))[0][:, -1]
    found = knn(torch.from_numpy(train), k)(torch.from_numpy(images))
    assert found == pytest.approx(expected, abs=1e-7)


def test_knn_by_hand_and_over_several_batches():
    train = torch.tensor([[2.0, 0], [0, 3], [-1, 0]])
    images = torch.tensor([[5.0, 0], [0, 0.1]])
    assert knn(train, 1)(images) == pytest.approx([0, 0], abs=1e-7)
    assert knn(train, 2)(images) == pytest.approx([2**0.5, 2**0.5])
    assert knn(train, 9)(images) == pytest.approx([2, 2**0.5])
    many = images.repeat(2100, 1)
    assert knn(train, 2)(many) == pytest.approx(np.tile(knn(train, 2)(images), 2100))
    with pytest.raises(UsageError, match="k is 0"):
        knn(train, 0)


def test_outliers_score_higher():
    train, labels = clusters(0, 120, 20)
    inside, _ = clusters(1, 60, 20)
    outside = torch.randn(60, 20, generator=torch.Generator().manual_seed(0)) * 3
    for score in (mahalanobis(train, labels), knn(train)):
        assert metrics.auroc(score(inside), score(outside)) > 0.95


def test_every_detector_names_what_it_needs():
    read = {
        "mahalanobis": "representations",
        "knn": "representations",
        "mahalanobis_features": "features",
        "knn_features": "features",
        "odin_perturbed": "perturbed",
    }
    expected = {key: {"ood"} for key in metrics.DETECTORS} | {name: {"ood", need} for name, need in read.items()}
    assert expected == DETECTORS
    assert NEIGHBOURS >= 1
