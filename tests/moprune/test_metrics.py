"""Metrics against scikit-learn and brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from moprune import metrics

# Few distinct values, so that ties are the rule.
tied = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30).map(np.array)
spread = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30).map(np.array)


def predictions(seed, n=200, classes=5):
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.permutation(np.arange(n) % classes))
    logits = torch.from_numpy(rng.normal(size=(n, classes))).float() * 3
    return logits, labels


@pytest.mark.parametrize("seed", range(5))
def test_predictive_metrics_equal_scikit_learn(seed):
    logits, labels = predictions(seed)
    labels[: 40 * seed] = 0  # unbalanced
    predicted = logits.argmax(1)
    assert metrics.error(logits, labels) == pytest.approx(1 - accuracy_score(labels, predicted), abs=1e-15)
    macro = 1 - balanced_accuracy_score(labels, predicted)
    assert metrics.macro_error(logits, labels) == pytest.approx(macro, abs=1e-12)
    worst = 1 - recall_score(labels, predicted, average=None).min()
    assert metrics.worst_class_error(logits, labels) == pytest.approx(worst, abs=1e-12)
    f1 = f1_score(labels, predicted, average="macro")
    assert metrics.macro_f1(logits, labels) == pytest.approx(f1, abs=1e-12)
    expected = log_loss(labels, logits.double().softmax(1).numpy(), labels=range(5))
    assert metrics.nll(logits, labels) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_expected_cost_weighs_the_confusion_matrix(seed):
    logits, labels = predictions(seed)
    costs = np.random.default_rng(seed).random((5, 5))
    confusion = confusion_matrix(labels, logits.argmax(1), labels=range(5))
    assert metrics.expected_cost(logits, labels, costs) == pytest.approx((confusion * costs).sum() / 200, abs=1e-12)
    equal = 1 - np.eye(5)
    assert metrics.expected_cost(logits, labels, equal) == pytest.approx(metrics.error(logits, labels), abs=1e-12)


@pytest.mark.parametrize("name", ["nll", "brier"])
def test_terms_are_of_one_image_each(name):
    logits, labels = predictions(1, n=20)
    terms = getattr(metrics, f"{name}_terms")(logits, labels)
    alone = [getattr(metrics, name)(logits[i : i + 1], labels[i : i + 1]) for i in range(20)]
    assert terms == pytest.approx(alone, rel=1e-12)
    assert metrics.wrong_terms(logits, labels).tolist() == (logits.argmax(1) != labels).double().tolist()


@pytest.mark.parametrize("seed", range(3))
def test_the_brier_score_of_two_classes_is_that_of_scikit_learn(seed):
    logits, labels = predictions(seed, classes=2)
    expected = brier_score_loss(labels, logits.double().softmax(1)[:, 1].numpy())
    assert metrics.brier(logits, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_brier_score_is_half_the_mean_squared_distance(classes):
    logits, labels = predictions(1, classes=classes)
    total = 0.0
    for row, label in zip(logits.double().softmax(1).tolist(), labels.tolist(), strict=True):
        total += sum((p - (c == label)) ** 2 for c, p in enumerate(row)) / 2
    assert metrics.brier(logits, labels) == pytest.approx(total / len(labels), abs=1e-12)


def test_the_brier_score_at_its_bounds():
    labels = torch.arange(5)
    certain = 1e4 * torch.eye(5)
    assert metrics.brier(certain, labels) == 0
    assert metrics.brier(certain, (labels + 1) % 5) == 1
    assert metrics.brier(-certain, labels) == pytest.approx((1 + 4 / 16) / 2)
    assert metrics.brier(torch.zeros(5, 5), labels) == pytest.approx((1 - 1 / 5) / 2)


@given(st.integers(0, 999), st.integers(2, 6), st.floats(0, 100))
def test_the_brier_score_is_a_share_blind_to_shifts_and_at_least_a_quarter_of_the_error(seed, classes, size):
    logits, labels = predictions(seed, n=12, classes=classes)
    value = metrics.brier(size * logits, labels)
    assert 0 <= value <= 1
    assert metrics.brier((size * logits).double() + 3.0, labels) == pytest.approx(value, abs=1e-9)
    # The class of a wrong answer has at least the probability of the true one: (1/2)^2 twice, halved, is the least.
    assert value >= metrics.error(size * logits, labels) / 4 - 1e-9


def test_a_class_without_images_does_not_count():
    logits = torch.eye(4)[[0, 1, 2]]
    assert metrics.macro_error(logits, torch.tensor([0, 1, 0])) == pytest.approx(0.25)


def test_ties_go_to_the_lowest_class():
    logits = torch.zeros(4, 3)
    assert metrics.error(logits, torch.tensor([0, 0, 1, 2])) == 0.5


def brute_force_ece(logits, labels, bins):
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == labels
    total = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("bins", [1, 3, 15])
@pytest.mark.parametrize("seed", range(4))
def test_ece_equals_brute_force(seed, bins):
    logits, labels = predictions(seed)
    expected = brute_force_ece(logits.double().numpy(), labels.numpy(), bins)
    assert metrics.ece(logits, labels, bins) == pytest.approx(expected, abs=1e-12)


def test_ece_at_the_ends():
    labels = torch.tensor([0, 1])
    certain = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    assert metrics.ece(certain, labels) == 0
    assert metrics.ece(-certain, labels) == 1
    assert metrics.ece(torch.zeros(2, 2), labels) == pytest.approx(0)


@given(st.one_of(st.tuples(tied, tied), st.tuples(spread, spread)))
def test_auroc_equals_scikit_learn(scores):
    inside, outside = scores
    truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    expected = roc_auc_score(truth, np.r_[inside, outside])
    assert metrics.auroc(inside, outside) == pytest.approx(expected, abs=1e-12)


@given(st.one_of(st.tuples(tied, tied), st.tuples(spread, spread)))
def test_auroc_is_the_share_of_pairs_in_the_right_order(scores):
    inside, outside = scores
    pairs = np.subtract.outer(outside, inside)
    assert metrics.auroc(inside, outside) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=1e-12)
    assert metrics.auroc(inside, outside) == pytest.approx(1 - metrics.auroc(outside, inside), abs=1e-12)


def fpr_at_recall(positive, negative):
    """The least false positive rate on scikit-learn's ROC curve at a true positive rate of at least 95 %."""
    truth = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    false, true, _ = roc_curve(truth, np.r_[positive, negative], drop_intermediate=False)
    return false[true >= 0.95 - 1e-12].min()


