"""Linear heads on raw features against scikit-learn on standardised ones."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as Model
from sklearn.preprocessing import StandardScaler

from moprune.errors import UsageError
from moprune.networks.heads import HeadSpec
from moprune.population import TrainingSet
from problems.pruning.controls import points
from problems.pruning.controls.linear import Standardised
from problems.pruning.controls.logistic import STRENGTHS, USUAL, LogisticRegression, choose_strength, fit_logistic

CPU = torch.device("cpu")


def test_standardising_is_that_of_scikit_learn(data):
    train = Standardised.of(data)
    expected = StandardScaler().fit_transform(data.features.double().numpy())
    np.testing.assert_allclose(train.features[:, :9], expected[:, :9], atol=1e-12)
    assert (train.features[:, 9] == 0).all()


@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_logits_are_the_decision_function_of_scikit_learn(strength, data):
    train = Standardised.of(data)
    head = train.head(HeadSpec(10, (4,), 3), *fit_logistic(train, strength), CPU)
    scaler = StandardScaler().fit(data.features.double().numpy())
    x = scaler.transform(data.features.double().numpy())
    x[:, 9] = 0
    model = Model(C=strength, max_iter=1000).fit(x, data.labels.numpy())
    np.testing.assert_allclose(head.logits(data.features).numpy(), model.decision_function(x), atol=1e-4)
    assert head.spec == HeadSpec(10, (), 3)
    assert head.kept.tolist() == list(range(9))


def test_two_classes_share_the_decision_function_between_their_logits(data):
    two = TrainingSet(data.features[data.labels < 2], data.labels[data.labels < 2])
    train = Standardised.of(two)
    head = train.head(HeadSpec(10, (), 2), *fit_logistic(train, 0.1), CPU)
    model = Model(C=0.1, max_iter=1000).fit(train.features, two.labels.numpy())
    logits = head.logits(two.features)
    np.testing.assert_allclose(
        (logits[:, 1] - logits[:, 0]).numpy(), model.decision_function(train.features), atol=1e-4
    )
    np.testing.assert_allclose(logits.softmax(1).numpy(), model.predict_proba(train.features), atol=1e-5)
    assert logits.sum(1).abs().max() < 1e-4


def test_a_class_without_an_image_is_not_predicted(data):
    keep = data.labels != 1
    head = LogisticRegression(HeadSpec(10, (), 3), 0)(TrainingSet(data.features[keep], data.labels[keep]))
    logits = head.logits(data.features)
    assert logits.shape == (60, 3)
    assert set(logits.argmax(1).tolist()) == {0, 2}
    assert logits.softmax(1)[:, 1].max() < 1e-20


def test_the_strength_is_the_one_of_least_cross_validated_loss(data):
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold

    from moprune.seeding import derive

    noise = 4 * torch.randn(60, 10, generator=torch.Generator().manual_seed(0))
    train = Standardised.of(TrainingSet(data.features + noise, data.labels))
    folds = StratifiedKFold(5, shuffle=True, random_state=derive(4, "logistic regression") % 2**32)
    losses = []
    for strength in STRENGTHS:
        each = []
        for fit, held in folds.split(train.features, train.labels):
            scaler = StandardScaler().fit(train.features[fit])
            model = Model(C=strength, max_iter=1000).fit(scaler.transform(train.features[fit]), train.labels[fit])
            each.append(log_loss(train.labels[held], model.predict_proba(scaler.transform(train.features[held]))))
        losses.append(np.mean(each))
    assert choose_strength(train, 4) == STRENGTHS[int(np.argmin(losses))]
    assert 0 < np.argmin(losses) < len(STRENGTHS) - 1  # so that the test can tell a choice from an end of the grid


def test_few_images_make_fewer_folds_or_none():
    generator = torch.Generator().manual_seed(0)
    for counts in ((3, 5), (1, 6)):
        labels = torch.tensor([0] * counts[0] + [1] * counts[1])
        data = TrainingSet(torch.randn(len(labels), 4, generator=generator) + labels[:, None], labels)
        strength = choose_strength(Standardised.of(data), 0)
        assert strength in STRENGTHS
        assert counts[0] > 1 or strength == USUAL
        assert LogisticRegression(HeadSpec(4, (), 2), 0)(data).logits(data.features).isfinite().all()


def test_one_feature_and_none_that_varies(data):
    one = TrainingSet(data.features[:, :1], data.labels)
    assert LogisticRegression(HeadSpec(1, (), 3), 0)(one).widths == (1,)
    constant = TrainingSet(torch.full((60, 2), 3.0), data.labels)
    head = LogisticRegression(HeadSpec(2, (), 3), 0)(constant)
    assert head.widths == (0,)
    np.testing.assert_allclose(head.logits(constant.features).softmax(1).numpy(), 1 / 3, atol=1e-6)


def test_what_no_linear_head_can_be_fitted_to_is_refused(make_setting):
    setting = make_setting()
    (point,) = points("logistic_regression", setting)
    with pytest.raises(UsageError, match="at least two classes"):
        point.fit(TrainingSet(setting.data.features, torch.zeros(60, dtype=torch.int64)))
    with pytest.raises(UsageError, match="not finite"):
        point.fit(TrainingSet(setting.data.features / 0, setting.data.labels))
