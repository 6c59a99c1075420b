"""Unstructured pruning: masks by a brute-force sort, schedules by the closed form, zeros that stay."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moprune.networks.heads import HeadSpec
from moprune.population import TrainingSet
from problems.pruning.controls import active_fraction, points
from problems.pruning.controls.weights import (
    EVERY,
    FINE_TUNING,
    RAMP,
    PolynomialDecay,
    SparseWeights,
    _Cut,
    largest,
    pruned_matrices,
)
from problems.pruning.encodings import Encoding
from problems.pruning.rankings import fitted


@given(st.integers(1, 5), st.integers(1, 5), st.floats(0.01, 1), st.data())
def test_the_largest_weights_are_those_of_a_brute_force_sort(rows, columns, share, data):
    values = data.draw(st.lists(st.integers(-3, 3), min_size=rows * columns, max_size=rows * columns))
    mask = largest(torch.tensor(values, dtype=torch.float32).view(rows, columns), share)
    order = sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))
    assert mask.flatten().nonzero()[:, 0].tolist() == sorted(order[: max(1, round(share * len(values)))])
    assert mask.shape == (rows, columns)


@given(st.floats(0.1, 0.99), st.integers(1, 50), st.integers(1, 9))
def test_the_schedule_is_that_of_zhu_and_gupta(final, cuts, every):
    schedule = PolynomialDecay(final, cuts * every, every)
    for n in range(cuts + 1):
        t, t0 = n * every, 0  # their equation 1, with n cuts of interval dt
        expected = final + (0.1 - final) * (1 - (t - t0) / (cuts * every)) ** 3
        assert schedule.sparsity(t) == pytest.approx(expected)
    assert schedule.sparsity(0) == pytest.approx(0.1)
    assert schedule.sparsity(cuts * every + 5) == final
    assert [step for step in range(cuts * every + 2 * every) if schedule.cuts(step)] == [
        n * every for n in range(cuts + 1)
    ]  # fmt: skip


def test_a_final_sparsity_below_the_initial_one_is_never_exceeded():
    schedule = PolynomialDecay(0.04, 20, 5)
    assert [schedule.sparsity(step) for step in (0, 5, 20)] == [0.04] * 3


def test_the_matrices_pruned_are_those_of_the_encodings_units():
    spec = HeadSpec(4, (3, 2), 5)
    expected = {
        "features": [0], "first": [0], "second": [1], "neurons": [0, 1], "units": [0, 1], "edges": [0],
        "edges_second": [1],
    }  # fmt: skip
    assert {name: pruned_matrices(Encoding.of(name, spec)) for name in expected} == expected
    linear = HeadSpec(4, (), 5)
    assert pruned_matrices(Encoding.of("features", linear)) == pruned_matrices(Encoding.of("edges", linear)) == [0]


def test_at_once_and_without_tuning_the_smallest_weights_of_the_dense_head_are_zero(make_setting):
    setting = make_setting("edges", sizes=(20, 80))
    few, tuned, everything, _ = points("magnitude_weights", setting)
    spec, x = setting.encoding.spec, setting.data.features
    dense = fitted(spec, spec.all_on(), setting.data, setting.training, setting.seed)
    a, b = (matrix.clone() for matrix in dense.weights.matrices)
    torch.testing.assert_close(everything.fit(setting.data).logits(x), dense.logits(x))
    a[a.abs() < a.abs().flatten().sort().values[-20]] = 0
    head = few.fit(setting.data)
    torch.testing.assert_close(head.logits(x), torch.relu(x @ a) @ b + dense.weights.biases[1])
    assert active_fraction(setting.encoding, head) == 20 / 80
    again = tuned.fit(setting.data)
    assert active_fraction(setting.encoding, again) == 20 / 80
    assert (head.epochs, again.epochs) == (4, 4 + FINE_TUNING)


def loss(head, data):
    return float(torch.nn.functional.cross_entropy(head.logits(data.features), data.labels))


def test_fine_tuning_lowers_the_training_loss_and_leaves_zeros_alone(make_setting):
    setting = make_setting("edges", sizes=(8,))
    cut, tuned = (point.fit(setting.data) for point in points("magnitude_weights", setting))
    (decayed,) = (point.fit(setting.data) for point in points("polynomial_decay", setting))
    assert loss(tuned, setting.data) < loss(cut, setting.data)
    assert loss(decayed, setting.data) < loss(cut, setting.data)
    assert (cut.weights.matrices[0] != 0).sum() == (decayed.weights.matrices[0] != 0).sum() == 8
    assert ((cut.weights.matrices[0] != 0) == (tuned.weights.matrices[0] != 0)).all()


def test_polynomial_decay_cuts_on_schedule_and_never_brings_a_weight_back(make_setting):
    setting = make_setting("features", sizes=(2,))
    (point,) = points("polynomial_decay", setting)
    schedule = point.fit.schedule(images=60)  # three batches of 20
    assert schedule == PolynomialDecay(0.8, 3 * RAMP, 3 * EVERY)
    assert point.fit.schedule(images=61).every == 4 * EVERY
    generator = torch.Generator().manual_seed(0)
    cut, matrix = _Cut([0], 0.2, schedule), torch.randn(30, 10, generator=generator)
    zero = torch.zeros(30, 10, dtype=torch.bool)
    for step in range(3 * (RAMP + FINE_TUNING) + 1):
        cut(step, [matrix])
        assert not (zero & (matrix != 0)).any()
        zero = matrix == 0
        last = min(step - step % schedule.every, schedule.end)
        assert int(zero.sum()) == 300 - round(300 * (1 - schedule.sparsity(last)))
        matrix += 0.3 * torch.randn(30, 10, generator=generator)  # as a step of training would
    assert int(zero.sum()) == 240


def test_features_without_a_connection_are_not_read(make_setting):
    setting = make_setting("features", hidden=(2,), sizes=(1,))
    head = SparseWeights(setting.encoding, 0.05, setting.training, 0)(setting.data)  # one of twenty weights
    assert head.widths == (1, 1)
    assert active_fraction(setting.encoding, head) == 0.1
    assert head.logits(setting.data.features).shape == (60, 3)


def test_training_that_diverges_says_so(make_setting):
    setting = make_setting()
    wild = TrainingSet(setting.data.features * 1e20, setting.data.labels)
    for point in points("polynomial_decay", setting):
        assert point.fit(wild).failed
