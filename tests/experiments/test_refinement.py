"""Refinement from the command line: a run, its controls, and every command on it."""

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

SMALL = {
    "data.exclude": "['5','6','7','8','9']",
    "network.arch": "digits",
    "refinement.members.count": "2",
    "refinement.members.epochs": "1",
    "search.n_eval": "30",
    "controls": "[start, uniform_soup, ensemble, random]",
}
SETS = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def refined(tmp_path_factory, cache):
    """The folder of a finished refinement of two seeds; not to be written to."""
    folder = tmp_path_factory.mktemp("refined") / "run"
    assert main(["run", "sa-shade", "--out", str(folder), "--seeds", "1,2", *SETS]) == 0
    return folder


@pytest.fixture(scope="module")
def held_out(refined):
    """Images and labels of the test split, put together without the runner."""
    split = build_task(load_experiment(str(refined / "experiment.yaml")).data).test
    return torch.stack([split.inputs[i] for i in range(len(split))]), split.labels


def test_the_search_ends_no_worse_than_the_start_and_says_what_all_cost(refined):
    front, controls = pd.read_csv(refined / "front.csv"), pd.read_csv(refined / "controls.csv")
    assert set(controls["control"]) == {"start", "uniform soup", "ensemble", "random search"}
    start = controls[controls["control"] == "start"].set_index("seed")
    assert (front.set_index("seed")["nll_search"] <= start["nll_search"]).all()
    summary = json.loads((refined / "summary.json").read_text())
    assert summary["test_opened"] == 1
    for seed, entry in summary["seeds"].items():
        spent, images = entry["forward_images"], summary["images"]["search"]
        assert 0 < spent["search"] <= images * entry["evaluations"]["search"]
        assert spent["random search"] == images * entry["evaluations"]["random"]
        # Two members of an epoch each, three passes an image.
        assert spent["members"] == 2 * 3 * summary["images"]["train"]
        own = front[front["seed"] == int(seed)]
        assert entry["chosen"] == own.sort_values("nll_search")["solution"].iloc[0]


def test_the_start_scores_what_the_network_itself_does(refined, held_out):
    images, labels = held_out
    with torch.no_grad():
        wrong = pretrained_digits()(images).argmax(1) != labels
    controls = pd.read_csv(refined / "controls.csv")
    assert (controls[controls["control"] == "start"]["error_test"] == wrong.double().mean().item()).all()


def test_each_seed_has_members_of_its_own(refined):
    controls = pd.read_csv(refined / "controls.csv")
    assert controls[controls["control"] == "uniform soup"]["nll_test"].nunique() == 2


def test_an_interrupted_run_ends_with_the_same_bytes(refined, tmp_path, capsys):
    again = tmp_path / "again"
    shutil.copytree(refined, again)
    for name in ("summary.json", "front.csv", "controls.csv"):
        (again / name).unlink()
    assert main(["run", "sa-shade", "--out", str(again), "--seeds", "1,2", *SETS]) == 0
    for name in ("front.csv", "controls.csv"):
        assert (again / name).read_bytes() == (refined / name).read_bytes()


def test_the_exported_weights_are_the_network_that_was_scored(refined, held_out, tmp_path, capsys):
    path = tmp_path / "net.safetensors"
    assert main(["export", str(refined), "--format", "state-dict", "--out", str(path)]) == 0
    network = pretrained_digits()
    network.load_state_dict(load_file(path))
    images, labels = held_out
    with torch.no_grad():
        wrong = network(images).argmax(1) != labels
    described = json.loads(path.with_suffix(".json").read_text())
    front = pd.read_csv(refined / "front.csv").set_index("solution")
    assert front.loc[described["solution"], "error_test"] == wrong.double().mean().item()
    assert described["objectives"]["error"]["test"] == wrong.double().mean().item()


def test_every_evaluation_is_exported_with_its_distance_from_the_start(refined, tmp_path, capsys):
    path = tmp_path / "all.csv"
    assert main(["export", str(refined), "--format", "csv", "--out", str(path)]) == 0
    table = pd.read_csv(path)
    assert set(table["stage"]) == {"search", "random"}
    first = table[(table["generation"] == 0) & (table["stage"] == "search")]
    assert first.groupby("seed")["distance"].first().eq(0).all()
    assert (table["distance"] >= 0).all()
    # Of blindly drawn shares of start and members, those of a layer sum to at most 1.
    drawn = table[(table["stage"] == "random") & (table["generation"] > 0)]
    assert (drawn["distance"] <= np.sqrt(7)).all()


@pytest.mark.parametrize(
    "command",
    [
        ["show", "--knee", "--prefer", "error=0.1"], ["compare"], ["plot", "--out"], ["report", "--out"],
        ["export", "--format", "torch-export", "--out"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_commands_take_a_front_of_one_member(refined, tmp_path, command, capsys):
    name, *options = command
    if options[-1:] == ["--out"]:
        options.append(str(tmp_path / {"report": "report.html", "export": "net.pt2"}.get(name, "figures")))
    assert main([name, str(refined), *options]) == 0
    assert "error" not in capsys.readouterr().err


def test_ensembles_of_pruned_heads_are_refused_in_a_line(refined, capsys):
    assert main(["ensemble", str(refined)]) == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "moprune: error" in each]
    assert "uniform_soup" in line


def test_published_metaheuristics_search_validation_and_are_honest_about_test(tmp_path, cache, capsys):
    sets = [*SETS[:4], "--set", "search.n_eval=20", "--set", "controls=[start]"]
    assert main(["run", "metaheuristics", "--set", "profile=paper", "--out", str(tmp_path / "run"), *sets]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "least error on search" in said
    assert "optimistic" not in said
    front = pd.read_csv(tmp_path / "run/front.csv")
    assert front["error_search"].min() <= pd.read_csv(tmp_path / "run/controls.csv")["error_search"].min()


def test_texts_are_refined_and_called_texts(tmp_path, cache, capsys):
    words = {"good": ["fine", "great", "nice"], "bad": ["poor", "dull", "awful"]}
    for file, count in (("train", 40), ("dev", 40), ("test", 20)):
        lines = [f"it is {words[label][i % 3]} and {i % 7}\t{label}" for i in range(count) for label in words]
        (tmp_path / f"{file}.tsv").write_text("\n".join(lines) + "\n")
    small = ["--set", "data.source=text", "--set", f"data.path={tmp_path}", "--set", "search.n_eval=20",
             "--set", "controls=[start, random]", "--set", "reported=[error]"]  # fmt: skip
    assert main(["run", "text", "--out", str(tmp_path / "run"), *small]) == 0
    assert "of the 40 test texts" in capsys.readouterr().out
    assert main(["export", str(tmp_path / "run"), "--format", "torch-export", "--out", str(tmp_path / "n.pt2")]) == 2
    assert "use state-dict" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "run"), "--format", "state-dict"]) == 0
    assert "differ by at most 0.0e+00" in capsys.readouterr().out


def test_networks_of_words_are_not_pruned(tmp_path, capsys):
    assert main(["run", "quickstart", "--set", "data.source=docstrings", "--set", "data.exclude=[]",
                 "--set", "data.splits=null", "--set", "data.ood.search=[]", "--set", "data.ood.test=[]",
                 "--set", "network.arch=lstm", "--out", str(tmp_path)]) == 2  # fmt: skip
    assert "network.arch" in capsys.readouterr().err
