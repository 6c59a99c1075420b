import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from experiments.bench import generation as generations
from experiments.bench import naive_tuning
from experiments.bench.generation import Generation
from experiments.bench.selection import _work, bench_selection
from experiments.main import main
from moprune.errors import MopruneError, UsageError
from moprune.networks import digit_images
from moprune.networks.units import units
from moprune.population.tuning import Job, Labelled, TuningRecipe
from moprune.seeding import torch_generator
from problems.selection import Graded, Tuning
from problems.selection.anchors import of_rank, of_units


@pytest.fixture
def generation():
    generator = torch_generator(0, "images")
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 6), nn.ReLU(), nn.Linear(6, 2)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    genotype = Graded(network, units(network, "block"), ranks=(1,))
    body = [unit.name for unit in genotype.units if unit.kind != "head"]
    tunings = {
        "search": [of_units(genotype.units, body), of_rank(network, genotype.units, 1), of_units(genotype.units, [])],
        "head": [Tuning({unit.name: float(unit.kind == "head") for unit in genotype.units})],
    }
    data = [Labelled(torch.rand(n, 1, 6, 6, generator=generator), torch.arange(n) % 2) for n in (30, 20)]
    train, search = data
    recipe = TuningRecipe(epochs=2, batch_size=8, statistics="frozen")
    return Generation(network.eval(), train, train.inputs.__getitem__, search, recipe, tunings, genotype, "by hand")


def test_measures_all_ways_and_finds_them_equal(generation):
    told = []
    before = {name: tensor.clone() for name, tensor in generation.network.state_dict().items()}
    rows = bench_selection(generation, rounds=2, progress=told.append)
    assert told[0] == "search: 3 candidates, round 1 of 2"
    assert all(torch.equal(tensor, before[name]) for name, tensor in generation.network.state_dict().items())
    assert [row.name for row in rows] == ["selection", "selection: head"]
    assert rows[0].figures["candidates"] == "by hand"
    for row in rows:
        assert (row.unit, row.sizes["images"]) == ("epochs", 30)
        assert set(row.ways) == {"naive", "images ready"}
        assert min(row.rate, *(way.rate for way in row.ways.values())) > 0
        assert all(0 < way.ratio.least <= way.ratio.median <= way.ratio.most for way in row.ways.values())
        assert 0 <= row.difference <= 1e-5


@pytest.mark.parametrize("factor", [1.5, math.nan])
def test_a_different_loss_is_an_error(generation, monkeypatch, factor):
    naive = naive_tuning.tuned

    def other(generation, job, source):
        return {name: value * factor for name, value in naive(generation, job, source).items()}

    monkeypatch.setattr(naive_tuning, "tuned", other)
    with pytest.raises(MopruneError, match="search: losses differ"):
        bench_selection(generation, rounds=2)


def test_one_round_is_no_benchmark(generation):
    with pytest.raises(UsageError, match=">= 2 rounds"):
        bench_selection(generation, rounds=1)


@pytest.mark.parametrize(
    ("tuned", "operations", "read"),
    [
        # Forward and the weights' gradient of 3 x 2 behind 3 cached activations.
        (["2"], 12 + 12, 3),
        # Forward of 4 x 3 and 3 x 2, the gradients of both, and that of the activations between them.
        (["0", "2"], 24 + 12 + 24 + 12 + 12, 4),
    ],
)
def test_work_by_hand(tuned, operations, read):
    network = nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))
    network.requires_grad_(False).eval()
    train = Labelled(torch.rand(10, 4), torch.arange(10) % 2)
    generation = SimpleNamespace(network=network, train=train, recipe=TuningRecipe(batch_size=5))
    work = _work(generation, [Job({f"{name}.weight": 1.0 for name in tuned}, {}, seed=0)])
    assert (work.operations, work.bytes) == (10 * operations, 10 * 4 * read)


def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(generations, "GENERATIONS", 1)
    monkeypatch.setattr(generations, "IMAGES", 40)
    digits = [each[::10] for each in digit_images(range(10), held_out=False)]
    monkeypatch.setattr(generations, "digit_images", lambda *_, **__: digits)
    file = tmp_path / "figures.json"
    command = ["bench", "selection", "--candidates", "4", "--epochs", "1", "--rounds", "2", "--json", str(file)]
    assert main(command) == 0
    figures = json.loads(file.read_text())
    names = ["selection", *(f"selection: {kind}" for kind in ("head only", "late", "early", "everything"))]
    assert [row["name"] for row in figures["rows"]] == names
    assert figures["rows"][0]["sizes"]["network"] == "DigitsNet"
    assert "after 1 generations" in capsys.readouterr().out
