"""What an experiment file leaves out, by its profile, and what a run of the published profile says of itself."""

import json

import pandas as pd
import pytest

from experiments.loading import find_experiment, load_experiment
from experiments.main import main


@pytest.fixture(scope="module")
def published(tmp_path_factory, cache):
    """The folder of a finished run of EvoPruneDeepTL as published, of a tiny budget; not to be written to."""
    folder = tmp_path_factory.mktemp("published") / "run"
    small = ["--set", "search.n_eval=12", "--set", "search.pop_size=6", "--set", "pruning.training.epochs=3"]
    assert main(["run", "evoprune", "--set", "profile=paper", *small, "--out", str(folder)]) == 0
    return folder


def test_the_published_experiments_are_as_published():
    one = load_experiment("evoprune", ["profile=paper"])
    assert find_experiment("evoprune", ["seeds=[2]", "profile=paper"]).stem == "evoprune-paper"
    assert [o.name for o in one.objectives] == ["error"]
    several = load_experiment("mo-evoprune", ["profile=paper"])
    assert [(o.name, o.detector) for o in several.objectives][1:] == [("active_fraction", None), ("ood_auroc", "odin")]
    assert (one.search.algorithm, several.search.algorithm) == ("ssga", "nsga2_published")
    for config in (one, several):
        assert (config.search.pop_size, config.search.n_eval, config.budget) == (30, 200, 1.0)
        training, pruning = config.pruning.training, config.pruning
        assert (training.epochs, training.learning_rate, training.patience) == (600, 1e-3, 10)
        assert (pruning.members, pruning.mode, pruning.folds, pruning.refit) == (1, "full", 1, False)


def test_a_sound_experiment_is_filled_in_but_not_overruled():
    config = load_experiment("evoprune")
    assert [o.name for o in config.objectives] == ["brier", "active_fraction"]
    assert [o.name for o in config.reported] == ["error"]
    assert (config.pruning.members, config.pruning.mode, config.pruning.folds, config.pruning.refit) == (
        8,
        "short",
        4,
        True,
    )
    assert load_experiment("evoprune", ["pruning.folds=2"]).pruning.members == 8
    assert load_experiment("evoprune", ["pruning.encoding=edges"]).pruning.members == 1
    assert load_experiment("evoprune", ["objectives=[error,active_fraction]"]).reported == ()


def test_what_no_member_could_be_chosen_by_is_refused_before_the_run(capsys):
    goals = "objectives=[active_fraction,ood_auroc]"
    assert [o.name for o in load_experiment("quickstart", [goals]).reported] == ["error"]
    assert main(["run", "quickstart", "--set", goals, "--set", "reported=[]"]) == 2
    error = capsys.readouterr().err
    assert "reported: members are chosen by one of brier, nll, error" in error


def test_the_published_profile_searches_the_test_split(published):
    front = pd.read_csv(published / "front.csv")
    assert (front["error_search"] == front["error_test"]).all()
    assert (front["error_select"] == front["error_test"]).all()
    summary = json.loads((published / "summary.json").read_text())
    assert summary["profile"] == "paper"
    assert "on test" in summary["choice"]
    assert list(summary["reported"]) == ["active_fraction"]


@pytest.mark.parametrize(
    "command",
    [
        ["show"], ["compare"], ["ensemble", "--size", "2", "--out"], ["explain", "--images", "8", "--out"],
        ["export", "--format", "csv", "--out"], ["export", "--format", "state-dict", "--out"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_command_says_that_its_figures_are_optimistic(published, tmp_path, command, capsys):
    name, *options = command
    if "--out" in options:
        options.append(str(tmp_path / {"csv": "all.csv", "state-dict": "net.safetensors"}.get(options[-2], "out")))
    assert main([name, str(published), *options]) == 0
    printed = capsys.readouterr()
    assert "figures are optimistic" in " ".join((printed.out + printed.err).split())


def test_files_say_it_too(published, tmp_path, capsys):
    assert main(["report", str(published), "--out", str(tmp_path / "report.html")]) == 0
    assert "figures are optimistic" in (tmp_path / "report.html").read_text()
    assert main(["plot", str(published), "--out", str(tmp_path), "--pdf"]) == 0
    table = tmp_path / "all.csv"
    assert main(["export", str(published), "--format", "csv", "--out", str(table)]) == 0
    assert set(pd.read_csv(table)["profile"]) == {"paper"}
    network = tmp_path / "net.safetensors"
    assert main(["export", str(published), "--format", "state-dict", "--out", str(network)]) == 0
    assert "optimistic" in json.loads(network.with_suffix(".json").read_text())["note"]
