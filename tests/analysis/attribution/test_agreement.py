from itertools import combinations

import numpy as np
import pytest
import torch

from analysis.attribution.agreement import Member, agreement, overlap


def member(name, seed, kept, importance, maps=None):
    mask = np.isin(np.arange(6), kept)
    values = np.full(6, np.nan)
    values[mask] = importance
    return Member(name, seed, mask, values, maps)


def test_overlap_against_every_mask():
    first = np.array([1, 1, 1, 0, 0, 0], bool)
    second = np.array([1, 1, 0, 1, 0, 0], bool)
    found = overlap(first, second)
    shared = [len({0, 1, 2} & set(chosen)) for chosen in combinations(range(6), 3)]
    assert found["shared"] == 2
    assert found["expected"] == pytest.approx(np.mean(shared))
    assert found["overlap_p"] == pytest.approx(np.mean(np.array(shared) >= 2))


@pytest.mark.parametrize("kept", [[], list(range(6))])
def test_overlap_of_empty_and_whole_masks_is_chance(kept):
    mask = np.isin(np.arange(6), kept)
    assert overlap(mask, mask)["overlap_p"] == pytest.approx(1.0)


def test_importance_is_compared_on_units_both_keep():
    a = member("1-1", 1, [0, 1, 2, 3], [4.0, 3.0, 2.0, 1.0])
    b = member("2-1", 2, [1, 2, 3, 4], [30.0, 20.0, 10.0, 99.0])
    row = agreement([a, b]).iloc[0]
    assert row["spearman"] == pytest.approx(1.0)
    assert row["kendall"] == pytest.approx(1.0)
    assert not row["relatives"]
    assert np.isnan(row["maps"])


def test_maps_are_compared_image_by_image_and_flat_ones_left_out():
    ramp = torch.arange(9.0).view(3, 3)
    a = member("1-1", 1, [0], [1.0], torch.stack([ramp, ramp, torch.zeros(3, 3)]))
    b = member("1-2", 1, [0], [1.0], torch.stack([2 * ramp, -ramp, ramp]))
    row = agreement([a, b]).iloc[0]
    assert row["relatives"]
    assert row["maps"] == pytest.approx(0.0)
    assert row["images"] == 2
    assert np.isnan(row["spearman"])


def test_one_member_agrees_with_nobody():
    table = agreement([member("1-1", 1, [0], [1.0])])
    assert table.empty
    assert "spearman" in table.columns
