import dataclasses
import json

import pytest
import torch

from experiments import bench_heads as bench
from moprune.errors import MopruneError, UsageError

TINY = {
    "images": 40,
    "features": 12,
    "hidden": 6,
    "batch_size": 16,
    "candidates": 3,
    "naive_candidates": 2,
    "rounds": 2,
}


@pytest.fixture(autouse=True)
def small_peak(monkeypatch):
    monkeypatch.setattr("experiments.timing.PEAK_SIZE", 64)


@pytest.mark.parametrize("mode", bench.MODES)
def test_measures_both_ways_and_finds_them_equal(mode):
    told = []
    threads = torch.get_num_threads()
    result = bench.bench_heads(**TINY, mode=mode, progress=told.append)
    assert told
    assert torch.get_num_threads() == threads == result.threads
    assert result.mode == mode
    assert min(result.rate, result.naive_rate, result.speed, result.peak) > 0
    for spread in (result.ratio, result.peak_share):
        assert 0 < spread.least <= spread.median <= spread.most
    assert 0 < result.density <= 1
    assert 0 <= result.largest_difference <= 1e-5
    assert result.processor


def test_loop_strategy_agrees_too(monkeypatch):
    monkeypatch.setattr("moprune.population.heads._TINY_HEAD", 0)
    result = bench.bench_heads(**TINY)
    assert result.strategy == "loop"
    assert result.largest_difference <= 1e-5


def test_json_round_trip_and_rows():
    result = bench.bench_heads(**TINY)
    values = dataclasses.asdict(result)
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    lines = bench.table(result).splitlines()
    assert any(line.startswith("share of peak  ") for line in lines)


@pytest.mark.parametrize("change", [2e-3, float("nan")])
def test_a_different_result_is_an_error(monkeypatch, change):
    fit = bench.fit_heads

    def perturbed(*args, **kwargs):
        for head in fit(*args, **kwargs):
            with torch.inference_mode():
                head.weights.biases[-1][0] += change
            yield head

    monkeypatch.setattr(bench, "fit_heads", perturbed)
    with pytest.raises(MopruneError, match="candidate 0: logits differ"):
        bench.bench_heads(**TINY)


def test_operations_by_hand():
    # One image, features 5 -> hidden 4 -> classes 3: 20 and 12 weights, 2 operations each.
    forward, weight_gradients, hidden_gradient = 40 + 24, 40 + 24, 24
    assert bench._operations([5, 4], 3, 1, 1) == forward + weight_gradients + hidden_gradient
    assert bench._operations([5, 4], 3, 10, 2) == 20 * 152


def test_operations_count_active_weights_alone():
    result = bench.bench_heads(**TINY, epochs=1)
    on = round(result.density * 3 * 12)
    assert result.operations == 40 * (4 * on * 6 + 3 * 6 * 6 * 3)


@pytest.mark.parametrize("wrong", [{"mode": "weights"}, {"rounds": 1}, {"naive_candidates": 4}, {"images": 0}])
def test_arguments_that_make_no_benchmark(wrong):
    with pytest.raises(UsageError):
        bench.bench_heads(**{**TINY, **wrong})
