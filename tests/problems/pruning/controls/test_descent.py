"""Descent at the level of single weights, and cutting out what zeros leave unconnected."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moprune.networks.heads import HeadSpec, HeadWeights, TrainedHead, initial_weights
from moprune.population import Training
from problems.pruning.controls.descent import descend, live_units, without_dead_units
from problems.pruning.rankings import fitted


@pytest.mark.parametrize("options", [{"momentum": 0.0}, {"nesterov": False}, {"decay": 0.1, "weight_decay": 0.2}])
@pytest.mark.parametrize("head", [{"hidden": ()}, {"hidden": (6, 5), "hidden_bias": True, "activation": "tanh"}])
def test_without_a_projection_it_is_the_training_of_candidates(options, head, data):
    spec, training = HeadSpec(10, classes=3, **head), Training(epochs=5, batch_size=16, learning_rate=0.03, **options)
    expected = fitted(spec, spec.all_on(), data, training, 1).weights
    got = descend(spec, initial_weights(spec, 1), data, training, epochs=5, seed=1, project=lambda step, matrices: None)
    for a, b in zip([*got.matrices, *got.biases], [*expected.matrices, *expected.biases], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
            assert not a.requires_grad


def test_the_projection_is_called_before_the_first_step_and_after_each(data):
    spec, steps = HeadSpec(10, (), 3), []
    start = initial_weights(spec, 0)
    before = start.matrices[0].clone()

    def clear(step, matrices):
        steps.append(step)
        matrices[0][2] = 0

    got = descend(spec, start, data, Training(batch_size=25), epochs=2, seed=0, project=clear)
    assert steps == list(range(7))  # 60 images make three batches
    assert (got.matrices[0][2] == 0).all()
    assert (got.matrices[0][3] != before[3]).all()
    assert (start.matrices[0] == before).all()


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.sampled_from(["relu", "tanh", "sigmoid"]),
    st.booleans(),
    st.floats(0, 1),
    st.integers(0, 999),
)
def test_cutting_dead_units_out_does_not_change_the_logits(widths, activation, bias, density, seed):
    generator = torch.Generator().manual_seed(seed)
    spec = HeadSpec(widths[0], tuple(widths[1:]), 3, activation, bias)
    shapes = zip([*widths], [*widths[1:], 3], strict=True)
    matrices = tuple(
        torch.randn(s, generator=generator) * (torch.rand(s, generator=generator) < density) for s in shapes
    )
    biases = tuple(
        torch.randn(m.shape[1], generator=generator) if bias or m is matrices[-1] else None for m in matrices
    )
    weights = HeadWeights(matrices, biases)
    whole = TrainedHead(spec, torch.arange(widths[0]), weights, 0)
    head = without_dead_units(spec, weights, 0)
    x = torch.randn(7, widths[0], generator=generator)
    torch.testing.assert_close(head.logits(x), whole.logits(x))
    live = live_units(spec, weights)
    assert head.widths == tuple(int(mask.sum()) for mask in live)
    present = sum(int((m != 0).sum()) for m in head.weights.matrices)
    hidden = sum(head.widths[1:]) if bias else 0
    assert head.parameters() == present + hidden + 3


def test_units_off_every_path_from_a_feature_to_a_class_are_dead():
    # Feature 0 -> neuron 0 -> class; feature 1 -> neuron 1, which nothing reads; neuron 2 is read and reads nothing.
    weights = HeadWeights(
        (torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]), torch.tensor([[1.0, 2], [0, 0], [3, 0]])), (None, torch.zeros(2))
    )
    assert [mask.tolist() for mask in live_units(HeadSpec(2, (3,), 2), weights)] == [
        [True, False],
        [True, False, False],
    ]
    sigmoid = live_units(HeadSpec(2, (3,), 2, "sigmoid"), weights)  # one half at zero
    assert [mask.tolist() for mask in sigmoid] == [[True, False], [True, False, True]]
