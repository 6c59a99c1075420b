import json
from dataclasses import replace
from types import MappingProxyType

import pytest

from experiments.bench import suite
from experiments.bench.report import load
from experiments.bench.timing import Spread
from experiments.main import main

OOD = ["bench", "ood", "--candidates", "2", "--hidden", "6", "--rounds", "2"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The file of a run of one kind."""
    file = tmp_path_factory.mktemp("bench") / "baseline.json"
    assert main([*OOD, "--json", str(file)]) == 0
    return file


def with_ratio(stored, file, ratio):
    report = load(stored)
    (row,) = report.rows
    replace(report, rows=(replace(row, ways={"naive": replace(row.ways["naive"], ratio=ratio)}),)).save(file)
    return str(file)


def test_all_kinds_in_one_table(monkeypatch, tmp_path, capsys):
    tiny = {"ood": {"candidates": 2, "hidden": 6}, "attribution": {"candidates": 1, "images": 4, "hidden": 6}}
    kinds = {name: replace(suite.KINDS[name], small=small) for name, small in tiny.items()}
    monkeypatch.setattr(suite, "KINDS", MappingProxyType(kinds))
    file, picture = tmp_path / "all.json", tmp_path / "all.png"
    assert main(["bench", "--rounds", "2", "--json", str(file), "--picture", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "| ood [candidates]" in out
    assert "| attribution [members]" in out
    assert picture.stat().st_size > 1000
    values = json.loads(file.read_text())
    assert [row["name"] for row in values["rows"]] == ["ood", "attribution"]
    assert values["machine"]["threads"] >= 1


def test_every_kind_of_the_suite_has_its_command(capsys):
    assert list(suite.KINDS) == ["heads", "weights", "selection", "ood", "attribution"]
    for kind in suite.KINDS:
        assert main(["bench", kind, "--help"]) == 0
        assert "--baseline" in capsys.readouterr().out


def test_a_ratio_that_fell_is_status_1(stored, tmp_path, capsys):
    high = with_ratio(stored, tmp_path / "high.json", Spread(1e6, 1e6, 1e6))
    assert main([*OOD, "--baseline", high]) == 1
    assert "REGRESSION" in capsys.readouterr().out
    low = with_ratio(stored, tmp_path / "low.json", Spread(1e-6, 1e-6, 1e-6))
    assert main([*OOD, "--baseline", low]) == 0
    assert "ok" in capsys.readouterr().out


def test_what_cannot_work_is_refused_before_anything_is_measured(stored, tmp_path, capsys):
    for wrong, said in (
        (["--baseline", str(tmp_path / "none.json")], "cannot read"),
        (["--picture", "bars.txt"], "no kind of picture"),
        (["--baseline", str(stored), "--tolerance", "1"], "tolerance"),
    ):
        assert main([*OOD, *wrong]) == 2
        captured = capsys.readouterr()
        assert said in captured.err
        assert "round 1" not in captured.err


def test_other_sizes_are_refused(stored, capsys):
    assert main([*OOD[:-1], "2", "--hidden", "7", "--baseline", str(stored)]) == 2
    assert "hidden 6 and 7" in capsys.readouterr().err
