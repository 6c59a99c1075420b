"""``moprune export``: what is written is read back by the programs it is for, and equals the log."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.evaluations import evaluations
from experiments.finished import opened
from experiments.main import main
from moprune.errors import UsageError
from moprune.networks import DigitsNet, flops, parameters
from moprune.networks.saved import load_network
from moprune.optional import require


@pytest.fixture(scope="module")
def logged(finished_run):
    """What the log holds, put together without the code under test."""
    rows = []
    with opened(finished_run) as run:
        for seed in (1, 2, 3):
            for stage, prefix in (("search", ""), ("consensus", "c"), ("random", "r")):
                history, genomes = run.log.history(stage, seed)
                for record, genome in zip(history.to_dict("records"), genomes, strict=True):
                    rows.append(
                        {"solution": f"{prefix}{seed}-{record['position']}", "seed": seed, "stage": stage,
                         "generation": record["generation"], "seconds": record["seconds"],
                         "values": record["natural"].tolist(), "bits_on": int(genome.sum()),
                         "share_on": genome.mean()}
                    )  # fmt: skip
    return rows


def check(table, logged, finished_run):
    assert len(table) == len(logged)
    for name in ("solution", "seed", "stage", "generation", "seconds", "bits_on", "share_on"):
        assert table[name].tolist() == [row[name] for row in logged], name
    assert set(table["profile"]) == {"sound"}
    objectives = [f"{name}_search" for name in ("brier", "active_fraction", "ood_auroc")]
    assert table[objectives].to_numpy().tolist() == [row["values"] for row in logged]
    assert table["share_on_features"].tolist() == table["share_on"].tolist()
    front = pd.read_csv(finished_run / "front.csv").set_index("solution")
    members = table[table["on_front"] & (table["stage"] != "random")].set_index("solution")
    assert set(members.index) == set(front.index)
    for column in ("brier_select", "brier_test", "ood_auroc_test", "error_search", "error_test"):
        np.testing.assert_allclose(members[column], front.loc[members.index, column], rtol=1e-12)
    assert table.loc[~table["on_front"], "error_test"].isna().all()


def test_csv_equals_the_log(finished_run, logged, tmp_path, capsys):
    path = tmp_path / "all.csv"
    assert main(["export", str(finished_run), "--format", "csv", "--out", str(path)]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    table = pd.read_csv(path, dtype={"solution": str})
    # Python reads numbers to the last bit; pandas before 3 does not.
    exact = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in table.columns:
        if table[name].dtype == float:
            table[name] = [float(text or "nan") for text in exact[name]]
    check(table, logged, finished_run)


def test_parquet_equals_the_log(finished_run, logged, tmp_path):
    path = tmp_path / "all.parquet"
    assert main(["export", str(finished_run), "--format", "parquet", "--out", str(path)]) == 0
    check(pd.read_parquet(path), logged, finished_run)


def test_neither_data_nor_network_are_opened_for_tables(finished_run, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("opened")

    monkeypatch.setattr("experiments.tasks.pruning.Pruning.problem", refuse)
    with opened(finished_run) as run:
        assert len(evaluations(run))


def test_optuna_reads_the_studies(finished_run, logged, tmp_path, capsys):
    import optuna

    path = tmp_path / "studies.journal"
    assert main(["export", str(finished_run), "--format", "optuna", "--out", str(path)]) == 0
    assert "9 studies" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    names = optuna.get_all_study_names(storage)
    assert names[:3] == ["tiny: search, seed 1", "tiny: consensus, seed 1", "tiny: random, seed 1"]
    study = optuna.load_study(study_name=names[3], storage=storage)
    assert [d.name for d in study.directions] == ["MINIMIZE", "MINIMIZE", "MAXIMIZE"]
    assert study.metric_names == ["brier", "active_fraction", "ood_auroc"]
    rows = [row for row in logged if (row["seed"], row["stage"]) == (2, "search")]
    assert [trial.values for trial in study.trials] == [row["values"] for row in rows]
    assert [trial.params for trial in study.trials] == [{"share_on": row["share_on"]} for row in rows]
    attributes = [trial.user_attrs for trial in study.trials]
    assert [a["solution"] for a in attributes] == [row["solution"] for row in rows]
    assert {(a["seed"], a["stage"]) for a in attributes} == {(2, "search")}
    front = {a["solution"] for a in attributes if a["on_front"]}
    assert {trial.user_attrs["solution"] for trial in study.best_trials} >= front
    assert all(("error_test" in a) == a["on_front"] for a in attributes)


def test_each_layer_of_the_genome_has_its_share(tmp_path, small):
    import optuna

    folder = tmp_path / "units"
    more = ["--set", "pruning.encoding=units", "--set", "search.n_eval=20", "--set", "controls=[unpruned]"]
    assert main(["run", "quickstart", "--out", str(folder), *small, *more]) == 0
    with opened(folder) as run:
        table, (_, genomes) = evaluations(run), run.log.history("search", 1)
    table = table[table["stage"] == "search"]
    assert genomes.shape[1] == 128 + 8
    assert table["share_on_features"].tolist() == genomes[:, :128].mean(axis=1).tolist()
    assert table["share_on_hidden_1"].tolist() == genomes[:, 128:].mean(axis=1).tolist()
    assert main(["export", str(folder), "--format", "optuna"]) == 0
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "exported/optuna.journal"))
    study = optuna.load_study(study_name="units: search, seed 1", storage=optuna.storages.JournalStorage(backend))
    assert set(study.trials[0].params) == {"share_on", "share_on_features", "share_on_hidden_1"}


def test_connections_have_a_share_of_their_own(tmp_path, small):
    folder = tmp_path / "edges"
    more = ["--set", "pruning.encoding=edges", "--set", "search.n_eval=8", "--set", "search.pop_size=4"]
    goals = ["--set", "objectives=[brier,active_fraction,parameters]", "--set", "controls=[]"]
    assert main(["run", "quickstart", "--out", str(folder), *small, *more, *goals]) == 0
    with opened(folder) as run:
        table, (history, genomes) = evaluations(run), run.log.history("search", 1)
        searched = table[table["stage"] == "search"]
        assert genomes.shape[1] == 128 * 8
        assert searched["share_on_connections_1"].tolist() == genomes.mean(axis=1).tolist()
        assert searched["parameters_search"].tolist() == [float(each[2]) for each in history["natural"]]
        unpruned = 128 * 8 + 8 * 4 + 4
        assert run.result.objectives[2].scale > unpruned  # of the whole network, as the search had it
    for command in (["show"], ["report"], ["explain", "--images", "8"], ["export", "--format", "state-dict"]):
        assert main([command[0], str(folder), *command[1:]]) == 0


def read_torch_export(path):
    return torch.export.load(path).module()


def read_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@pytest.mark.parametrize(
    ("form", "suffix", "read"),
    [
        ("state-dict", ".safetensors", lambda path: load_network(path, DigitsNet(5, seed=9))),
        ("torch-export", ".pt2", read_torch_export),
        ("onnx", ".onnx", read_onnx),
    ],
)
def test_a_network_is_read_back_with_the_same_logits(finished_run, tmp_path, capsys, form, suffix, read):
    summary = json.loads((finished_run / "summary.json").read_text())
    solution = summary["seeds"]["2"]["chosen"]
    path = tmp_path / f"member{suffix}"
    assert main(["export", str(finished_run), "--format", form, "--solution", solution, "--out", str(path)]) == 0
    network_file, description_file, line = capsys.readouterr().out.splitlines()
    assert (network_file, description_file) == (str(path), str(path.with_suffix(".json")))
    description = json.loads(path.with_suffix(".json").read_text())
    assert (description["solution"], description["seed"], description["classes"]) == (solution, 2, ["5", "6", "7", "8"])
    assert description["objectives"]["error"]["test"] == summary["seeds"]["2"]["test"]["search"]["error"]
    images = torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with opened(finished_run) as run:
        problem, genome = run.problem(2), run.genomes([solution])[0]
        network, slimmed = problem.network(genome), problem.slimmed(genome)
    with torch.no_grad():
        torch.testing.assert_close(read(path)(images), network(images), rtol=1e-4, atol=1e-4)
    assert path.stat().st_mode == path.with_suffix(".json").stat().st_mode
    unpruned = parameters(DigitsNet(5)) - (128 * 5 + 5) + problem.spec.parameters()
    assert f" {parameters(slimmed):,} of {unpruned:,} parameters (" in line
    assert f" {flops(slimmed, images):,} of " in line
    assert line.startswith(f"{path.stat().st_size / 1e6:.2f} MB")
    difference, magnitude = re.search(r"differ by at most (\S+) \(of (\S+)\)$", line).groups()
    assert 0 <= float(difference) <= 1e-5 * float(magnitude)


def test_the_chosen_member_of_the_first_seed_is_the_default(finished_run):
    chosen = json.loads((finished_run / "summary.json").read_text())["seeds"]["1"]["chosen"]
    try:
        assert main(["export", str(finished_run), "--format", "state-dict"]) == 0
        assert (finished_run / "exported" / f"{chosen}.safetensors").is_file()
    finally:
        shutil.rmtree(finished_run / "exported", ignore_errors=True)


def test_mistakes_are_one_line(finished_run, tmp_path, capsys):
    for options, message in (
        (["--format", "csv", "--solution", "1-3"], "--solution goes with --format state-dict, torch-export, onnx"),
        (["--format", "state-dict", "--solution", "9-3"], "no solution '9-3'"),
        (["--format", "onnx", "--solution", "9-3"], "no solution '9-3'"),
        (["--format", "torch-export", "--out", "net.pt"], "written as .pt2"),
        (["--format", "onnx", "--out", "net.safetensors"], "written as .onnx"),
        (["--format", "state-dict", "--out", "net.pt"], "written as .safetensors"),
    ):
        assert main(["export", str(finished_run), *options]) == 2
        error = capsys.readouterr().err
        assert error.count("moprune: error") == 1
        assert message in error
    assert main(["export", str(tmp_path), "--format", "csv"]) == 2


@pytest.mark.parametrize(("form", "module"), [("parquet", "pyarrow"), ("optuna", "optuna"), ("onnx", "onnx")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(finished_run, monkeypatch, capsys, form, module):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("moprune.optional.importlib", SimpleNamespace(import_module=missing))
    assert main(["export", str(finished_run), "--format", form, "--out", f"nowhere/x.{form}"]) == 2
    error = capsys.readouterr().err
    assert f"this needs {module}; install it with: pip install 'moprune[{form}]'" in error


def test_require_returns_the_module():
    assert require("json", "parquet") is json
    with pytest.raises(UsageError, match=r"this needs no_such_package; .*moprune\[optuna\]"):
        require("no_such_package", "optuna")
