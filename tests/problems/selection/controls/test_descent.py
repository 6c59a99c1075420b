"""Descents with hooks, against plain torch loops and the engine."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moprune.networks.selection import state_of
from moprune.population.tuning import Job, Labelled, Tuner, TuningRecipe
from problems.selection.controls.descent import WEIGHED, Course, descend

RECIPE = TuningRecipe(epochs=3, batch_size=16, learning_rate=0.01, statistics="frozen")
OPTIMISERS = [{}, {"optimiser": "adamw", "weight_decay": 0.1}, {"optimiser": "sgd", "weight_decay": 0.01}]


@pytest.fixture
def data(task):
    inputs, labels = task.train.inputs, task.train.labels
    return Labelled(torch.stack([inputs[i].float() for i in range(len(labels))]), labels)


@pytest.fixture
def network(make_setting):
    return make_setting().problem.base


def same(state, expected):
    assert set(state) <= set(expected)
    for name, value in state.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", OPTIMISERS, ids=str)
def test_without_hooks_it_is_plain_fine_tuning(network, data, plainly, options):
    recipe = replace(RECIPE, **options)
    names = ("conv2.weight", "bn3.bias", "linear.weight")
    start = {"linear.weight": torch.zeros(3, 32), "linear.bias": torch.ones(3)}
    found = descend(network, data, recipe, Course(names, 0.5, start, seed=3))
    expected = plainly(network, data, recipe, dict.fromkeys(names, 0.5), start, 3)
    assert found.names == names
    assert set(found.state) == {*names, "linear.bias"}
    same(found.state, expected)
    assert not torch.equal(found.state["conv2.weight"], state_of(network)["conv2.weight"])


@pytest.mark.parametrize(("horizon", "statistics"), [(None, "frozen"), (100, "frozen"), (None, "tuned"), (7, "all")])
def test_the_engine_does_the_same(network, data, horizon, statistics):
    # By SGD: Adam makes much of gradients that are zero but for rounding, as of biases before a normalisation.
    recipe = replace(RECIPE, horizon=horizon, statistics=statistics, optimiser="sgd" if horizon != 100 else "adam")
    names = tuple(name for name, _ in network.named_parameters())
    found = descend(network, data, recipe, Course(names, 0.1, seed=5))
    (tuned,) = Tuner(network, *data, recipe).tune([Job(dict.fromkeys(names, 0.1), seed=5)])
    same(found.state, {**state_of(network), **tuned.state})
    assert {name for name in tuned.state if "running" in name} == {name for name in found.state if "running" in name}


def test_penalties_are_part_of_the_loss(network, data, plainly):
    def penalty(parameters):
        return sum((each**2).sum() for each in parameters.values())

    names = ("conv3.weight", "linear.weight")
    found = descend(network, data, RECIPE, Course(names, penalty=penalty))
    same(found.state, plainly(network, data, RECIPE, dict.fromkeys(names, 1.0), {}, 0, penalty=penalty))
    without = descend(network, data, RECIPE, Course(names)).state
    assert not torch.allclose(found.state["conv3.weight"], without["conv3.weight"])


def test_weights_are_factors_for_an_epoch_with_an_optimiser_of_its_own(network, data, plainly):
    factors = [{"conv3.weight": 0.5, "linear.weight": 0.0}, {"conv3.weight": 1.0, "linear.weight": 0.25}]
    asked = []

    def weigh(parameters, gradients):
        asked.append((list(parameters), len(list(gradients))))
        return factors[len(asked) - 1]

    recipe = replace(RECIPE, epochs=2, horizon=2)
    names = ("conv3.weight", "linear.weight", "linear.bias")
    found = descend(network, data, recipe, Course(names, 2.0, weigh=weigh, seed=4))
    # One epoch after the other, each by a new Adam.
    expected = dict(state_of(network))
    for epoch, own in enumerate(factors):
        rates = {name: 2 * factor for name, factor in own.items() if factor}
        expected = plainly(network, data, recipe, rates, expected, 4, epochs=1, first=epoch)
    same(found.state, expected)
    assert [name for name, _ in asked] == [list(names)] * 2
    assert found.names == names[:2]
    assert all(count == min(WEIGHED, recipe.steps(len(data.labels))) for _, count in asked)
    assert set(found.state) == set(names[:2])


def test_gradients_are_of_the_cross_entropy_on_batches_of_the_training_set(network, data):
    names = ("conv2.weight", "linear.bias")
    seen = []

    def weigh(parameters, gradients):
        seen.extend({name: slope.clone() for name, slope in each.items()} for each in gradients)
        return dict.fromkeys(parameters, 1.0)

    # One batch of everything: its order does not matter.
    descend(network, data, replace(RECIPE, epochs=1, batch_size=1000), Course(names, weigh=weigh))
    leaves = [network.get_parameter(name).requires_grad_() for name in names]
    loss = torch.nn.functional.cross_entropy(network(data.inputs), data.labels)
    expected = torch.autograd.grad(loss, leaves)
    network.requires_grad_(False)
    (found,) = seen
    for name, slope in zip(names, expected, strict=True):
        torch.testing.assert_close(found[name], slope, rtol=1e-4, atol=1e-6)


@given(st.integers(2, 400), st.integers(2, 70), st.integers(1, 5), st.booleans())
def test_costs_count_each_image_three_times(count, batch_size, epochs, weighed):
    recipe = TuningRecipe(epochs=epochs, batch_size=batch_size)
    course = Course((), weigh=(lambda *_: {}) if weighed else None)
    sizes = [len(range(count)[i :: recipe.steps(count)]) for i in range(recipe.steps(count))]
    assert course.images(count, recipe) == 3 * epochs * (count + weighed * sum(sizes[:WEIGHED]))


def test_divergence_leaves_no_state(network, data):
    recipe = replace(RECIPE, optimiser="sgd", learning_rate=1e30)
    found = descend(network, data, recipe, Course(("conv1.weight", "linear.weight")))
    assert found == (None, ("conv1.weight", "linear.weight"))
