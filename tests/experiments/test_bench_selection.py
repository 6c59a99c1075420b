import dataclasses
import json
import math

import pytest
import torch
from torch import nn

from experiments import bench_generation, bench_tuning
from experiments.bench_generation import Generation
from experiments.main import main
from moprune.errors import MopruneError, UsageError
from moprune.networks import digit_images
from moprune.networks.units import units
from moprune.population.tuning import Labelled, TuningRecipe
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


def test_measures_both_ways_and_finds_them_equal(generation):
    told = []
    before = {name: tensor.clone() for name, tensor in generation.network.state_dict().items()}
    result = bench_tuning.bench_tuning(generation, rounds=2, progress=told.append)
    assert told == ["search: 3 candidates, 2 rounds", "head: 1 candidates, 2 rounds"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in generation.network.state_dict().items())
    assert (result.images, result.parameters) == (30, 27 + 3 + 6 + 48 * 6 + 6 + 12 + 2)
    for case in result.cases:
        assert min(case.rate, case.naive_rate, case.ready_rate, case.preparation) > 0
        assert 0 < case.ratio.least <= case.ratio.median <= case.ratio.most
        assert 0 <= case.largest_difference <= 1e-5
    values = json.loads(json.dumps(dataclasses.asdict(result), allow_nan=False))
    assert [case["name"] for case in values["cases"]] == ["search", "head"]
    assert "search: by hand" in bench_tuning.table(result)


@pytest.mark.parametrize("factor", [1.5, math.nan])
def test_a_different_loss_is_an_error(generation, monkeypatch, factor):
    naive = bench_tuning._naive

    def other(generation, job, source):
        return {name: value * factor for name, value in naive(generation, job, source).items()}

    monkeypatch.setattr(bench_tuning, "_naive", other)
    with pytest.raises(MopruneError, match="search: a loss differs"):
        bench_tuning.bench_tuning(generation, rounds=2)


def test_one_round_is_no_benchmark(generation):
    with pytest.raises(UsageError, match=">= 2 rounds"):
        bench_tuning.bench_tuning(generation, rounds=1)


def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench_generation, "GENERATIONS", 1)
    monkeypatch.setattr(bench_generation, "IMAGES", 40)
    digits = [each[::10] for each in digit_images(range(10), held_out=False)]
    monkeypatch.setattr(bench_generation, "digit_images", lambda *_, **__: digits)
    file = tmp_path / "figures.json"
    command = ["bench", "selection", "--candidates", "4", "--epochs", "1", "--rounds", "2", "--json", str(file)]
    assert main(command) == 0
    figures = json.loads(file.read_text())
    assert figures["network"] == "DigitsNet"
    assert [case["name"] for case in figures["cases"]] == ["search", "head only", "late", "early", "everything"]
    assert "after 1 generations" in capsys.readouterr().out
