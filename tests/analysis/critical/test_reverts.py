"""Reverted changes, against the loss of a linear network by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from analysis.critical import RANKINGS, changes_of, revert_layers, revert_weights
from analysis.critical import reverts as module
from moprune.data import Task
from moprune.errors import UsageError
from problems.refinement import RefinementProblem
from problems.refinement.genomes import Mixing

ONE, TWO = slice(0, 25), slice(25, 43)


def nll(table):
    return table[table["objective"] == "nll"]


@pytest.mark.parametrize("split", ["select", "test"])
def test_layers_by_hand(problem, found, by_hand, split):
    start = problem.genotype.start
    table = revert_layers(problem, changes_of(problem, found), split=split)
    assert table["objective"].tolist() == ["nll"] * 4 + ["macro_f1"] * 4
    before, after = by_hand(start, split), by_hand(found, split)
    assert after < before
    for row in nll(table).to_dict("records"):
        own = {"one": ONE, "two": TWO}[row["layer"]]
        mixed = (found if row["test"] == "reverted" else start).copy()
        mixed[own] = (start if row["test"] == "reverted" else found)[own]
        assert row["changed"] == np.count_nonzero((start != found)[own])
        assert row["value"] == pytest.approx(by_hand(mixed, split), rel=1e-5)
        assert (row["pretrained"], row["found"]) == pytest.approx((before, after), rel=1e-5)
        assert row["retained"] == pytest.approx((before - by_hand(mixed, split)) / (before - after), abs=1e-4)


def test_the_gain_of_what_is_maximised_is_that_it_grows(problem, found):
    table = revert_layers(problem, changes_of(problem, found))
    some = table[table["objective"] == "macro_f1"]
    assert (some["found"] > some["pretrained"]).all()
    expected = (some["value"] - some["pretrained"]) / (some["found"] - some["pretrained"])
    assert some["retained"].to_numpy() == pytest.approx(expected.to_numpy())


def test_where_nothing_is_gained_there_is_no_share(problem, found):
    start = problem.genotype.start
    table = revert_layers(problem, changes_of(problem, start - (found - start)))
    worse = nll(table)
    assert (worse["found"] > worse["pretrained"]).all()
    assert worse["retained"].isna().all()


@pytest.mark.parametrize("by", RANKINGS)
def test_largest_and_smallest_by_hand(problem, found, by_hand, by):
    start = problem.genotype.start
    parts = np.split(start, np.cumsum([20, 5, 15]))
    assert not parts[3].any()  # zeros: the magnitude itself
    spreads = np.concatenate([np.full(part.size, part.std() or 1.0) for part in parts])
    size = np.abs(found - start) / (spreads if by == "relative" else 1)
    order = np.argsort(-size, kind="stable")[: np.count_nonzero(size)]
    table = nll(revert_weights(problem, changes_of(problem, found), by=by, sizes=6, draws=1))
    for name, places in (("largest", order), ("smallest", order[::-1])):
        some = table[table["order"] == name]
        assert some["reverted"].tolist() == [1, 2, 4, 9, 19, 39]
        for row in some.to_dict("records"):
            mixed = found.copy()
            mixed[places[: row["reverted"]]] = start[places[: row["reverted"]]]
            assert row["value"] == pytest.approx(by_hand(mixed), rel=1e-5)
            assert row["share"] == row["reverted"] / 39


def test_all_taken_back_is_the_pretrained_network_in_any_order(problem, found):
    table = nll(revert_weights(problem, changes_of(problem, found), sizes=3, draws=2))
    last = table[table["share"] == 1]
    assert len(last) == 4
    assert last["value"].to_numpy() == pytest.approx(last["pretrained"].to_numpy())
    assert last["retained"].to_numpy() == pytest.approx(0, abs=1e-6)


def test_random_changes_are_those_of_the_seed_and_each_draw_another(problem, found, by_hand):
    changes = changes_of(problem, found)
    first, again, other = (
        nll(revert_weights(each, changes, sizes=2, draws=8)).query("order == 'random' and reverted == 1")["value"]
        for each in (problem, problem, problem.reseeded(5))
    )
    assert first.tolist() == again.tolist() != other.tolist()
    assert first.nunique() > 1
    # Each is one changed weight back at where it was.
    start = problem.genotype.start
    singles = [by_hand(np.where(np.arange(43) == place, start, found)) for place in np.flatnonzero(start != found)]
    assert np.abs(np.subtract.outer(first.to_numpy(), singles)).min(1).max() < 1e-6


def test_a_single_change_has_one_size(problem):
    genome = problem.genotype.start.copy()
    genome[7] += 0.5
    changes = changes_of(problem, genome)
    assert changes.by_tensor()["changed"].sum() == 1
    table = nll(revert_weights(problem, changes, draws=2))
    assert table["reverted"].tolist() == [1] * 4
    layers = nll(revert_layers(problem, changes)).set_index("test")
    assert layers.loc["reverted", "value"] == pytest.approx(layers.loc["reverted", "pretrained"])
    assert layers.loc["kept", "value"] == pytest.approx(layers.loc["kept", "found"])


def test_how_many_are_scored_at_once_changes_nothing(problem, found, monkeypatch):
    changes = changes_of(problem, found)
    told = []
    table = revert_weights(problem, changes, sizes=4, draws=2, on_scored=lambda *done: told.append(done))
    monkeypatch.setattr(module, "_HELD", 1)
    assert revert_weights(problem, changes, sizes=4, draws=2).equals(table)
    assert told == [(done, 4 * 4 + 2) for done in range(1, 4 * 4 + 3)]


def test_running_statistics_are_taken_back_with_the_weights():
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).eval()
    names = {name for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    member = {
        name: tensor + 0.3 * torch.rand(tensor.shape, generator=generator)
        for name, tensor in network.state_dict().items()
        if name in names
    }
    images = torch.rand(150, 1, 2, 2, generator=generator)
    task = Task.from_tensors(images, torch.arange(150) % 3, test=(images[:30], torch.arange(30) % 3), seed=0)
    problem = RefinementProblem(task, network, Mixing(network, [member]), device="cpu")
    changes = changes_of(problem, np.ones(problem.n_var))
    assert set(changes.start) == names
    assert changes.layers["2"] == ("2.weight", "2.bias", "2.running_mean", "2.running_var")
    layers = revert_layers(problem, changes).set_index(["test", "layer"])["value"]
    without = {name: tensor for name, tensor in changes.found.items() if not name.startswith("2.")}
    only = {name: tensor for name, tensor in changes.found.items() if name.startswith("2.")}
    for test, state in (("reverted", without), ("kept", only)):
        select = problem.task.select
        inputs = torch.stack([select.inputs[i] for i in range(len(select))])
        with torch.no_grad():
            loss = nn.functional.cross_entropy(problem.network_of(state)(inputs), select.labels)
        assert layers[test, "2"] == pytest.approx(float(loss), rel=1e-5)
    table = revert_weights(problem, changes, sizes=2, draws=1)
    assert table[table["share"] == 1]["value"].to_numpy() == pytest.approx(table["pretrained"][0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "size"}, "ranking of changes 'size' is not known"),
        ({"split": "tset"}, "did you mean 'test'"),
        ({"sizes": 1}, "1 sizes and 5 draws"),
        ({"draws": 0}, "16 sizes and 0 draws"),
    ],
)
def test_what_cannot_be_asked_is_refused(problem, found, options, message):
    with pytest.raises(UsageError, match=message):
        revert_weights(problem, changes_of(problem, found), **options)
