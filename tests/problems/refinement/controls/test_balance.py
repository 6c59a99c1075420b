"""Balancing classes by a rule."""

import numpy as np
import torch
from torch import nn

from problems.refinement.controls import points, suitable
from problems.refinement.controls.balance import DECAY, RATE, STEPS


def by_hand(logits, labels):
    """Returns every step's biases, error and worst class's error, class by class in plain Python."""
    bias, path = [0.0] * logits.shape[1], []
    for step in range(STEPS):
        said = [max(range(len(bias)), key=lambda c: row[c] + bias[c]) for row in logits.tolist()]
        wrong = [s != y for s, y in zip(said, labels, strict=True)]
        errors = [
            sum(w for w, y in zip(wrong, labels, strict=True) if y == c) / labels.count(c) for c in range(len(bias))
        ]
        path.append((list(bias), sum(wrong) / len(labels), max(errors)))
        mean = sum(errors) / len(errors)
        bias = [b + RATE * DECAY**step * (e - mean) for b, e in zip(bias, errors, strict=True)]
    return path


def test_the_points_are_the_best_steps_of_the_rule(make_setting, linear, predictions):
    setting = make_setting(linear)
    path = by_hand(predictions(linear, {}, setting.search.inputs), setting.search.labels.tolist())
    scores = [(error, worst) for _, error, worst in path]
    found = points("class_balance", setting)
    assert found
    reached = set()
    for point in found:
        step = int(point.name.removeprefix("step "))
        bias, error, worst = path[step]
        np.testing.assert_allclose(point.states[0]["0.bias"], linear[0].bias + torch.tensor(bias), rtol=1e-6)
        assert not any(e <= error and w <= worst and (e, w) != (error, worst) for e, w in scores)
        assert point.images == len(setting.search.labels)
        reached.add((error, worst))
    assert len(reached) == len(found)
    assert min(w for _, w in reached) == min(w for _, w in scores)
    assert min(e for e, _ in reached) == min(e for e, _ in scores)


def test_a_head_without_biases_has_none_to_balance(make_setting):
    network = nn.Sequential(nn.Linear(4, 3, bias=False)).requires_grad_(False).eval()
    assert "class_balance" not in suitable(make_setting(network, members=0))
