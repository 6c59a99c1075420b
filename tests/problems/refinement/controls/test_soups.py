"""Averages of weights against means written out, brute force, and a descent by hand."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from moprune.networks.selection import state_of
from moprune.population.recipes import Recipe
from problems.refinement.controls import points


def mean_by_hand(network, states):
    """Returns the mean of states, a tensor that one lacks being the network's."""
    start = state_of(network)
    names = sorted({name for state in states for name in state})
    return {name: np.mean([state.get(name, start[name]).double().numpy() for state in states], 0) for name in names}


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(state[name].numpy(), value, rtol=1e-6, atol=1e-7)


def test_the_uniform_soup_is_the_mean_and_of_linear_models_the_mean_of_logits(make_setting, linear, predictions):
    setting = make_setting(linear)
    (point,) = points("uniform_soup", setting)
    (soup,) = point.states
    assert_same(soup, mean_by_hand(linear, setting.states))
    inputs = setting.search.inputs
    each = [predictions(linear, state, inputs) for state in setting.states]
    np.testing.assert_allclose(predictions(linear, soup, inputs), np.mean(each, 0), atol=1e-5)
    assert point.images == 0


def test_the_greedy_soup_is_that_of_brute_force(make_setting, network, loss):
    sizes = set()
    for members in (2, 3, 5):
        setting = make_setting(network, members=members)
        states = list(setting.states)
        order = sorted(range(members), key=lambda i: loss(network, [states[i]], setting.search))
        taken = [order[0]]
        for member in order[1:]:
            before = mean_by_hand(network, [states[i] for i in taken])
            after = mean_by_hand(network, [states[i] for i in (*taken, member)])
            each = [{k: torch.tensor(v, dtype=torch.float32) for k, v in mean.items()} for mean in (before, after)]
            if loss(network, [each[1]], setting.search) <= loss(network, [each[0]], setting.search):
                taken.append(member)
        (point,) = points("greedy_soup", setting)
        assert point.name == f"{len(taken)} of {members} members"
        assert_same(point.states[0], mean_by_hand(network, [states[i] for i in taken]))
        assert point.images == (2 * members - 1) * 60
        sizes.add(len(taken) / members)
    assert len(sizes) > 1  # some are left out, or the test says little


def test_averaging_is_never_worse_than_start_and_members_and_never_worse_for_more_budget(make_setting, network, loss):
    losses = []
    for evaluations in (5, 10, 50, 200):
        setting = make_setting(network, budget=evaluations * 60 + 59)
        (point,) = points("averaging", setting)
        assert point.images <= evaluations * 60
        losses.append(loss(network, point.states, setting.search))
    alone = [loss(network, [state], setting.search) for state in ({}, *setting.states)]
    assert losses[0] == pytest.approx(min(alone), abs=1e-6)  # the population itself
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 1e-4


def test_averaging_stops_at_one_point(make_setting, network):
    setting = make_setting(network, budget=60 * 100_000)
    (point,) = points("averaging", setting)
    assert point.images < 60 * 2_000


def test_a_learned_soup_of_linear_models_is_a_descent_by_hand_on_their_shares(make_setting, linear, predictions):
    """Of one layer, the soup's logits are the members' mixed; three full-batch steps of Adam with exact gradients."""
    setting = make_setting(linear, members=3, recipe=Recipe(batch_size=1000))
    labels = setting.search.labels.numpy()
    each = np.stack([predictions(linear, state, setting.search.inputs) for state in setting.states])
    scores, first, second = np.zeros(3), np.zeros(3), np.zeros(3)
    for step in range(1, 4):
        shares = softmax(scores)
        logits = np.tensordot(shares, each, 1)
        residual = softmax(logits, axis=1)
        residual[np.arange(len(labels)), labels] -= 1
        by_share = (each * residual / len(labels)).sum((1, 2))
        slope = shares * (by_share - shares @ by_share)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        scores -= 0.1 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    (point,) = points("learned_soup", setting)
    expected = np.tensordot(softmax(scores), each, 1)
    np.testing.assert_allclose(predictions(linear, point.states[0], setting.search.inputs), expected, atol=1e-4)
    assert point.images == 3 * 3 * 60
    uniform = -log_softmax(each.mean(0), axis=1)[np.arange(len(labels)), labels].mean()
    assert -log_softmax(expected, axis=1)[np.arange(len(labels)), labels].mean() < uniform


def test_a_learned_soup_has_shares_of_its_own_in_each_layer(make_setting, network, loss):
    setting = make_setting(network)
    (learned,), (uniform,) = points("learned_soup", setting), points("uniform_soup", setting)
    assert learned.name == "3 layers"
    assert loss(network, learned.states, setting.search) < loss(network, uniform.states, setting.search)
    # Statistics go by the shares of their layer: as its weights lie among the members', so do they.
    stack = {name: np.stack([state[name].numpy() for state in setting.states]) for name in learned.states[0]}
    weight, mean = stack["1.weight"], stack["1.running_mean"]
    shares, *_ = np.linalg.lstsq(
        np.vstack([weight.T, np.ones(4)]), np.append(learned.states[0]["1.weight"].numpy(), 1.0), rcond=None
    )
    np.testing.assert_allclose(shares @ mean, learned.states[0]["1.running_mean"].numpy(), atol=1e-4)


def test_the_best_member_and_the_ensemble(make_setting, network, loss):
    setting = make_setting(network)
    alone = [loss(network, [state], setting.search) for state in setting.states]
    (point,) = points("best_member", setting)
    assert point.name == f"member {int(np.argmin(alone))}"
    assert loss(network, point.states, setting.search) == min(alone)
    (point,) = points("ensemble", setting)
    assert len(point.states) == 4
    assert point.images == 0
    (point,) = points("start", setting)
    assert (point.states, point.images) == (({},), 0)
