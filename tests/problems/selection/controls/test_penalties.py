"""L2-SP and L1-SP, against their gradients by hand and SciPy's minimum."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import nn

from moprune.population.tuning import Labelled, TuningRecipe
from problems.selection.controls import points
from problems.selection.controls.descent import Course, descend
from problems.selection.controls.penalties import ALPHAS, BETA, absolutes, penalty, squares, variants


@pytest.mark.parametrize("head", ["kept", "new"])
@pytest.mark.parametrize(
    ("distance", "slope"), [(squares, lambda change: change), (absolutes, torch.sign)], ids=["l2_sp", "l1_sp"]
)
def test_gradients_pull_to_the_pretrained_weights_and_new_ones_to_zero(make_setting, head, distance, slope):
    setting = make_setting(head=head)
    network, generator = setting.problem.base, torch.Generator().manual_seed(0)
    found = variants(setting, distance)
    assert list(found) == [f"alpha {alpha:g}" for alpha in ALPHAS]
    for alpha, course in zip(ALPHAS, found.values(), strict=True):
        values = {n: (p + torch.randn(p.shape, generator=generator)) for n, p in network.named_parameters()}
        assert set(course.names) == set(values)
        leaves = {name: value.requires_grad_() for name, value in values.items()}
        slopes = torch.autograd.grad(course.penalty(leaves), list(leaves.values()))
        for (name, value), found_slope in zip(leaves.items(), slopes, strict=True):
            new = head == "new" and name.startswith("linear")
            expected = BETA * value if new else alpha * slope(value - network.get_parameter(name))
            torch.testing.assert_close(found_slope, expected.detach(), rtol=1e-4, atol=1e-6)


def test_l2_sp_ends_where_scipy_finds_the_minimum():
    generator = torch.Generator().manual_seed(0)
    data = Labelled(torch.randn(60, 4, generator=generator), torch.arange(60) % 3)
    network = nn.Sequential(nn.Linear(4, 3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    origin = {"0.weight": network[0].weight.detach().clone()}  # the bias counts as new

    def hook(parameters):
        return penalty(parameters, origin=origin, distance=squares, alpha=0.3)

    recipe = TuningRecipe(optimiser="sgd", learning_rate=0.5, epochs=300, batch_size=60)
    found = descend(network, data, recipe, Course(("0.weight", "0.bias"), penalty=hook)).state
    x, y, w0 = data.inputs.double().numpy(), data.labels.numpy(), origin["0.weight"].double().numpy()

    def objective(flat):
        w, b = flat[:12].reshape(3, 4), flat[12:]
        entropy = -log_softmax(x @ w.T + b, axis=1)[np.arange(60), y].mean()
        return entropy + 0.3 / 2 * ((w - w0) ** 2).sum() + BETA / 2 * (b**2).sum()

    best = minimize(objective, np.zeros(15), tol=1e-10).x
    reached = np.concatenate([found["0.weight"].numpy().ravel(), found["0.bias"].numpy()])
    np.testing.assert_allclose(reached, best, atol=2e-4)


def test_strong_pulls_stay_near_and_weight_decay_is_off(make_setting):
    setting = make_setting(candidates=4)
    decayed = make_setting(candidates=4, recipe={"weight_decay": 0.5})
    found, same = points("l2_sp", setting), points("l2_sp", decayed)
    origin = dict(setting.problem.base.named_parameters())
    moved = {}
    for point, other in zip(found, same, strict=True):
        ((state,),) = point.fitted.predictors
        ((again,),) = other.fitted.predictors
        assert all(torch.equal(value, again[name]) for name, value in state.items())
        moved[point.name] = float(sum((value - origin[name]).square().sum() for name, value in state.items()))
    assert moved["alpha 1 at 1"] < moved["alpha 0.1 at 1"] < moved["alpha 0.001 at 1"]
