"""Fine-tuning in stages, against plain loops one after another."""

from itertools import chain

import torch
from hypothesis import given
from hypothesis import strategies as st

from problems.selection.controls import points
from problems.selection.controls.staged import spans

HEAD = ("linear",)
ORDER = [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")]


def rates_of(network, modules, rate):
    return {name: rate for name, _ in network.named_parameters() if name.split(".")[0] in modules}


def in_a_row(setting, plainly, stages, seed=0):
    """Returns what plain loops come to: stages of (modules, rate, epochs)."""
    problem, state = setting.problem, setting.starts[seed]
    for modules, rate, epochs in stages:
        rates = rates_of(problem.base, modules, rate)
        state = plainly(problem.base, setting.train, problem.recipe, rates, state, setting.seeds[seed], epochs)
    return state


def check(point, expected, seed=0):
    (state,) = point.fitted.predictors[seed]
    for name, value in state.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    assert {name for name, value in expected.items() if name in point.fitted.names} <= set(state)


def test_lp_ft_is_the_head_and_then_everything_gently(make_setting, plainly):
    setting = make_setting(candidates=2, epochs=5, head="new", seeds=2)
    first, second = points("lp_ft", setting)
    everything = [*HEAD, *chain(*ORDER)]
    for seed in range(2):
        check(first, in_a_row(setting, plainly, [(HEAD, 1.0, 2), (everything, 0.1, 3)], seed), seed)
        check(second, in_a_row(setting, plainly, [(HEAD, 0.1, 2), (everything, 0.01, 3)], seed), seed)
    assert set(first.fitted.names) == {name for name, _ in setting.problem.base.named_parameters()}


def test_gradual_unfreezing_backwards(make_setting, plainly):
    setting = make_setting(candidates=1, epochs=4)
    (point,) = points("gradual_last", setting)
    stages = [([*HEAD, *chain(*ORDER[3 - count :])], 1.0, 1) for count in range(4)]
    check(point, in_a_row(setting, plainly, stages))


def test_gradual_unfreezing_forwards(make_setting, plainly):
    setting = make_setting(candidates=1, epochs=6)
    (point,) = points("gradual_first", setting)
    stages = [([*HEAD, *chain(*ORDER[:count])], 1.0, 2) for count in range(1, 4)]
    check(point, in_a_row(setting, plainly, stages))


def test_with_too_few_epochs_units_come_together(make_setting, plainly):
    setting = make_setting(candidates=1, epochs=2)
    (point,) = points("gradual_last", setting)
    everything = [*HEAD, *chain(*ORDER)]
    check(point, in_a_row(setting, plainly, [([*HEAD, *ORDER[2]], 1.0, 1), (everything, 1.0, 1)]))


@given(st.integers(1, 30), st.integers(1, 60))
def test_stages_are_spread_evenly(stages, epochs):
    found = spans(stages, epochs)
    numbers, lengths = zip(*found, strict=True)
    assert sum(lengths) == epochs
    assert list(numbers) == sorted(set(numbers))
    assert numbers[-1] == stages - 1
    assert max(lengths) - min(lengths) <= 1
    assert len(found) == min(stages, epochs)
