import numpy as np
import pytest
import torch
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression

from analysis.ensembles import SoftVote, soft_vote
from moprune.errors import UsageError


def test_soft_vote_is_scikit_learns():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    members = [LogisticRegression(C=c).fit(X, y) for c in (0.01, 1.0, 100.0)]
    voting = VotingClassifier([(str(i), m) for i, m in enumerate(members)], voting="soft").fit(X, y)
    logits = [torch.tensor(m.decision_function(X)) for m in members]
    np.testing.assert_allclose(soft_vote(logits).exp().numpy(), voting.predict_proba(X), atol=1e-9)


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