@given(st.one_of(st.tuples(tied, tied), st.tuples(spread, spread)))
def test_both_kinds_of_fpr95_follow_from_scikit_learns_curve(scores):
    inside, outside = scores
    assert metrics.fpr95(inside, outside) == pytest.approx(fpr_at_recall(outside, inside), abs=1e-12)
    # Here the in-distribution images are the positives, and low scores are theirs.
    assert metrics.fpr95_id(inside, outside) == pytest.approx(fpr_at_recall(-inside, -outside), abs=1e-12)


@pytest.mark.parametrize("count", [1, 19, 20, 21, 40, 100])
def test_fpr95_at_the_counts_where_the_threshold_moves(count):
    outside, inside = np.arange(count, dtype=float), np.arange(-50, 150, dtype=float) + 0.5
    assert metrics.fpr95(inside, outside) == pytest.approx(fpr_at_recall(outside, inside), abs=1e-12)


def test_the_two_fpr95_differ_and_perfect_scores_give_none():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=500), rng.normal(2.0, 2.0, size=400)
    assert metrics.fpr95(inside, outside) != metrics.fpr95_id(inside, outside)
    assert metrics.fpr95(inside, inside.max() + 1 + outside**2) == 0
    assert metrics.fpr95_id(inside, inside.max() + 1 + outside**2) == 0


@pytest.mark.parametrize("detector", sorted(metrics.DETECTORS))
def test_detectors_equal_their_formulas(detector):
    logits, _ = predictions(0)
    z = logits.double().numpy()

    def softmax(x):
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    expected = {
        "msp": -np.log(softmax(z).max(1)),
        "max_logit": -z.max(1),
        "energy": -np.log(np.exp(z).sum(1)),
        "odin": -np.log(softmax(z / 1000).max(1)),
    }[detector]
    scores = metrics.ood_scores(logits, detector)
    assert scores.dtype == np.float64
    assert scores == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("detector", sorted(metrics.DETECTORS))
def test_scores_of_confident_logits_keep_their_order(detector):
    """Softmax probabilities of these are all 1.0 in float32; their scores still tell them apart."""
    confidence = torch.linspace(19, 25, 50)
    logits = torch.zeros(50, 4)
    logits[:, 2] = confidence
    assert (logits.softmax(1).amax(1) == 1).all()
    scores = metrics.ood_scores(logits, detector)
    assert (np.diff(scores) < 0).all()
    assert metrics.auroc(scores[25:], scores[:25]) == 1


@pytest.mark.parametrize("size", [1e4, 1e20, 3e38])
def test_huge_logits_stay_finite(size):
    logits = size * torch.nn.functional.one_hot(torch.arange(6) % 3).float()
    right, wrong = torch.arange(6) % 3, (torch.arange(6) + 1) % 3
    for labels in (right, wrong):
        for measure in (metrics.error, metrics.macro_error, metrics.nll, metrics.brier, metrics.ece):
            assert np.isfinite(measure(logits, labels))
    for detector in metrics.DETECTORS:
        assert np.isfinite(metrics.ood_scores(logits, detector)).all()
        assert np.isfinite(metrics.ood_scores(-logits, detector)).all()
