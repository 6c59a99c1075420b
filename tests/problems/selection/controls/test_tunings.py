"""Which parameters known tunings train, and how far."""

import numpy as np
import torch

from moprune.networks.selection import state_of
from problems.selection.controls import RATES, points

CONV1, CONV2, CONV3, HEAD = ({"conv1", "bn1"}, {"conv2", "bn2"}, {"conv3", "bn3"}, {"linear"})
NORMS = {"bn1", "bn2", "bn3"}


def trained(point):
    return {name.split(".")[0] for name in (*point.fitted.names, *point.fitted.ranks)}


def test_what_is_trained(make_setting):
    setting = make_setting(candidates=4, epochs=1)
    everything = CONV1 | CONV2 | CONV3 | HEAD
    expected = {
        "linear_probe": [HEAD] * 4,
        "full": [everything] * 4,
        "norms_only": [NORMS | HEAD] * 4,
        "first_k": [CONV1 | HEAD, CONV1 | CONV2 | HEAD, everything, CONV1 | HEAD],
        "last_k": [CONV3 | HEAD, CONV2 | CONV3 | HEAD, everything, CONV3 | HEAD],
        "single_units": [CONV1 | HEAD, CONV2 | HEAD, CONV3 | HEAD, CONV1 | HEAD],
        "lora": [everything] * 4,
    }
    for name, sets in expected.items():
        assert [trained(point) for point in points(name, setting)] == sets, name


def test_rates_are_swept(make_setting):
    setting = make_setting(candidates=9, epochs=1, recipe={"optimiser": "sgd", "batch_size": 1000, "epochs": 1})
    found = points("full", setting)
    assert [point.name for point in found] == [
        f"everything at {rate}" for rate in ("1", "0.1", "10", "0.3", "3", "0.03", "0.01")
    ]
    base = state_of(setting.problem.base)["conv2.weight"]
    steps = [float((point.fitted.predictors[0][0]["conv2.weight"] - base).norm()) for point in found]
    # A single step of gradient descent is as long as its rate.
    np.testing.assert_allclose(np.array(steps) / steps[0], RATES, rtol=1e-2)


def test_low_rank_changes_have_that_rank_and_are_none_without_a_rate(make_setting):
    setting = make_setting(candidates=2, epochs=2)
    base = state_of(setting.problem.base)
    for rank, point in zip((1, 2), points("lora", setting), strict=True):
        assert set(point.fitted.ranks.values()) == {rank}
        assert set(point.fitted.ranks) == {"conv1.weight", "conv2.weight", "conv3.weight"}
        ((state,),) = point.fitted.predictors
        for name in point.fitted.ranks:
            change = (state[name].double() - base[name].double()).flatten(1).numpy()
            sizes = np.linalg.svd(change, compute_uv=False)
            assert sizes[rank - 1] > 1e-4
            assert (sizes[rank:] < 1e-5).all()
    still = make_setting(candidates=1, recipe={"learning_rate": 1e-30, "optimiser": "sgd"})
    (point,) = points("lora", still)
    ((state,),) = point.fitted.predictors
    assert all(torch.equal(state[name], base[name]) for name in point.fitted.ranks)
