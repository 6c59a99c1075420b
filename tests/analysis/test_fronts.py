import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from analysis import fronts
from moprune.objectives import objective


def frame(**columns):
    return pd.DataFrame({"solution": [f"1-{i}" for i in range(len(next(iter(columns.values()))))], **columns})


def test_the_standard_error_is_that_of_a_binomial_share():
    assert fronts.standard_error(0.3, 10_000) == pytest.approx(binom.std(10_000, 0.3) / 10_000, rel=1e-3)
    assert fronts.standard_error(0.0, 50) > 0


def test_the_choice_takes_the_cheapest_within_one_standard_error_on_select():
    front = frame(
        error_select=[0.10, 0.11, 0.30, 0.11], active_fraction_select=[0.9, 0.5, 0.1, 0.5], error_test=[1, 1, 0, 0]
    )
    assert fronts.choose(front, 400) == "1-1"  # 0.30 is too far; of the equals the first
    assert fronts.choose(front, 1) == "1-2"  # with one image nothing can be told apart
    assert fronts.choose(front, 10**6) == "1-0"


def test_the_choice_never_looks_at_test():
    front = frame(error_select=[0.1, 0.2], active_fraction_select=[0.5, 0.4], error_test=[0.9, 0.0])
    swapped = front.assign(error_test=[0.0, 0.9])
    assert fronts.choose(front, 1000) == fronts.choose(swapped, 1000)


def test_hypervolume_of_one_point_is_its_box():
    objectives = [objective("error"), objective("active_fraction"), objective("ood_auroc")]
    front = frame(error_test=[0.2], active_fraction_test=[0.5], ood_auroc_test=[0.9])
    assert fronts.front_hypervolume(front, objectives, "test") == pytest.approx(0.8 * 0.5 * 0.9)


def test_members_that_stay_non_dominated_on_another_split():
    objectives = [objective("error"), objective("active_fraction")]
    front = frame(error_test=[0.2, 0.3, 0.1], active_fraction_test=[0.5, 0.6, 0.9])
    np.testing.assert_array_equal(fronts.still_nondominated(front, objectives, "test"), [True, False, True])
