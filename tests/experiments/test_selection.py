"""Layer selection from the command line: a run, its controls, and every command on it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from experiments.build import build_task
from experiments.loading import load_experiment
from experiments.main import main
from moprune.networks import pretrained_digits
from moprune.networks.delta import apply_delta

SMALL = {
    "data.splits.train.limit": "60",
    "selection.seeds": "1",
    "selection.recipe.epochs": "3",
    "selection.recipe.learning_rate": "0.01",
    "search.pop_size": "10",
    "search.n_offsprings": "6",
    "search.n_eval": "60",
}
SETS = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def selected(tmp_path_factory, cache):
    """The folder of a finished search of two seeds, each training once; not to be written to."""
    folder = tmp_path_factory.mktemp("selected") / "run"
    assert main(["run", "mo-selection", "--out", str(folder), "--seeds", "1,2", *SETS]) == 0
    return folder


@pytest.fixture(scope="module")
def biotuned(tmp_path_factory, cache):
    """The folder of a finished search as published, of a tiny budget; not to be written to."""
    folder = tmp_path_factory.mktemp("biotuned") / "run"
    small = [*SETS[:2], "--set", "selection.recipe.epochs=2", "--set", "selection.seeds=2", "--set", "search.n_eval=20"]
    assert main(["run", "biotune", "--out", str(folder), *small]) == 0
    return folder


@pytest.fixture(scope="module")
def held_out(selected):
    """Images and labels of the test split, put together without the runner."""
    split = build_task(load_experiment(str(selected / "experiment.yaml")).data).test
    return torch.stack([split.inputs[i] for i in range(len(split))]), split.labels


def error_of(network, held_out):
    images, labels = held_out
    with torch.no_grad():
        return (network.eval()(images).argmax(1) != labels).double().mean().item()


def exported(folder, solution, path):
    assert main(["export", str(folder), "--format", "state-dict", "--solution", solution, "--out", str(path)]) == 0
    return path


def test_the_front_and_its_controls_say_what_they_train_and_cost(selected):
    front, controls = pd.read_csv(selected / "front.csv"), pd.read_csv(selected / "controls.csv")
    assert set(controls["control"]) == {"linear probe", "full", "front soup", "front ensemble", "random search"}
    parameters = sum(p.numel() for p in pretrained_digits(range(10)).parameters())
    for points in front, controls:
        expected = points["trainable_parameters_test"] / parameters
        np.testing.assert_allclose(points["trainable_share_test"], expected)
    by_name = controls.set_index("control")
    assert set(by_name.loc["linear probe", "trainable_parameters_test"]) == {10 * 128 + 10}
    assert set(by_name.loc["full", "trainable_share_test"]) == {1.0}
    summary = json.loads((selected / "summary.json").read_text())
    assert summary["test_opened"] == 1
    assert any("rung=0" in note and "correlation" in note for note in summary["notes"])
    for seed, entry in summary["seeds"].items():
        spent = entry["forward_images"]
        assert 0 < max(spent.values()) == spent["search"]
        # A candidate: three epochs of 60 images, three passes each, and the search split; at each rate.
        assert spent["full"] % (3 * 3 * 60 + summary["images"]["search"]) == 0
        own = front[front["seed"] == int(seed)]
        assert entry["chosen"] in set(own["solution"])


def test_of_a_control_that_sweeps_a_rate_one_point_is_left(selected):
    controls = pd.read_csv(selected / "controls.csv")
    counts = controls.groupby(["control", "seed"]).size().unstack(0)
    assert (counts[["linear probe", "full", "front soup", "front ensemble"]] == 1).all(axis=None)
    search = [f"{name}_search" for name in ("macro_error", "trainable_parameters")]
    for _, points in controls.groupby(["control", "seed"]):
        values = points[search].to_numpy()
        dominated = [((values <= each).all(1) & (values < each).any(1)).any() for each in values]
        assert not any(dominated)


def test_an_interrupted_run_ends_with_the_same_bytes(selected, tmp_path, capsys):
    again = tmp_path / "again"
    shutil.copytree(selected, again)
    for name in ("summary.json", "front.csv", "controls.csv"):
        (again / name).unlink()
    assert main(["run", "mo-selection", "--out", str(again), "--seeds", "1,2", *SETS]) == 0
    for name in ("front.csv", "controls.csv"):
        assert (again / name).read_bytes() == (selected / name).read_bytes()


def test_the_exported_network_is_the_one_that_was_scored_whole_and_as_a_delta(selected, held_out, tmp_path, capsys):
    front = pd.read_csv(selected / "front.csv").set_index("solution")
    cheap = str(front["trainable_parameters_test"].idxmin())
    for solution in dict.fromkeys([cheap, str(front["error_test"].idxmin())]):
        path = exported(selected, solution, tmp_path / f"{solution}.safetensors")
        network = pretrained_digits(range(10))
        network.load_state_dict(load_file(path))
        assert error_of(network, held_out) == front.loc[solution, "error_test"]
        other = pretrained_digits(range(10))
        apply_delta(other, path.with_suffix(".delta.safetensors"))
        assert all(torch.equal(each, network.state_dict()[name]) for name, each in other.state_dict().items())
    # The head alone, or little more: the delta is a fraction of the file.
    delta = tmp_path / f"{cheap}.delta.safetensors"
    assert delta.stat().st_size < 0.3 * (tmp_path / f"{cheap}.safetensors").stat().st_size
    assert "the delta alone" in capsys.readouterr().out


def test_the_soup_scores_what_the_mean_of_the_exported_members_does(selected, held_out, tmp_path, capsys):
    front, controls = pd.read_csv(selected / "front.csv"), pd.read_csv(selected / "controls.csv")
    members = front[front["seed"] == 2]["solution"]
    states = [load_file(exported(selected, each, tmp_path / f"{each}.safetensors")) for each in members]
    network = pretrained_digits(range(10))
    mean = {name: sum(state[name].double() for state in states) / len(states) for name in states[0]}
    network.load_state_dict({name: each.to(states[0][name].dtype) for name, each in mean.items()})
    soup = controls[(controls["control"] == "front soup") & (controls["seed"] == 2)]
    assert error_of(network, held_out) == soup["error_test"].item()


def test_every_evaluation_is_exported_with_its_rates_and_grades(selected, tmp_path, capsys):
    path = tmp_path / "all.csv"
    assert main(["export", str(selected), "--format", "csv", "--out", str(path)]) == 0
    table = pd.read_csv(path)
    rates = table.filter(regex="^rate_")
    assert rates.shape[1] == 4  # three convolutions with their normalisation, and the head
    head = table["trainable_parameters_search"] == 10 * 128 + 10
    assert (rates.drop(columns="rate_linear")[head] == 0).all(axis=None)
    assert (rates["rate_linear"] > 0).all()
    full = (table.filter(regex="^grade_") == "full").all(axis=1)
    assert (table["trainable_parameters_search"][full] == table["trainable_parameters_search"].max()).all()


def test_explain_tells_what_members_tune(selected, tmp_path, capsys):
    assert main(["explain", str(selected), "--out", str(tmp_path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "of 2 chosen" in printed
    tunings, units = pd.read_csv(tmp_path / "tunings.csv"), pd.read_csv(tmp_path / "units.csv")
    front = pd.read_csv(selected / "front.csv")
    assert set(tunings["solution"][tunings["on_front"]]) == set(front["solution"])
    share = tunings[tunings["on_front"]].groupby(["seed", "unit"])["rate"].agg(lambda rates: (rates > 0).mean())
    for row in units.itertuples():
        assert row.tuned == pytest.approx(share[:, row.unit].mean())
    assert units.set_index("unit").loc["linear", ["tuned", "chosen"]].tolist() == [1.0, 2]
    assert (tmp_path / "units.png").stat().st_size > 0
    assert main(["explain", str(selected), "--images", "8"]) == 2
    assert "task is selection" in capsys.readouterr().err


@pytest.mark.parametrize("run", ["selected", "biotuned"])
@pytest.mark.parametrize(
    ("command", "out"),
    [
        (["show", "--knee", "--prefer", "error=0.1"], None),
        (["compare"], None),
        (["plot", "--out"], "figures"),
        (["report", "--out"], "report.html"),
        (["explain", "--out"], "explain"),
        (["export", "--format", "torch-export", "--out"], "net.pt2"),
        (["export", "--format", "optuna", "--out"], "journal"),
    ],
    ids=str,
)
def test_commands_take_a_selection(run, request, tmp_path, command, out, capsys):
    name, *options = command
    arguments = [name, str(request.getfixturevalue(run)), *options, *([str(tmp_path / out)] if out else [])]
    assert main(arguments) == 0
    assert "error:" not in capsys.readouterr().err


def test_ensembles_of_pruned_heads_are_refused_in_a_line(selected, capsys):
    assert main(["ensemble", str(selected)]) == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "moprune: error" in each]
    assert "front_ensemble" in line


def test_a_published_run_chooses_on_search_and_writes_its_new_head(biotuned, tmp_path, capsys):
    front, summary = pd.read_csv(biotuned / "front.csv"), json.loads((biotuned / "summary.json").read_text())
    assert summary["choice"] == "least macro_error on search"
    assert summary["seeds"]["1"]["chosen"] == front.sort_values("macro_error_search")["solution"].iloc[0]
    path = tmp_path / "net.safetensors"
    assert main(["export", str(biotuned), "--format", "state-dict", "--out", str(path)]) == 0
    assert load_file(path)["linear.weight"].shape == (5, 128)
    assert "linear.weight" in load_file(path.with_suffix(".delta.safetensors"))
