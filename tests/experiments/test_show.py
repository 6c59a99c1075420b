"""moprune show and moprune plot on a finished run."""

import dataclasses

import pandas as pd
import pytest

from experiments.main import main
from experiments.pictures import KINDS, draw
from experiments.result import load_result
from experiments.run_folder import open_finished


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_the_tables_fit_a_terminal_and_say_how_good_the_front_is(finished_run, capsys):
    assert main(["show", str(finished_run), "--knee", "--prefer", "error=0.9", "--prefer", "ood_auroc=0.1"]) == 0
    out = capsys.readouterr().out
    for part in ("Front of seed 1", "hypervolume", "IGD+", "From search to test", "± deviation over 3 seeds", "knee"):
        assert part in out
    assert "Front of seed 2" not in out
    assert "satisf" in out
    tables = [line for line in out.splitlines() if "─" in line]
    assert max(len(line) for line in tables) <= 80
    assert "…" not in out


def test_all_shows_every_member_of_every_seed(finished_run, capsys):
    assert main(["show", str(finished_run), "--all"]) == 0
    out = capsys.readouterr().out
    front = pd.read_csv(finished_run / "front.csv", dtype={"solution": str})
    assert all(f"Front of seed {seed}" in out for seed in (1, 2, 3))
    assert all(f" {solution} " in out for solution in front["solution"])


def test_a_merged_front_makes_one_choice(finished_run, capsys):
    assert main(["show", str(finished_run), "--merged", "--prefer", "error=0.0001", "--rows", "3"]) == 0
    out = capsys.readouterr().out
    assert "Front of all seeds" in out
    assert "All seeds: no member satisfies every wish" in out
    assert "misses error by" in out
    assert "Seed 1:" not in out


def test_the_indicators_can_be_kept(finished_run, tmp_path, capsys):
    assert main(["show", str(finished_run), "--csv", str(tmp_path / "i.csv")]) == 0
    table = pd.read_csv(tmp_path / "i.csv")
    assert len(table) == 3 * 3 * 3
    assert {"shift_brier", "shift_error"} <= set(table.columns)  # what was searched for, and what was reported
    result = load_result(open_finished(finished_run))
    for row in table[table["source"] != "unpruned"].itertuples():
        entry = result.summary["seeds"][str(row.seed)]["hypervolume"]
        assert row.hypervolume == pytest.approx(entry[row.source][row.split])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prefer", "eror=1"], "did you mean 'error'"),
        (["--prefer", "error"], "not OBJECTIVE=VALUE"),
        (["--prefer", "error=low"], "not a number"),
        (["--split", "test"], "never chosen on test"),
        (["--split", "train"], "split 'train' is not known"),
    ],
)
def test_what_cannot_be_chosen_is_one_line(finished_run, arguments, message, capsys):
    assert main(["show", str(finished_run), *arguments]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert "\n" not in err


def test_every_kind_of_picture_is_drawn(finished_run, tmp_path, capsys):
    assert main(["plot", str(finished_run), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.split()
    assert sorted(printed) == sorted(str(path) for path in tmp_path.iterdir())
    assert len(printed) == len(KINDS) + 1  # the front on search and on test
    assert main(["plot", str(finished_run), "--kind", "hypervolume", "--pdf", "--out", str(tmp_path / "pdf")]) == 0
    assert [path.name for path in (tmp_path / "pdf").iterdir()] == ["hypervolume_history.pdf"]
    assert main(["plot", str(finished_run), "--kind", "fron"]) == 2
    assert "did you mean 'front'" in capsys.readouterr().err


def test_a_run_of_one_objective_has_the_pictures_that_make_sense(finished_run, tmp_path):
    result = load_result(open_finished(finished_run))
    config = result.config.model_copy(update={"objectives": result.config.objectives[:1]})
    one = dataclasses.replace(result, config=config)
    names = [path.stem for path in draw(one, tmp_path, kinds=["front", "search_to_test"])]
    assert names == ["front_search", "front_test", "search_to_test"]
    assert main(["plot", str(finished_run), "--kind", "front_3d", "--out", str(tmp_path)]) == 0


def test_counts_keep_the_span_they_had_in_the_problem(tmp_path, small):
    run = ["run", "quickstart", "--out", str(tmp_path / "run"), *small, "--set", "objectives=[nll,head_parameters]"]
    assert main([*run, "--set", "search.n_eval=20", "--set", "controls=[]"]) == 0
    result = load_result(open_finished(tmp_path / "run"))
    assert result.objectives[1].scale > 100
    assert [o.name for o in result.reported] == ["error"]
    assert main(["show", str(tmp_path / "run"), "--knee"]) == 0
    assert main(["plot", str(tmp_path / "run")]) == 0
