import pytest
import torch

from experiments.bench import heads as bench
from experiments.bench.published import Backbone
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


@pytest.mark.parametrize("mode", bench.MODES)
def test_measures_all_ways_and_finds_them_equal(mode):
    told = []
    threads = torch.get_num_threads()
    row = bench.bench_heads(**TINY, mode=mode, progress=told.append)
    assert told
    assert torch.get_num_threads() == threads == row.sizes["threads"]
    assert (row.name, row.sizes["mode"], row.sizes["features"]) == ("heads", mode, 12)
    assert row.ways.keys() == {"naive", "published"}
    for way in row.ways.values():
        assert 0 < way.ratio.least <= way.ratio.median <= way.ratio.most
        assert way.rate > 0
    assert 0 < row.floor.least <= row.floor.median <= row.floor.most
    assert 0 < row.figures["mean density"] <= 1
    assert 0 <= row.difference <= 1e-5


def test_the_published_way_is_said_to_be_multiplied():
    row = bench.bench_heads(**TINY, epochs=2)
    assert row.ways["published"].how == "pretrained_digits, measured on 355 images and multiplied by 80"


def test_loop_strategy_agrees_too(monkeypatch):
    monkeypatch.setattr("moprune.population.heads._TINY_HEAD", 0)
    row = bench.bench_heads(**TINY)
    assert row.figures["strategy"] == "loop"
    assert row.difference <= 1e-5


@pytest.mark.parametrize("change", [2e-2, float("nan")])
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
    assert bench.head_operations([5, 4], 3, 1, 1) == forward + weight_gradients + hidden_gradient
    assert bench.head_operations([5, 4], 3, 10, 2) == 20 * 152


def test_work_counts_active_weights_alone():
    row = bench.bench_heads(**TINY, epochs=1)
    on = round(row.figures["mean density"] * 3 * 12)
    assert row.work.operations == pytest.approx(40 * (4 * on * 6 + 3 * 6 * 6 * 3) / 3)
    assert row.work.bytes == pytest.approx(40 * 4 * on / 3)


@pytest.mark.parametrize(
    "wrong", [{"mode": "weights"}, {"rounds": 1}, {"naive_candidates": 4}, {"images": 0}, {"published": "vgg"}]
)
def test_arguments_that_make_no_benchmark(wrong):
    with pytest.raises(UsageError):
        bench.bench_heads(**{**TINY, **wrong})


def test_backbones_end_in_their_features():
    seen = []
    for name in ("pretrained_digits", "resnet50"):
        backbone = Backbone(name, torch.device("cpu"))
        seen.append(tuple(backbone._extractor(backbone._images[:1]).shape))
    assert seen == [(1, 128), (1, 2048)]
