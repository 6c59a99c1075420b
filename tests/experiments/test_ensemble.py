"""``moprune ensemble`` on a finished run."""

import json

import pandas as pd
import torch

from analysis.ensembles import load_ensemble
from experiments.main import main
from moprune.networks import pretrained_digits


def test_it_compares_writes_and_exports(finished_run, tmp_path, capsys):
    before = {path: path.read_bytes() for path in finished_run.iterdir() if path.is_file() and path.suffix != ".sqlite"}
    out, export = tmp_path / "out", tmp_path / "export"
    options = ["--size", "3", "--seed", "2", "--seed", "1", "--out", str(out), "--export", str(export)]
    assert main(["ensemble", str(finished_run), *options]) == 0
    said = capsys.readouterr().out
    assert "2 seeds are too few to say whether it helps" in said
    assert "cannot be averaged" in said
    assert max(len(line) for line in said.splitlines()[:24] if "±" in line) <= 80

    table = pd.read_csv(out / "ensembles.csv")
    assert set(table["seed"]) == {1, 2}
    assert (table.loc[table["ensemble"] == "unpruned heads", "members"] == 3).all()
    summary = json.loads((out / "ensembles.json").read_text())
    assert "once more" in summary["test_read"]
    assert summary["chosen"] in {"best_k", "greedy", "diverse"}
    assert (out / "figures/ensembles.png").stat().st_size > 1000
    assert {path: path.read_bytes() for path in before} == before

    network = load_ensemble(export / "seed-1", pretrained_digits())
    torch.testing.assert_close(network(torch.rand(2, 1, 8, 8)).exp().sum(1), torch.ones(2))
    description = json.loads((export / "seed-2/ensemble.json").read_text())
    assert description["ensemble"] == summary["chosen"]
    assert description["network"]["arch"] == "digits"


def test_more_votes_than_members_is_said(finished_run, tmp_path, capsys):
    options = ["--size", "500", "--seed", "3", "--method", "greedy", "--out", str(tmp_path)]
    assert main(["ensemble", str(finished_run), *options]) == 0
    front = pd.read_csv(finished_run / "front.csv")
    size = (front["seed"] == 3).sum()
    assert f"has {size} members only" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "ensembles.csv").set_index("ensemble")
    assert table.loc[["greedy", "unpruned heads", "random masks: greedy"], "members"].max() == size


def test_what_cannot_be_done_is_said_in_a_line(finished_run, tmp_path, capsys):
    for options, said in (
        ([str(tmp_path)], "no run folder"),
        ([str(finished_run), "--method", "gredy"], "did you mean 'greedy'"),
        ([str(finished_run), "--seed", "9"], "seed 9 is not known"),
        ([str(finished_run), "--method", "windows", "--export", str(tmp_path)], "choose another --method"),
    ):
        assert main(["ensemble", *options]) == 2
        error = capsys.readouterr().err
        assert said in error.replace("\n", " ")
        assert "Traceback" not in error
