"""Reading a front: the choice by brute force, hypervolumes of boxes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from analysis import fronts
from moprune.errors import UsageError
from moprune.objectives import objective


def frame(**columns):
    return pd.DataFrame({"solution": [f"1-{i}" for i in range(len(next(iter(columns.values()))))], **columns})


def test_the_standard_error_is_that_of_a_binomial_share():
    assert fronts.standard_error(0.3, 10_000) == pytest.approx(binom.std(10_000, 0.3) / 10_000, rel=1e-3)
    assert fronts.standard_error(0.0, 50) > 0


IMAGES = {"search": 30, "select": 10}


def columns(name, search, select, test=None):
    given = {"search": search, "select": select, "test": test or [0.5] * len(search)}
    return {f"{name}_{split}": values for split, values in given.items()}


members = st.lists(st.tuples(*[st.integers(0, 4)] * 4), min_size=1, max_size=8)


@given(members, st.integers(0, 10), st.integers(1, 40), st.integers(1, 40))
def test_the_choice_is_the_least_loss_within_the_budget(rows, tenths, search, select):
    """By counting images: a loss is a number of fifths of the images that are wrong; costs are in quarters."""
    first, second, cost, test = zip(*rows, strict=True)
    front = frame(
        **columns("error", [w / 5 for w in first], [w / 5 for w in second], list(test)),
        active_fraction_select=[c / 4 for c in cost],
    )
    budget = tenths / 10
    allowed = [i for i, c in enumerate(cost) if c / 4 <= budget] or range(len(rows))
    best = min(allowed, key=lambda i: (first[i] * search + second[i] * select, cost[i], i))
    picked = fronts.choose(front, {"search": search, "select": select, "test": 1}, budget=budget)
    assert picked == f"1-{best}"
    assert fronts.choose(front.sample(frac=1, random_state=0), {"search": search, "select": select}, budget=budget) == (
        picked
    ), "the order of the members decides"


def test_both_splits_count_by_their_images():
    front = frame(**columns("error", [0.0, 0.2], [0.5, 0.0]), active_fraction_select=[0.5, 0.5])
    assert fronts.choose(front, {"search": 300, "select": 100}) == "1-0"
    assert fronts.choose(front, {"search": 100, "select": 100}) == "1-1"


def test_equal_losses_go_to_the_lesser_cost_whatever_the_rounding_of_their_sum():
    """Of 40 and 40 images 48 are wrong each time; the sum of the shares is 0.6 or 0.6000000000000001."""
    front = frame(**columns("error", [0.4, 0.6, 0.8], [0.8, 0.6, 0.4]), active_fraction_select=[0.3, 0.4, 0.2])
    assert fronts.choose(front, {"search": 40, "select": 40}) == "1-2"


def test_the_budget_is_kept_where_it_can_be():
    front = frame(**columns("error", [0.1, 0.2, 0.3], [0.1, 0.2, 0.3]), active_fraction_select=[0.6, 0.5, 0.1])
    for budget, expected in ((1.0, "1-0"), (0.6, "1-0"), (0.59, "1-1"), (0.5, "1-1"), (0.1, "1-2"), (0.05, "1-0")):
        assert fronts.choose(front, IMAGES, budget=budget) == expected
    costs = front.rename(columns={"active_fraction_select": "flops_select"})
    assert fronts.choose(costs, IMAGES, budget=0.1) == "1-0", "there is no such cost in the front"
    assert fronts.choose(costs, IMAGES, budget=0.1, cost="flops") == "1-2"


def test_the_loss_is_the_first_that_is_measured():
    losses = {"brier": "1-0", "nll": "1-1", "error": "1-2"}
    front = frame(**{
        column: values
        for i, name in enumerate(losses)
        for column, values in columns(name, *[[0.0 if j == i else 0.4 for j in range(3)]] * 2).items()
    })  # fmt: skip
    for name, expected in losses.items():
        assert fronts.choose(front, IMAGES) == expected
        front = front.drop(columns=[f"{name}_search" if name == "brier" else f"{name}_select"])
    with pytest.raises(UsageError, match="without one of brier, nll, error; report one"):
        fronts.choose(front, IMAGES)


def test_the_choice_never_looks_at_test():
    front = frame(**columns("error", [0.1, 0.2], [0.1, 0.2], [0.9, 0.0]), active_fraction_select=[0.5, 0.4])
    assert fronts.choose(front, IMAGES) == fronts.choose(front.assign(error_test=[0.0, 0.9]), IMAGES) == "1-0"
    assert fronts.choose(front.drop(columns="error_test"), IMAGES) == "1-0"


def test_hypervolume_of_one_point_is_its_box():
    objectives = [objective("error"), objective("active_fraction"), objective("ood_auroc")]
    front = frame(error_test=[0.2], active_fraction_test=[0.5], ood_auroc_test=[0.9])
    assert fronts.front_hypervolume(front, objectives, "test") == pytest.approx(0.8 * 0.5 * 0.9)


def test_members_that_stay_non_dominated_on_another_split():
    objectives = [objective("error"), objective("active_fraction")]
    front = frame(error_test=[0.2, 0.3, 0.1], active_fraction_test=[0.5, 0.6, 0.9])
    np.testing.assert_array_equal(fronts.still_nondominated(front, objectives, "test"), [True, False, True])


def test_members_may_be_chosen_by_another_loss_and_on_one_split_alone():
    front = pd.DataFrame({"solution": ["a", "b"], "error_search": [0.1, 0.9], "error_select": [0.9, 0.1]})
    table = front.assign(macro_error_search=[0.9, 0.1], macro_error_select=[0.9, 0.1])
    assert fronts.choose(table, {"search": 1, "select": 0}) == "a"
    assert fronts.choose(table, {"search": 0, "select": 1}) == "b"
    assert fronts.choose(table, {"search": 1, "select": 0}, losses=("macro_error",)) == "b"
    with pytest.raises(UsageError, match="nll"):
        fronts.choose(table, {"search": 1, "select": 1}, losses=("nll",))


def _dear(**given):
    losses = columns("macro_error", [0.10, 0.12, 0.20, 0.10], [0.10, 0.12, 0.20, 0.10])
    return frame(**{"size_select": [900, 100, 10, 800], **losses, **given})


def test_the_cheapest_within_a_standard_error_is_chosen():
    # 10 % of 200 images have a standard error of 2.1 points, of 2,000 one of .7 (Laplace's correction aside).
    assert fronts.choose_cheapest(_dear(), {"search": 100, "select": 100}, cost="size") == "1-1"
    assert fronts.choose_cheapest(_dear(), {"search": 1000, "select": 1000}, cost="size") == "1-3"
    assert fronts.choose_cheapest(_dear(), {"search": 5, "select": 5}, cost="size") == "1-2"


def test_of_the_cheapest_the_one_of_least_loss_is_chosen_and_test_plays_no_part():
    alike = _dear(size_select=[7, 7, 7, 7], macro_error_test=[1.0, 0.0, 0.0, 0.0])
    alike.loc[3, "macro_error_search"] = 0.11
    assert fronts.choose_cheapest(alike, {"search": 50, "select": 50}, cost="size") == "1-0"


def test_splits_weigh_as_many_images_as_they_have_and_a_loss_is_needed():
    front = _dear(macro_error_search=[0.0, 0.5, 0.5, 0.5], macro_error_select=[0.9, 0.1, 0.9, 0.9])
    assert fronts.choose_cheapest(front, {"search": 10_000, "select": 10}, cost="size") == "1-0"
    assert fronts.choose_cheapest(front, {"search": 10, "select": 10_000}, cost="size") == "1-1"
    with pytest.raises(UsageError, match="macro_error, error"):
        fronts.choose_cheapest(front.drop(columns="macro_error_select"), {"search": 1, "select": 1}, cost="size")
