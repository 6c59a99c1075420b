import json
from itertools import pairwise

import pytest
import torch
from torch import nn

from experiments.bench import weights as bench
from experiments.bench.peer import Vectorised
from experiments.bench.trials import Setting, cifar, digits, evolved, trials_of
from experiments.main import main
from moprune.data import Split, TensorInputs
from moprune.errors import MopruneError, UsageError
from moprune.networks import Preprocess
from moprune.seeding import torch_generator

SIZES = {"batch_size": 8, "candidates": 4, "generations": 2, "rounds": 2}


@pytest.fixture
def setting():
    generator = torch_generator(0, "images")
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    split = Split(TensorInputs(torch.rand(30, 1, 6, 6, generator=generator)), torch.arange(30) % 2)
    return Setting(network, split, Preprocess(), {"all": ["all"], "head": ["head"]})


def test_measures_all_ways_and_finds_them_equal(setting):
    told = []
    before = {name: tensor.clone() for name, tensor in setting.network.state_dict().items()}
    together, *rows = bench.bench_weights(setting, **SIZES, progress=told.append)
    assert "weights, head: 4 candidates" in told
    assert all(torch.equal(tensor, before[name]) for name, tensor in setting.network.state_dict().items())
    assert [row.name for row in rows] == ["weights: all", "weights: head"]
    assert [row.figures["weights"] for row in rows] == [27 + 3 + 96 + 2, 96 + 2]
    assert [row.figures["rest cached"] for row in rows] == ["no", "yes"]
    for row in rows:
        assert 0 < row.ways["naive"].ratio.least <= row.ways["naive"].ratio.median <= row.ways["naive"].ratio.most
        assert 0 < row.figures["share of images run"] <= 1
        assert 0 <= row.figures["accepted by both ways"] <= 4
        assert 0 <= row.difference <= 1e-6
    ratios = [row.ways["naive"].ratio for row in rows]
    assert min(r.least for r in ratios) <= together.ways["naive"].ratio.least
    assert max(r.most for r in ratios) >= together.ways["naive"].ratio.most


def test_work_is_what_is_run_again(setting):
    together, whole, head = bench.bench_weights(setting, **SIZES)
    # Each image: 3 maps of 4 x 4 pixels from 3 x 3 weights, then 48 x 2; a multiplication and an addition are two.
    share = whole.figures["share of images run"]
    assert whole.work.operations == pytest.approx(share * 30 * 2 * (3 * 16 * 9 + 96))
    assert whole.work.bytes == pytest.approx(4 * (128 + share * 30 * 36))
    assert head.work.operations == pytest.approx(head.figures["share of images run"] * 30 * 2 * 96)
    assert together.work.operations == pytest.approx(whole.work.operations + head.work.operations)


def test_the_vectorised_peer_comes_to_the_same_losses(setting):
    pytest.importorskip("evotorch", reason="needs moprune[bench]", exc_type=ImportError)
    generator = torch_generator(0, "states")
    states = [{name: p + torch.randn(p.shape, generator=generator) for name, p in setting.network.named_parameters()}
              for _ in range(3)]  # fmt: skip
    expected = bench._naive(setting, states, 30)
    assert Vectorised(setting, states, 8).losses() == pytest.approx(expected, rel=1e-5)
    row, *_ = bench.bench_weights(setting, **SIZES)
    assert row.ways["EvoTorch"].ratio.least > 0


def test_without_the_peer_the_others_are_measured(setting, monkeypatch):
    monkeypatch.setattr(bench, "find_spec", lambda _: None)
    assert [row.ways.keys() for row in bench.bench_weights(setting, **SIZES)] == [{"naive"}] * 3


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
    assert (
        main(["bench", "weights", "--batch-size", "200", "--candidates", "2", "--rounds", "2", "--json", str(file)])
        == 0
    )
    rows = json.loads(file.read_text())["rows"]
    assert [row["name"] for row in rows] == [
        "weights",
        *(f"weights: {p}" for p in ("whole network", "last block", "head")),
    ]
    assert rows[1]["sizes"]["network"] == "DigitsNet"
    assert rows[1]["figures"]["weights"] == 15_418
    assert "| weights: last block [candidates]" in capsys.readouterr().out


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


@pytest.mark.parametrize("count", [9, 356])
def test_digits_there_are_not(count):
    with pytest.raises(UsageError, match="give 10 to 355"):
        digits(count)


def _image(path):
    from PIL import Image

    Image.new("RGB", (32, 32)).save(path)
