"""The lasso against its optimality conditions and scikit-learn's solver."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression as Model

from moprune.networks.heads import HeadSpec
from moprune.population import TrainingSet
from problems.pruning.controls import points
from problems.pruning.controls.lasso import SHARES, Lasso, fit_lasso, largest_penalty
from problems.pruning.controls.linear import Standardised


def one_hot(train):
    return np.eye(len(train.classes))[train.labels]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.99])
def test_the_solution_meets_the_optimality_conditions(share, data):
    train = Standardised.of(data)
    penalty = share * largest_penalty(train)
    weights, intercepts = fit_lasso(train, penalty)
    slopes = train.features.T @ (softmax(train.features @ weights + intercepts, 1) - one_hot(train)) / 60
    on = weights != 0
    np.testing.assert_allclose(slopes[on], -penalty * np.sign(weights[on]), atol=5e-3 * penalty)
    assert np.abs(slopes[~on]).max() <= penalty * (1 + 5e-3)
    residual = (softmax(train.features @ weights + intercepts, 1) - one_hot(train)).mean(0)
    assert np.abs(residual).max() <= 5e-3 * penalty


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_logits_are_those_of_scikit_learn(share, data):
    train = Standardised.of(data)
    penalty = share * largest_penalty(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the penalty's name is leaving; old versions need it
        model = Model(
            penalty="elasticnet", l1_ratio=1.0, C=1 / (penalty * 60), solver="saga", tol=1e-8, max_iter=50_000,
            random_state=0,
        ).fit(train.features, train.labels)  # fmt: skip
    head = Lasso(HeadSpec(10, (), 3), share)(data)
    ours, theirs = head.logits(data.features).double(), torch.tensor(model.decision_function(train.features))
    centred = [logits - logits.mean(1, keepdim=True) for logits in (ours, theirs)]
    torch.testing.assert_close(*centred, rtol=0, atol=5e-3)
    assert head.kept.tolist() == np.flatnonzero(model.coef_.any(axis=0)).tolist()
    assert head.parameters() == (model.coef_ != 0).sum() + 3


def test_at_the_largest_penalty_no_feature_is_left_and_just_below_it_one_is(data):
    train = Standardised.of(data)
    largest = largest_penalty(train)
    weights, intercepts = fit_lasso(train, 1.0001 * largest)
    assert not weights.any()
    np.testing.assert_allclose(softmax(intercepts), 1 / 3, atol=1e-6)
    assert (fit_lasso(train, 0.98 * largest)[0].any(axis=1)).sum() == 1


def test_no_other_weights_do_better(data):
    train = Standardised.of(data)
    penalty = 0.2 * largest_penalty(train)

    def objective(weights, intercepts):
        log_probabilities = log_softmax(train.features @ weights + intercepts, axis=1)
        return -(log_probabilities * one_hot(train)).sum() / 60 + penalty * np.abs(weights).sum()

    weights, intercepts = fit_lasso(train, penalty)
    generator = np.random.default_rng(0)
    for size in (1e-1, 1e-2):
        for _ in range(50):
            other = weights + size * generator.normal(size=weights.shape)
            assert objective(other, intercepts) > objective(weights, intercepts)


def test_the_path_keeps_ever_more_features_and_they_are_the_genomes(make_setting):
    setting = make_setting()
    made = points("lasso", setting)
    recipes = [point for point in made if point.fit is not None]
    kept = [tuple(point.fit(setting.data).kept.tolist()) for point in recipes]
    assert len(recipes) == len(SHARES)
    assert len(kept[0]) < len(kept[5]) < len(kept[-1])
    assert 9 not in kept[-1]  # it is constant
    genomes = [tuple(np.flatnonzero(point.genome)) for point in made if point.genome is not None]
    assert genomes == list(dict.fromkeys(kept))


def test_one_feature_is_kept_or_not():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(30) % 2
    data = TrainingSet(torch.randn(30, 1, generator=generator) + 2 * labels[:, None], labels)
    assert Lasso(HeadSpec(1, (), 2), 0.5)(data).widths == (1,)
    assert Lasso(HeadSpec(1, (), 2), 1.01)(data).widths == (0,)
