import dataclasses
import json
from itertools import pairwise

import pytest
import torch
from torch import nn

from experiments import bench_weights as bench
from experiments.bench_trials import Setting, cifar, digits, evolved, trials_of
from experiments.main import main
from moprune.data import Split, TensorInputs
from moprune.errors import MopruneError, UsageError
from moprune.networks import Preprocess
from moprune.seeding import torch_generator

SIZES = {"batch_size": 8, "candidates": 4, "generations": 2, "rounds": 2}


@pytest.fixture(autouse=True)
def small_peak(monkeypatch):
    monkeypatch.setattr("experiments.timing.PEAK_SIZE", 64)


@pytest.fixture
def setting():
    generator = torch_generator(0, "images")
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    split = Split(TensorInputs(torch.rand(30, 1, 6, 6, generator=generator)), torch.arange(30) % 2)
    return Setting(network, split, Preprocess(), {"all": ["all"], "head": ["head"]})


def test_measures_both_ways_and_finds_them_equal(setting):
    told = []
    before = {name: tensor.clone() for name, tensor in setting.network.state_dict().items()}
    result = bench.bench_weights(setting, **SIZES, progress=told.append)
    assert len(told) == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in setting.network.state_dict().items())
    assert [case.name for case in result.cases] == ["all", "head"]
    assert [case.weights for case in result.cases] == [27 + 3 + 96 + 2, 96 + 2]
    assert [case.cached for case in result.cases] == [False, True]
    for case in result.cases:
        assert min(case.rate, case.naive_rate, case.preparation, case.full_ratio, case.operations) > 0
        assert 0 < case.ratio.least <= case.ratio.median <= case.ratio.most
        assert 0 < case.images_share <= 1
        assert 0 <= case.accepted <= 4
        assert 0 <= case.largest_difference <= 1e-6
    least, most = (
        pick(getattr(case.ratio, end) for case in result.cases) for pick, end in ((min, "least"), (max, "most"))
    )
    assert least <= result.ratio.least <= result.ratio.most <= most


def test_operations_are_those_that_are_run_again(setting):
    result = bench.bench_weights(setting, **SIZES)
    whole, head = (case.operations for case in result.cases)
    # Each image: 3 maps of 4 x 4 pixels from 3 x 3 weights, then 48 x 2; a multiplication and an addition are two.
    assert whole == 30 * 2 * (3 * 16 * 9 + 96)
    assert head == 30 * 2 * 96


def test_json_round_trip_and_rows(setting):
    result = bench.bench_weights(setting, **SIZES)
    values = dataclasses.asdict(result)
    assert json.loads(json.dumps(values, allow_nan=False))["cases"][1]["name"] == "head"
    assert "all cases together: ratio" in bench.table(result)


@pytest.mark.parametrize("change", [2e-4, float("nan")])
def test_a_different_loss_is_an_error(setting, monkeypatch, change):
    naive = bench._naive
    monkeypatch.setattr(bench, "_naive", lambda *arguments: [loss + change for loss in naive(*arguments)])
    with pytest.raises(MopruneError, match=r"candidate \d: loss differs"):
        bench.bench_weights(setting, **SIZES)


@pytest.mark.parametrize(("loss", "bound"), [(1.0, 0.9), (0.9, 1.0)])
def test_a_different_decision_is_an_error(loss, bound):
    accepted = bench.Scored(torch.zeros(1, 2), loss, 1)
    bench._compare([loss], [accepted], [bound])
    dropped = bench.Scored(None, bound + 0.01, 1)
    if loss <= bound:
        with pytest.raises(MopruneError, match="candidate 0"):
            bench._compare([loss], [dropped], [bound])
    else:
        bench._compare([loss], [dropped], [bound])


def test_trials_by_hand():
    population = [{"w": torch.full((1000,), value)} for value in (1.0, 3.0)]
    # Members 0 and 1 in either order: the difference is +-2, on top of the step towards the best, 1.
    first, second = (trial["w"] for trial in trials_of(population, [0.1, 0.2], 0, seed=0))
    for trial, own, step in ((first, 1.0, 0.0), (second, 3.0, -2.0)):
        moved = trial[trial != own]
        assert 700 < len(moved) < 900  # crossover 0.8
        assert len(moved.unique()) == 1
        assert float(moved[0]) == pytest.approx(own + 0.6 * step + 1.2) or float(moved[0]) == pytest.approx(
            own + 0.6 * step - 1.2
        )


def test_a_population_never_gets_worse():
    start = {"w": torch.linspace(-1, 1, 20)}

    def losses(states, bounds):
        return [float((state["w"] ** 2).sum()) for state in states]

    found = [evolved(start, 6, generations, losses, seed=0) for generations in range(4)]
    for population, values in found:
        assert values == losses(population, None)
    for (_, before), (_, after) in pairwise(found):
        assert all(b <= a for a, b in zip(before, after, strict=True))
    assert found[0][1] != found[3][1]


def test_digits_are_those_the_network_has_not_seen():
    setting = digits()
    with torch.no_grad():
        logits = setting.network(torch.stack([setting.split.inputs[i] for i in range(len(setting.split))]))
    assert len(setting.split) == 355
    assert float((logits.argmax(1) == setting.split.labels).float().mean()) > 0.95


def test_command(tmp_path, capsys):
    file = tmp_path / "figures.json"
    assert main(["bench", "weights", "--batch-size", "200", "--candidates", "2", "--json", str(file)]) == 0
    assert json.loads(file.read_text())["network"] == "DigitsNet"
    assert "whole network: 15,418 weights" in capsys.readouterr().out


def test_bad_requests(setting, tmp_path, capsys):
    for wrong in ({"candidates": 1}, {"rounds": 1}):
        with pytest.raises(UsageError, match=">= 2"):
            bench.bench_weights(setting, **{**SIZES, **wrong})
    assert main(["bench", "weights", "--weights", "some.pth"]) == 2
    assert "belong together" in capsys.readouterr().err
    (tmp_path / "test").mkdir()
    for name in "ab":
        (tmp_path / "test" / name).mkdir()
        _image(tmp_path / "test" / name / "1.png")
    with pytest.raises(UsageError, match="2 images in test, 3 are asked for"):
        cifar(tmp_path / "none.pth", tmp_path, 3)


def _image(path):
    from PIL import Image

    Image.new("RGB", (32, 32)).save(path)
