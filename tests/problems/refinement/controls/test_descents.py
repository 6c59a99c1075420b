"""Controls by gradient and by regression, against torch's own tools and scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from moprune.networks.selection import norm_statistics, state_of
from moprune.population.finetuning import Recipe, finetune
from moprune.seeding import derive
from problems.refinement.controls import points, suitable
from problems.refinement.members import with_state


def test_swa_is_torchs_average_of_the_checkpoints_with_torchs_statistics(make_setting, network):
    setting = make_setting(network, budget=90 * (3 * 4 + 1))
    (point,) = points("swa", setting)
    assert point.name == "4 epochs"
    assert point.images == setting.budget
    # The same run, from its checkpoints; the seed is the control's own business.
    recipe = Recipe(learning_rate=0.05, batch_size=30, epochs=4, schedule="constant")
    states = finetune(network, *setting.train, recipe, seed=derive(7, "swa"), checkpoints=4)
    average = AveragedModel(network)
    for state in states:
        average.update_parameters(with_state(network, state))
    update_bn(setting.train.inputs.split(30), average)
    expected = state_of(average.module)
    for name, value in point.states[0].items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-5)
    assert point.states[0].keys() >= {*norm_statistics(network), "0.weight", "3.bias"}


def test_swa_of_a_network_without_statistics_is_the_mean_of_checkpoints(make_setting, linear):
    setting = make_setting(linear, budget=90 * 3 * 5)
    (point,) = points("swa", setting)
    recipe = Recipe(learning_rate=0.05, batch_size=30, epochs=4, schedule="constant")
    states = finetune(linear, *setting.train, recipe, seed=derive(7, "swa"), checkpoints=4)
    for name in ("0.weight", "0.bias"):
        mean = torch.stack([state[name] for state in states]).mean(0)
        torch.testing.assert_close(point.states[0][name], mean)


@pytest.mark.parametrize(("epochs", "networks"), [(1, 1), (4, 4), (5, 5), (13, 5)])
def test_fge_has_a_network_a_cycle_each_from_the_one_before(make_setting, network, epochs, networks):
    setting = make_setting(network, budget=90 * 3 * epochs)
    (point,) = points("fge", setting)
    assert len(point.states) == networks
    assert point.images == networks * (epochs // networks) * 270
    here = network
    for cycle, state in enumerate(point.states):
        recipe = Recipe(learning_rate=0.05, batch_size=30, epochs=epochs // networks, schedule="triangle")
        (move,) = finetune(here, *setting.train, recipe, seed=derive(7, "fge", cycle))
        here = with_state(here, move)
        assert all(
            torch.equal(value, state_of(with_state(network, state))[name]) for name, value in state_of(here).items()
        )


def test_gradients_train_everything_norms_and_what_is_searched(make_setting, network, loss):
    setting = make_setting(network, budget=90 * 3 * 20, parameters=("3.weight",))
    for name, data in (("gradient", setting.train), ("gradient_search", setting.search)):
        found = {point.name: point for point in points(name, setting)}
        assert found.keys() == {"everything", "norms", "searched parameters"}
        assert found["searched parameters"].states[0].keys() == {"3.weight"}
        assert (
            {"1.weight", "1.bias"}
            <= found["norms"].states[0].keys()
            <= {"1.weight", "1.bias", *norm_statistics(network)}
        )
        before = loss(network, ({},), data)
        assert all(loss(network, point.states, data) < before for point in found.values())
        assert all(0.9 * setting.budget <= point.images <= setting.budget for point in found.values())
    everything = make_setting(network, budget=300)
    assert [point.name for point in points("gradient", everything)] == ["everything", "norms"]


def test_gradients_of_a_linear_network_have_no_norms(make_setting, linear):
    assert [point.name for point in points("gradient", make_setting(linear))] == ["everything"]


def test_logistic_regression_is_scikit_learns(make_setting, network, predictions, loss):
    setting = make_setting(network)
    features = {}
    for name, data in (("train", setting.train), ("search", setting.search)):
        with torch.no_grad():
            features[name] = network[:3](data.inputs).double().numpy()
    labels = setting.train.labels.numpy()
    losses, fits = [], []
    for strength in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        fits.append(model.fit(features["train"], labels))
        losses.append(log_loss(setting.search.labels.numpy(), model.predict_proba(features["search"])))
    expected = fits[int(np.argmin(losses))].predict_log_proba(features["search"])
    train, search = points("logistic_regression", setting)
    assert train.states[0].keys() == {"3.weight", "3.bias"}
    logits = predictions(network, train.states[0], setting.search.inputs)
    found = torch.from_numpy(logits).log_softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert train.images == 90 + 5 * 60
    # Fitted where it is scored, it is at least as good there.
    assert loss(network, search.states, setting.search) <= loss(network, train.states, setting.search)


def test_a_class_without_images_has_an_output_that_never_wins(make_setting, network):
    setting = make_setting(network, members=0)
    two = setting.train._replace(labels=setting.train.labels % 2)
    train, _ = points("logistic_regression", replace(setting, train=two))
    assert train.states[0]["3.weight"].shape == (3, 6)
    assert not train.states[0]["3.weight"][2].any()
    assert float(train.states[0]["3.bias"][2]) == -100.0


def test_a_head_without_a_bias_is_not_refitted(make_setting):
    network = nn.Sequential(nn.Linear(4, 3, bias=False))
    nn.init.normal_(network[0].weight, generator=torch.Generator().manual_seed(1))
    assert "logistic_regression" not in suitable(make_setting(network))
