import json
import re

import pandas as pd
import pytest

from experiments.main import main


def test_report_writes_one_small_file(finished_run, tmp_path, capsys):
    path = tmp_path / "report.html"
    assert main(["report", str(finished_run), "--out", str(path)]) == 0
    assert re.search(r"report\.html \(\d\.\d MB, \d+\.\d s\)", capsys.readouterr().out.replace("\n", ""))
    page = path.read_text(encoding="utf-8")
    assert len(page) < 2_000_000
    data = json.loads(re.search(r'id="report-data">(.*?)</script>', page, re.S)[1])
    front = pd.read_csv(finished_run / "front.csv").set_index("solution")
    members = [point for point in data["points"] if point["group"] == "search"]
    assert len(members) == len(front)
    assert [goal["searched"] for goal in data["goals"]] == [True, True, True, False]
    for member in members:
        row = front.loc[member["id"]]
        names = ("brier", "active_fraction", "ood_auroc", "error")  # the last is reported beside the objectives
        assert member["values"]["test"] == [row[f"{name}_test"] for name in names]
        assert sum(member["kept"]) == round(row["active_fraction_test"] * data["layers"][0]["width"])


def test_a_report_needs_a_finished_run(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "no run folder" in capsys.readouterr().err


def test_full_runs_what_is_missing(finished_run, tmp_path, monkeypatch):
    asked = []
    for name in ("ensemble", "explain"):
        monkeypatch.setattr(f"experiments.commands.{name}.{name}", lambda folder, name=name: asked.append(name))
    assert main(["report", str(finished_run), "--out", str(tmp_path / "a.html"), "--full"]) == 0
    missing = {"ensemble": "ensembles.csv", "explain": "explain"}
    assert asked == [name for name, made in missing.items() if not (finished_run / made).exists()]


@pytest.mark.parametrize("name", ["ensemble", "explain"])
def test_a_report_names_the_command_that_makes_what_is_missing(finished_run, tmp_path, name):
    path = tmp_path / "report.html"
    main(["report", str(finished_run), "--out", str(path)])
    assert f"moprune {name} {finished_run}" in path.read_text(encoding="utf-8")
