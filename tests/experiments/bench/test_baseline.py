from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.bench.baseline import TOLERANCE, compare, is_slower
from experiments.bench.report import Machine, Report
from experiments.bench.rows import Row, Way
from experiments.bench.timing import Limits, Spread, Work, spread
from moprune.errors import UsageError

MACHINE = Machine("a processor", 2, "2.15.0", "cpu", "a processor")


def row(name="heads", ways=None, **sizes):
    found = {way: Way(1.0, ratio, "somehow") for way, ratio in (ways or {"naive": Spread(3, 4, 5)}).items()}
    one = Spread(0.1, 0.2, 0.3)
    return Row(name, "candidates", {"threads": 2, **sizes}, 4.0, found, Work(1, 1), Limits(1, 1), one, 0.0, 1e-3)


def report(*rows):
    return Report(MACHINE, 3, rows)


ratios = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=5).map(spread)


@given(ratios)
def test_a_run_is_not_slower_than_itself(ratio):
    assert not is_slower(ratio, ratio, 0)


@given(ratios, ratios, st.floats(0, 0.99))
def test_what_is_slower_lies_wholly_below_and_by_more_than_the_tolerance(before, now, tolerance):
    slower = is_slower(before, now, tolerance)
    assert not (slower and is_slower(now, before, tolerance))
    if slower:
        assert now.least <= now.most < before.least
        assert now.median / before.median < 1 - tolerance + 1e-9


@pytest.mark.parametrize(
    ("now", "slower"),
    [
        (Spread(2.9, 3.0, 3.1), False),  # a quarter less: not more than the tolerance
        (Spread(2.8, 2.99, 3.1), True),
        (Spread(2.8, 2.99, 3.5), False),  # reaches what the baseline reached
        (Spread(2.8, 2.99, 3.49), True),
        (Spread(8, 9, 10), False),
    ],
)
def test_boundaries(now, slower):
    (found,) = compare(report(row(ways={"naive": now})), report(row(ways={"naive": Spread(3.5, 4.0, 5)})), TOLERANCE)
    assert (found.row, found.way, found.slower) == ("heads", "naive", slower)
    assert str(found).endswith("REGRESSION" if slower else "ok")


def test_every_ratio_of_both_is_compared():
    ways = {"naive": Spread(3, 4, 5), "EvoTorch": Spread(1, 1, 1)}
    before = report(row("heads"), row("weights", ways), row("ood"))
    now = report(row("weights", {**ways, "new": Spread(1, 1, 1)}), row("heads"))
    assert [(each.row, each.way) for each in compare(now, before)] == [
        ("heads", "naive"), ("weights", "EvoTorch"), ("weights", "naive"),
    ]  # fmt: skip
    without_peer = report(row("weights"))
    assert [each.way for each in compare(without_peer, before)] == ["naive"]


def test_other_sizes_kinds_and_tolerances_are_refused():
    before = report(row(images=10, hidden=3))
    with pytest.raises(UsageError, match=r"heads: .*\(images 10 and 11, classes None and 2\)"):
        compare(report(row(images=11, hidden=3, classes=2)), before)
    with pytest.raises(UsageError, match="has no 'ood' but heads"):
        compare(report(row("ood")), before)
    with pytest.raises(UsageError, match="differ in sizes \\(threads"):
        compare(report(replace(row(), sizes={"threads": 4})), report(row()))
    for tolerance in (-0.1, 1.0, float("nan")):
        with pytest.raises(UsageError, match="tolerance"):
            compare(before, before, tolerance)
