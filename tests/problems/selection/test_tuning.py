import pytest
from torch import nn

from moprune.errors import UsageError
from moprune.networks import units
from problems.selection import Tuning, trained


def network():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 9, 3), nn.Linear(9, 2))


@pytest.mark.parametrize(
    ("grades", "whole", "ranks"),
    [
        ({}, ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"), {}),
        ({"0..1": "norms"}, ("1.weight", "1.bias", "3.weight", "3.bias"), {}),
        ({"0..1": 2}, ("0.bias", "1.weight", "1.bias", "3.weight", "3.bias"), {"0.weight": 2}),
        # 7 x (8 + 27) is no less than 8 x 27.
        ({"0..1": 7}, ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"), {}),
    ],
)
def test_what_a_tuning_trains(grades, whole, ranks):
    found = units(network(), "block")
    assert [unit.name for unit in found] == ["0..1", "2", "3"]
    tuning = Tuning({"0..1": 0.5, "2": 0.0, "3": 1.0}, grades)
    assert trained(network(), found, tuning) == (whole, ranks)
    assert (tuning.grade("0..1"), tuning.grade("2")) == (grades.get("0..1", "full"), "frozen")


def test_a_tuning_of_other_units_is_refused():
    with pytest.raises(UsageError, match="'2' is a unit of the network or the tuning alone"):
        trained(network(), units(network(), "block"), Tuning({"0..1": 1.0, "3": 1.0}))


@pytest.mark.parametrize(
    ("rates", "grades", "said"),
    [
        ({"a": -1.0}, {}, "the rate of 'a' is -1"),
        ({"a": float("inf")}, {}, "the rate of 'a' is inf"),
        ({"a": float("nan")}, {}, "the rate of 'a' is nan"),
        ({"a": 0.0}, {"a": "norms"}, "'a' has the grade 'norms' but no rate"),
        ({"a": 1.0}, {"b": 2}, "'b' has the grade 2 but no rate"),
        ({"a": 1.0}, {"a": 0}, "the grade of 'a' is 0"),
        ({"a": 1.0}, {"a": "full"}, "the grade of 'a' is 'full'"),
    ],
)
def test_what_is_no_tuning(rates, grades, said):
    with pytest.raises(UsageError, match=said):
        Tuning(rates, grades)
