"""Auto-RGN and Auto-SNR, against gradients by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from problems.selection.controls import points
from problems.selection.controls.automatic import THRESHOLD, relative_gradient_norms, signal_to_noise


def two_layers(seed):
    """Returns weights of a ReLU network 4-6-3 and a batch, float64."""
    generator = np.random.default_rng(seed)
    shapes = {"0.weight": (6, 4), "0.bias": (6,), "2.weight": (3, 6), "2.bias": (3,)}
    weights = {name: generator.standard_normal(shape) for name, shape in shapes.items()}
    return weights, [(generator.standard_normal((10, 4)), generator.integers(0, 3, 10)) for _ in range(3)]


def gradients_by_hand(weights, x, y):
    """Backpropagation of the mean cross-entropy, written out."""
    hidden = x @ weights["0.weight"].T + weights["0.bias"]
    active = np.maximum(hidden, 0)
    logits = active @ weights["2.weight"].T + weights["2.bias"]
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    out = (shares - np.eye(3)[y]) / len(y)
    back = (out @ weights["2.weight"]) * (hidden > 0)
    return {"0.weight": back.T @ x, "0.bias": back.sum(0), "2.weight": out.T @ active, "2.bias": out.sum(0)}


def gradients_by_autograd(weights, batches):
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    parameters = dict(network.named_parameters())
    for x, y in batches:
        loss = functional.cross_entropy(network(torch.from_numpy(x)), torch.from_numpy(y))
        yield dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_relative_gradient_norms_by_hand(seed):
    weights, batches = two_layers(seed)
    parameters = {name: torch.from_numpy(value) for name, value in weights.items()}
    found = relative_gradient_norms(parameters, gradients_by_autograd(weights, batches))
    each = [gradients_by_hand(weights, *batch) for batch in batches]
    ratios = {n: np.mean([np.linalg.norm(g[n]) / np.linalg.norm(w) for g in each]) for n, w in weights.items()}
    assert found == pytest.approx({name: ratio / max(ratios.values()) for name, ratio in ratios.items()})
    assert max(found.values()) == 1


@pytest.mark.parametrize("seed", range(5))
def test_signal_to_noise_by_hand(seed):
    weights, batches = two_layers(seed)
    found = signal_to_noise({}, gradients_by_autograd(weights, batches))
    each = [gradients_by_hand(weights, *batch) for batch in batches]
    ratios = {n: np.mean([np.mean(g[n] ** 2 / (g[n].var(0, ddof=1) + 1e-8)) for g in each]) for n in weights}
    assert found == {name: float(ratio >= THRESHOLD) for name, ratio in ratios.items()}


def test_tensors_of_zeros_and_single_rows():
    slopes = [{"zero": torch.ones(2), "still": torch.zeros(2), "a": torch.full((4,), 3.0), "b": torch.full((4,), 1.0)}]
    parameters = {"zero": torch.zeros(2), "still": torch.zeros(2), "a": torch.ones(4), "b": torch.ones(4)}
    found = relative_gradient_norms(parameters, slopes)
    assert found == pytest.approx({"zero": 1.0, "still": 0.0, "a": 1.0, "b": 1 / 3})
    rows = [{"row": torch.ones(1, 3), "none": torch.zeros(1, 3), "number": torch.tensor(2.0)}]
    assert signal_to_noise({}, rows) == {"row": 1.0, "none": 0.0, "number": 1.0}
    assert relative_gradient_norms({"w": torch.ones(2)}, [{"w": torch.zeros(2)}]) == {"w": 0.0}


def test_steps_are_as_long_as_the_weights_say(make_setting):
    # One step of plain gradient descent on everything: its length is the rate times weight times gradient.
    setting = make_setting(candidates=2, epochs=1, recipe={"optimiser": "sgd", "batch_size": 1000, "epochs": 1})
    network, (point,) = setting.problem.base, points("auto_rgn", setting)
    ((state,),) = point.fitted.predictors
    trained = {name: p.requires_grad_() for name, p in network.named_parameters() if "bn" not in name}
    loss = functional.cross_entropy(network(setting.train.inputs), setting.train.labels)
    slopes = dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))
    network.requires_grad_(False)
    ratios = {name: float(slope.norm() / trained[name].norm()) for name, slope in slopes.items() if "bias" not in name}
    top = max(ratios.values())
    assert set(state) == set(trained)
    for name, ratio in ratios.items():
        expected = trained[name].detach() - 0.01 * ratio / top * slopes[name]
        torch.testing.assert_close(state[name], expected, rtol=1e-4, atol=1e-6)


def test_frozen_tensors_are_not_counted(make_setting):
    setting = make_setting(candidates=5, epochs=1)
    for point in points("auto_snr", setting):
        ((state,),) = point.fitted.predictors
        assert set(state) == set(point.fitted.names)
        assert not any("bn" in name for name in state)
