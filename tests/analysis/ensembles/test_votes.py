from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression

from analysis.ensembles import SoftVote, ensemble_ood_scores, hard_vote, soft_vote, threshold_vote_auroc
from moprune import metrics
from moprune.errors import UsageError


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    members = [LogisticRegression(C=c).fit(X[i::2], y[i::2]) for c in (0.01, 1.0) for i in (0, 1)]
    logits = torch.stack([torch.tensor(m.decision_function(X)) for m in members])
    return X, y, members, logits


def voting(fitted, how):
    X, y, members, _ = fitted
    team = VotingClassifier([(str(i), m) for i, m in enumerate(members)], voting=how).fit(X, y)
    team.estimators_ = members  # as they were fitted, each on its half
    return team


def test_soft_vote_is_scikit_learns(fitted):
    X, _, _, logits = fitted
    np.testing.assert_allclose(soft_vote(logits).exp().numpy(), voting(fitted, "soft").predict_proba(X), atol=1e-12)
    torch.testing.assert_close(soft_vote(list(logits)), soft_vote(logits), rtol=0, atol=0)


def test_hard_vote_is_scikit_learns(fitted):
    X, _, _, logits = fitted
    np.testing.assert_array_equal(hard_vote(logits).numpy(), voting(fitted, "hard").predict(X))


def test_a_tie_of_the_hard_vote_goes_to_the_lowest_class():
    votes = torch.tensor([[2, 1, 0], [1, 2, 0]])  # of two members for three images
    assert hard_vote(torch.nn.functional.one_hot(votes, 3).float()).tolist() == [1, 1, 0]


def test_the_module_averages_its_members_and_survives_confident_ones():
    big = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(big.weight, 1e4)
    team = SoftVote([big, torch.nn.Linear(2, 2)])
    log_probabilities = team(torch.ones(3, 2))
    assert log_probabilities.isfinite().all()
    torch.testing.assert_close(log_probabilities.exp().sum(1), torch.ones(3))


def test_an_empty_ensemble_is_refused():
    with pytest.raises(UsageError, match="at least one"):
        SoftVote([])


@pytest.mark.parametrize("detector", sorted(metrics.DETECTORS))
def test_the_ood_score_of_one_member_is_its_own(detector):
    logits = torch.randn(1, 40, 5, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(
        ensemble_ood_scores(logits, detector), metrics.ood_scores(logits[0], detector), atol=1e-9
    )
    with pytest.raises(UsageError, match="not known"):
        ensemble_ood_scores(logits, "nonsense")


def published(inside, outside):
    """The threshold vote written out image by image, in confidences as the original has them."""
    points = []
    for level in [0.99999999, *[i / 100 for i in range(98, -1, -1)]]:
        shares = []
        for images in (inside, outside):
            accepted = 0
            for image in range(images.shape[1]):
                votes = sum(
                    -images[member, image] > np.quantile(-inside[member], level) for member in range(len(images))
                )
                accepted += votes > len(images) - votes
            shares.append(accepted / images.shape[1])
        points.append(shares)
    points[0][0], points[-1][0] = 0.0, 1.0
    points.append([1.0, 1.0])
    return sum((b[1] - a[1]) * (a[0] + b[0]) / 2 for a, b in pairwise(points))


@pytest.mark.parametrize("members", [1, 2, 5])
def test_the_threshold_vote_is_the_published_one(members):
    rng = np.random.default_rng(members)
    inside, outside = rng.normal(size=(members, 30)).round(1), rng.normal(0.7, 1, size=(members, 20)).round(1)
    assert threshold_vote_auroc(inside, outside) == pytest.approx(published(inside, outside), abs=1e-12)


@given(st.integers(0, 10_000), st.floats(-2, 2))
def test_the_threshold_vote_of_one_member_is_its_auroc_but_for_the_steps(seed, shift):
    rng = np.random.default_rng(seed)
    inside, outside = rng.normal(size=(1, 500)), rng.normal(shift, 1, size=(1, 400))
    assert threshold_vote_auroc(inside, outside) == pytest.approx(metrics.auroc(inside[0], outside[0]), abs=0.01)


def test_a_tie_of_the_threshold_vote_is_out_of_distribution():
    inside = np.zeros((2, 50)) + np.linspace(0, 1, 50)
    halved = np.stack([np.full(20, -1.0), np.full(20, 2.0)])  # one member accepts everywhere, the other nowhere
    assert threshold_vote_auroc(inside, halved) == pytest.approx(1.0)
