"""The group lasso against the optimality conditions of a convex case and a closed form."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights
from moprune.population import Training
from problems.pruning.controls import points
from problems.pruning.controls.group_lasso import SHARES, GroupLasso
from problems.pruning.encodings import Encoding

LINEAR = HeadSpec(10, (), 3)
FULL_BATCH = Training(epochs=4000, batch_size=60, learning_rate=0.1, weight_decay=0.0)


def slopes(spec, weights, data):
    """Returns the gradient of the mean cross-entropy in the first matrix."""
    matrix = weights.matrices[0].clone().requires_grad_()
    logits = data.features @ matrix + weights.biases[0]
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, data.labels), matrix)
    return gradient


@pytest.mark.parametrize("training", [FULL_BATCH, Training(**{**vars(FULL_BATCH), "nesterov": False, "momentum": 0.5})])
def test_a_linear_head_at_rest_meets_the_optimality_conditions(training, data):
    recipe = GroupLasso(Encoding.of("features", LINEAR), 0.1, training, 0)
    penalty = 0.1 * recipe.largest_slope(data) * 3**0.5
    weights, masks = recipe.fit(data)
    gradient, matrix, on = slopes(LINEAR, weights, data), weights.matrices[0], masks[0]
    assert 0 < on.sum() < 10
    torch.testing.assert_close(
        gradient[on], -penalty * matrix[on] / matrix[on].norm(dim=1, keepdim=True), rtol=0, atol=2e-3 * penalty
    )
    assert gradient[~on].norm(dim=1).max() <= penalty * 1.002


def test_a_linear_head_at_rest_is_the_optimum_that_scipy_finds(data):
    recipe = GroupLasso(Encoding.of("features", LINEAR), 0.1, FULL_BATCH, 0)
    penalty = 0.1 * recipe.largest_slope(data) * 3**0.5
    x, y = data.features.double(), data.labels

    def objective(flat):
        weights = torch.tensor(flat, requires_grad=True)
        matrix, bias = weights[:30].view(10, 3), weights[30:]
        norms = (matrix.square().sum(1) + 1e-12).sqrt().sum()
        value = torch.nn.functional.cross_entropy(x @ matrix + bias, y) + penalty * norms
        (gradient,) = torch.autograd.grad(value, weights)
        return value.item(), gradient.numpy()

    best = minimize(objective, np.zeros(33), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-14})
    weights, _ = recipe.fit(data)
    ours = torch.cat([weights.matrices[0].flatten(), weights.biases[0]]).double().numpy()
    assert objective(ours)[0] <= best.fun + 1e-5
    np.testing.assert_allclose(ours[:30], best.x[:30], atol=5e-3)


@pytest.mark.parametrize(("name", "hidden"), [("features", (8,)), ("first", (8, 6)), ("second", (8, 6))])
def test_the_largest_slope_is_that_of_a_slow_path(name, hidden, data):
    spec = HeadSpec(10, hidden, 3)
    encoding = Encoding.of(name, spec)
    start = initial_weights(spec, 5)
    matrices = [matrix.double().requires_grad_() for matrix in start.matrices]
    x = data.features.double()
    for matrix in matrices[:-1]:
        x = torch.relu(x @ matrix)
    torch.nn.functional.cross_entropy(x @ matrices[-1], data.labels).backward()
    gradient = {"features": matrices[0], "first": matrices[0].T, "second": matrices[-2].T}[name]
    rows = matrices[0].grad if name == "features" else (matrices[0] if name == "first" else matrices[1]).grad.T
    expected = max(float(row.norm()) / len(row) ** 0.5 for row in rows)
    assert gradient.shape == rows.shape
    assert GroupLasso(encoding, 1.0, Training(), 5).largest_slope(data) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "hidden"), [("features", (8,)), ("neurons", (8, 6)), ("second", (8, 6))])
def test_the_units_cut_are_those_without_weights_and_do_not_matter(name, hidden, data):
    spec = HeadSpec(10, hidden, 3)
    training = Training(epochs=30, batch_size=20, learning_rate=0.05)
    recipe = GroupLasso(Encoding.of(name, spec), 0.5, training, 0)
    weights, masks = recipe.fit(data)
    head = recipe(data)
    assert head.widths == tuple(int(mask.sum()) for mask in masks)
    whole = TrainedHead(spec, torch.arange(10), weights, 0)
    torch.testing.assert_close(head.logits(data.features), whole.logits(data.features))
    assert 0 < sum(head.widths) < sum(spec.units)
    for layer in {"features": [0], "neurons": [1, 2], "second": [2]}[name]:
        matrix = weights.matrices[0] if layer == 0 else weights.matrices[layer - 1].T
        assert [bool(row.any()) for row in matrix] == masks[layer].tolist()


def test_the_path_ends_with_more_units_than_it_starts_with(make_setting):
    setting = make_setting("features", epochs=30)
    made = points("group_lasso", setting)
    recipes = [point for point in made if point.fit is not None]
    kept = [tuple(point.fit(setting.data).kept.tolist()) for point in recipes]
    assert len(recipes) == len(SHARES)
    assert len(kept[0]) < len(kept[-1])
    genomes = [tuple(np.flatnonzero(point.genome)) for point in made if point.genome is not None]
    assert genomes == [units for units in dict.fromkeys(kept) if units]


def test_one_feature_at_an_overwhelming_penalty_is_cut(data):
    one = type(data)(data.features[:, :1], data.labels)
    head = GroupLasso(Encoding.of("features", HeadSpec(1, (4,), 3)), 1e3, Training(epochs=20), 0)(one)
    assert head.widths == (0, 4)
    assert not head.failed
    assert (head.logits(one.features) == head.weights.biases[1]).all()
