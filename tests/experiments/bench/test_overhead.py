import numpy as np
import pytest

from experiments.bench.overhead import Free, bench_overhead
from moprune.errors import UsageError


def test_all_cases_are_measured_and_told_by_evaluation():
    rows = bench_overhead(bits=16, floats=10, population=4, evaluations=100, rounds=2)
    assert [row.name for row in rows] == [
        "overhead: bits", "overhead: real numbers", "overhead: real numbers, SHADE",
    ]  # fmt: skip
    for row in rows:
        assert row.figures["ms an evaluation"] == pytest.approx(1e3 / row.rate)
        assert row.figures["share of evaluations of 50 ms"] == pytest.approx(20 / row.rate)
        assert set(row.ways) == {"pymoo alone"}
    assert [row.sizes["evaluations"] for row in rows] == [100, 20, 20]


def test_the_free_problem_by_hand():
    X = np.array([[1, 0, 0, 1], [0, 0, 1, 1]], dtype=bool)
    assert Free(4, boolean=True).values(X)[:, 0].tolist() == [[0.5, 0.5], [0.5, 1.0]]
    assert Free(2, boolean=False).values(np.array([[3.0, 1.0]]) / 4)[0, 0].tolist() == [10 / 32]


def test_too_small_a_search_is_refused():
    with pytest.raises(UsageError, match="5 generations"):
        bench_overhead(population=50, evaluations=100)
