"""A run with many controls: on the same axes, in tables of 80 columns, in pictures and in the report."""

import json

import pandas as pd
import pytest

from experiments.main import main

CONTROLS = ["unpruned", "random", "anova", "magnitude_one_shot", "logistic_regression", "lasso", "polynomial_decay"]


@pytest.fixture(scope="module")
def many(tmp_path_factory, cache):
    """The folder of a tiny run with many controls, some of several points and some of one."""
    folder = tmp_path_factory.mktemp("many") / "run"
    small = {
        "search.n_eval": "16", "search.pop_size": "8", "pruning.hidden": "[4]", "pruning.training.epochs": "1",
        "pruning.members": "1", "pruning.folds": "1", "controls": f"[{','.join(CONTROLS)}]",
    }  # fmt: skip
    sets = [part for key, value in small.items() for part in ("--set", f"{key}={value}")]
    assert main(["run", "quickstart", *sets, "--out", str(folder)]) == 0
    return folder


def test_each_control_is_assessed_and_chosen_like_the_search(many):
    names = {name.replace("_", " ") if name != "random" else "random masks" for name in CONTROLS}
    table = pd.read_csv(many / "controls.csv")
    assert set(table["control"]) == names
    assert table["solution"].is_unique
    assert {f"{o}_{s}" for o in ("brier", "error", "ood_auroc") for s in ("search", "select", "test")} <= set(table)
    tested = json.loads((many / "summary.json").read_text())["seeds"]["1"]["test"]
    assert set(tested) == {"search", *names}
    for name in names:
        row = table.set_index("solution").loc[tested[name]["solution"]]
        assert tested[name]["error"] == row["error_test"]
        affordable = table[(table["control"] == name) & (table["active_fraction_select"] <= 0.5)]
        assert row["active_fraction_select"] <= 0.5 or affordable.empty


def test_tables_fit_and_pictures_are_drawn(many, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["show", str(many)]) == 0
    out = capsys.readouterr().out
    told = [line for line in out.splitlines() if "─" in line]
    assert max(len(line) for line in told) <= 80
    assert "…" not in out
    assert all(name.replace("_", " ") in out for name in CONTROLS)
    assert main(["plot", str(many), "--out", str(tmp_path)]) == 0
    assert main(["compare", str(many)]) == 0
    assert main(["report", str(many), "--out", str(tmp_path / "report.html")]) == 0
    assert '"baselines":["logistic regression","unpruned"]' in (tmp_path / "report.html").read_text()
