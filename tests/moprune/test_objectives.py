"""Objectives: names, directions, detectors and one's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from moprune import metrics
from moprune.detectors import DETECTORS, knn, mahalanobis
from moprune.errors import UsageError
from moprune.objectives import NAMES, NEEDS, Objective, Outcome, expected_cost, objective, resolve
from moprune.testing import ObjectiveContract

LARGEST = {"active_units": 10.0, "head_parameters": 100.0, "parameters": 1000.0, "flops": 10_000.0}
LARGEST |= {"trainable_parameters": 100.0, "backward_flops": 1000.0, "activation_bytes": 1000.0, "stored_bytes": 400.0}
CASES = [(name, None) for name in NAMES] + [(n, d) for n in NAMES if n.startswith("ood_") for d in DETECTORS]


@pytest.mark.parametrize(("name", "detector"), CASES)
class TestNamedObjectives(ObjectiveContract):
    @pytest.fixture(autouse=True)
    def _named(self, name, detector):
        self.name, self.detector = name, detector

    def make_objective(self):
        return objective(self.name, detector=self.detector, largest=LARGEST.get(self.name))


def share_of_class_0(outcome):
    return float((outcome.logits.argmax(1) == 0).double().mean())


class TestOnesOwnObjective(ObjectiveContract):
    def make_objective(self):
        return Objective("zeros", "share of images", False, 0.0, share_of_class_0)


def outcome():
    return TestOnesOwnObjective().make_outcome(3)


def test_the_directions():
    assert {name for name in NAMES if not objective(name).minimise} == {"ood_auroc", "macro_f1"}
    assert objective("ood_auroc").minimised(np.array([0.9, 0.2])) == pytest.approx([0.1, 0.8])
    assert objective("error").minimised(np.array([0.9])) == pytest.approx([0.9])
    assert (objective("ood_auroc").reference, objective("error").reference, objective("nll").reference) == (1, 1, 10)


def test_named_objectives_are_their_metrics():
    o = outcome()
    for name in ("error", "macro_error", "worst_class_error", "macro_f1", "nll", "brier", "ece"):
        assert objective(name).compute(o) == getattr(metrics, name)(o.logits, o.labels)
    for name in ("active_fraction", "active_units", "head_parameters", "trainable_share", "stored_bytes"):
        assert objective(name).compute(o) == o.costs[name]


def test_each_has_its_name_and_unit():
    for name in NAMES:
        assert objective(name).name == name
    units = {
        "error": "share of images",
        "macro_f1": "mean F1 of the classes",
        "flops": "FLOPs an image of the slimmed network",
        "ood_auroc": "share (energy score)",
        "corruption_error": "mean share of images per corruption",
    }
    assert {name: objective(name).unit for name in units} == units


def test_shares_are_worst_at_one_and_counts_at_their_largest():
    for name in NAMES:
        if (each := objective(name, largest=7.0)).is_cost:
            expected = 1.0 if name in ("active_fraction", "trainable_share") else 7.0
            assert (each.worst, each.scale, each.minimise) == (expected, expected, True)
            assert objective(name).scale == 1, "a count whose largest is not known is not scaled"


@pytest.mark.parametrize("name", NAMES)
def test_terms_have_the_value_as_their_mean(name):
    o, each = outcome(), objective(name)
    if name in ("error", "nll", "brier"):
        terms = each.terms(o.logits, o.labels)
        assert min(terms.mean(), each.worst) == each.compute(o)
        assert terms.min() >= 0
    else:
        assert each.terms is None


def test_the_expected_cost_is_an_objective():
    o = outcome()
    classes = o.logits.shape[1]
    table = np.arange(classes**2.0).reshape(classes, classes) * (1 - np.eye(classes))
    each = expected_cost(table)
    assert each.compute(o) == metrics.expected_cost(o.logits, o.labels, table)
    assert (each.worst, each.reference, each.scale) == (table.max(), table.max(), table.max())
    assert (each.name, each.unit) == ("expected_cost", "cost an image")
    for wrong in (np.ones((2, 2)), np.zeros((2, 2)), -table, table[:2], np.full((3, 3), np.nan)):
        with pytest.raises(UsageError, match="costs must be a square table"):
            expected_cost(wrong)
    with pytest.raises(UsageError, match="costs for 2 classes"):
        expected_cost([[0, 1], [1, 0]]).compute(o)


def detected(o, detector):
    """Scores of the split's images and of each pool's."""
    if detector in metrics.DETECTORS:
        parts = [o.logits, *o.ood_logits.values()]
        return [metrics.ood_scores(part, detector) for part in parts]
    if detector == "odin_perturbed":
        parts = [o.perturbed.images, *o.perturbed.pools.values()]
        return [-(part.double() / 1000).softmax(1).amax(1).log().numpy() for part in parts]
    seen = o.features if detector.endswith("_features") else o.representations
    score = knn(seen.train) if detector.startswith("knn") else mahalanobis(seen.train, seen.train_labels)
    return [score(part) for part in (seen.images, *seen.pools.values())]


@pytest.mark.parametrize("detector", sorted(DETECTORS))
def test_detection_is_the_mean_over_pools(detector):
    o = outcome()
    inside, *outside = detected(o, detector)
    for name, measure in (
        ("ood_auroc", metrics.auroc),
        ("ood_fpr95", metrics.fpr95),
        ("ood_fpr95_id", metrics.fpr95_id),
    ):
        expected = sum(measure(inside, each) for each in outside) / 2
        assert objective(name, detector=detector).compute(o) == pytest.approx(expected, abs=1e-15)
        assert detector in objective(name, detector=detector).unit
        assert objective(name, detector=detector).needs == DETECTORS[detector]


@pytest.mark.parametrize(("detector", "space"), [("knn", "representations"), ("knn_features", "features")])
def test_the_neighbour_can_be_chosen(detector, space):
    o = outcome()
    seen = getattr(o, space)
    score = knn(seen.train, 2)
    expected = np.mean([metrics.auroc(score(seen.images), score(pool)) for pool in seen.pools.values()])
    nearest = knn(seen.train, 1)
    assert objective("ood_fpr95", detector=detector, k=1).compute(o) == pytest.approx(
        np.mean([metrics.fpr95(nearest(seen.images), nearest(pool)) for pool in seen.pools.values()]), abs=1e-15
    )
    second = objective("ood_auroc", detector=detector, k=2)
    assert second.compute(o) == pytest.approx(expected, abs=1e-15)
    assert second.unit == f"share ({detector} score, k=2)"
    assert second.compute(o) != objective("ood_auroc", detector=detector).compute(o)


def test_robustness_is_error_rates():
    o = outcome()
    rates = [metrics.error(logits, o.labels) for logits in o.corrupted_logits.values()]
    assert objective("corruption_error").compute(o) == pytest.approx(sum(rates) / 2, abs=1e-15)
    assert len(set(rates)) == 2
    attacked = metrics.error(o.attacked.logits, o.attacked.labels)
    assert objective("adversarial_error").compute(o) == attacked != objective("error").compute(o)


@pytest.mark.parametrize(
    ("name", "detector", "need"),
    [
        ("ood_auroc", "mahalanobis", "representations"),
        ("ood_auroc", "knn", "representations"),
        ("ood_auroc", "mahalanobis_features", "features"),
        ("ood_fpr95_id", "knn_features", "features"),
        ("ood_fpr95", "odin_perturbed", "perturbed"),
        ("corruption_error", None, "corruptions"),
        ("adversarial_error", None, "attacks"),
    ],
)
def test_an_outcome_without_what_is_needed_is_refused(name, detector, need):
    o = outcome()
    bare = Outcome(o.logits, o.labels, o.ood_logits)
    assert need in objective(name, detector=detector).needs
    with pytest.raises(UsageError, match=f"needs {need} "):
        objective(name, detector=detector).compute(bare)


def test_unknown_needs_are_refused():
    with pytest.raises(UsageError, match="need of objective 'mine' 'odd' is not known; did you mean 'ood'"):
        Objective("mine", "share", True, 1.0, share_of_class_0, needs=frozenset({"odd"}))
    assert set().union(*(objective(name).needs for name in NAMES), *DETECTORS.values()) == set(NEEDS)


def test_the_likelihood_is_cut_off_at_its_worst():
    o = outcome()
    certainly_wrong = replace(o, logits=-1e4 * torch.nn.functional.one_hot(o.labels, 5).float())
    assert objective("nll").compute(certainly_wrong) == 10


def test_counts_are_scaled_by_their_largest():
    counted = objective("head_parameters", largest=100)
    assert (counted.scale, counted.worst, counted.reference) == (100, 100, 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "eror"}, "did you mean 'error'"),
        ({"name": "error", "detector": "msp"}, "takes no detector"),
        ({"name": "corruption_error", "detector": "msp"}, "takes no detector"),
        ({"name": "ood_auroc", "detector": "energy", "k": 3}, "with detectors knn and knn_features alone"),
        ({"name": "ood_auroc", "detector": "knn", "k": 0}, "give one of 1 or more"),
        ({"name": "ood_auroc", "detector": "energie"}, "did you mean 'energy'"),
    ],
)
def test_unknown_names_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        objective(**arguments)


def test_resolving():
    mine = Objective("mine", "share", True, 1.0, share_of_class_0)
    names = [o.name for o in resolve(["error", mine, "active_units"], {"active_units": 7})]
    assert names == ["error", "mine", "active_units"]
    assert resolve(["active_units"], {"active_units": 7})[0].scale == 7
    with pytest.raises(UsageError, match="no objective"):
        resolve([])
    with pytest.raises(UsageError, match="'error' is given twice"):
        resolve(["error", "ece", "error"])


def test_a_cost_the_task_has_not_is_named():
    bare = Outcome(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), costs={"flops": 1.0})
    with pytest.raises(UsageError, match="it has: flops"):
        objective("active_fraction").compute(bare)
