"""``moprune compare`` on a tiny finished run, and on copies of it that say they are other runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console
from scipy import stats

from experiments.comparison import compared, enter, print_compared
from experiments.main import main


@pytest.fixture
def other(finished_run, tmp_path):
    """Makes a run like the first seed of the finished one, with changed results, and settings and data if asked."""

    def make(name, *, values=None, seeds=range(1, 11), data=None, replace=(), objectives=None):
        folder = tmp_path / name
        shutil.copytree(finished_run, folder)
        (folder / "SHA256SUMS").unlink()  # of files that are changed here on purpose
        for file in ("front.csv", "controls.csv"):
            table = pd.read_csv(folder / file)
            first = table[table["seed"] == 1]
            pd.concat([first.assign(seed=seed) for seed in seeds]).to_csv(folder / file, index=False)
        summary = json.loads((folder / "summary.json").read_text())
        entry = summary["seeds"]["1"]
        summary["seeds"] = {}
        for seed in seeds:
            changed = json.loads(json.dumps(entry))
            if values is not None:
                changed["hypervolume"]["search"]["test"] = changed["test"]["search"]["error"] = values(seed)
            summary["seeds"][str(seed)] = changed
        text = (folder / "experiment.yaml").read_text()
        for old, new in replace:
            assert old in text
            text = text.replace(old, new)
        config = yaml.safe_load(text) | {"seeds": list(seeds)}
        if objectives is not None:  # so many of all measures; the others are reported alone
            measures = summary["objectives"] | summary["reported"]
            for key, chosen in (("objectives", list(measures)[:objectives]), ("reported", list(measures)[objectives:])):
                summary[key], config[key] = {each: measures[each] for each in chosen}, chosen
        (folder / "summary.json").write_text(json.dumps(summary))
        (folder / "experiment.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        if data is not None:
            environment = json.loads((folder / "environment.json").read_text())
            environment["digests"]["data"] = data
            (folder / "environment.json").write_text(json.dumps(environment))
        return str(folder)

    return make


def test_a_single_run_is_compared_with_its_controls(finished_run, capsys):
    assert main(["compare", str(finished_run)]) == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "search (A) and random masks (B), 3 seeds" in out
    assert "search (A) and unpruned (B), 3 seeds" in out
    text = " ".join(out.split())
    assert "3 seeds cannot show a difference between search and random masks: the smallest p they can reach" in text
    assert "better" not in text
    summary = json.loads((finished_run / "summary.json").read_text())
    found = compared(enter([str(finished_run)]), ["error"])
    values = [seed["test"]["search"]["error"] for seed in summary["seeds"].values()]
    assert found.measurements.query("run == 'search'")["value"].tolist() == values
    assert [(c.first, c.second) for c in found.pairs] == [("search", "random masks"), ("search", "unpruned")]


def test_runs_on_the_same_data_are_compared_seed_by_seed(other, tmp_path, capsys):
    better = other("one", values=lambda s: 0.1 + s / 100)
    worse = other("two", values=lambda s: 0.3 + s / 50, replace=[("nsga2", "smsemoa")], seeds=range(3, 15))
    command = ["compare", better, f"sms={worse}", "--measure", "error", "--csv", str(tmp_path / "c.csv")]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "the runs differ in: search.algorithm." in captured.err
    assert "seeds that some run lacks are left out: 1, 2, 11, 12, 13, 14" in captured.err
    text = " ".join(captured.out.split())
    assert "error: one is better than sms in 8 of 8 seeds" in text
    table = pd.read_csv(tmp_path / "c.csv")
    seeds = np.arange(3, 11)
    assert table.loc[0, "p"] == stats.wilcoxon(-0.2 - seeds / 100).pvalue
    assert table.loc[0, "difference"] == pytest.approx(np.median(-0.2 - seeds / 100))
    assert table.loc[0, "verdict"] == "better"


@pytest.mark.parametrize("environment", ['{"digests": {}}', '{"digests": 3}', "[]"])
def test_an_environment_that_names_no_data_is_one_line(other, environment, capsys):
    damaged = other("a")
    (Path(damaged) / "environment.json").write_text(environment)
    assert main(["compare", damaged, other("b")]) != 0
    error = " ".join(capsys.readouterr().err.split())
    assert "environment.json" in error
    assert "Traceback" not in error


def test_another_budget_is_said(other, capsys):
    assert main(["compare", other("a"), other("b", replace=[("n_eval: 80", "n_eval: 160")])]) == 0
    captured = capsys.readouterr()
    assert "budgets are not equal (80, 160 evaluations)" in captured.err
    assert "equal in all 10 seeds" in " ".join(captured.out.split())


def test_three_algorithms_over_data_sets_are_ranked_and_drawn(other, tmp_path, capsys):
    runs = []
    for i, name in enumerate(("a", "b", "c"), start=1):
        for d in range(7):

            def values(seed, i=i, d=d):
                return 0.1 * i + 0.01 * d + seed / 1000

            runs.append(f"{name}={other(f'{name}{d}', values=values, data=f'{d}' * 64, seeds=(1, 2))}")
    picture = tmp_path / "cd.png"
    assert main(["compare", *runs, "--measure", "error", "--plot", str(picture)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "error: the runs differ over 7 data sets" in text
    assert "a is better than c" in text
    assert picture.stat().st_size > 1000
    found = compared(enter(runs), ["error"])
    assert found.rankings[0].ranks.to_dict() == {"a": 1, "b": 2, "c": 3}
    assert len({c.data for c in found.pairs}) == 7  # one name, seven digests: told apart


def test_a_data_set_that_some_run_lacks_is_said(other):
    runs = [f"a={other('a')}", f"b={other('b')}", f"a={other('c', data='1' * 64)}"]
    found = compared(enter(runs), ["error"])
    assert len(found.pairs) == 1
    assert not found.over_data
    assert not found.rankings
    assert "is left out where data sets are compared: there is no run of b" in found.notes[-1]


def test_one_algorithm_over_data_sets_is_compared_with_its_controls_there(other):
    found = compared(enter([other(f"r{d}", data=f"{d}" * 64, seeds=(1, 2)) for d in range(6)]))
    assert {c.measure for c in found.over_data} == {"hypervolume", "active_fraction"}
    assert {c.pairs for c in found.over_data} == {6}
    assert {r.measure for r in found.rankings} == {"brier", "ood_auroc", "error"}
    assert {*found.rankings[0].ranks.index} == {"search", "random masks", "unpruned"}
    console = Console(width=80, record=True, quiet=True)
    print_compared(found, console)


def test_what_cannot_be_compared_is_refused_in_one_line(other, tmp_path, capsys):
    a = other("a")
    b = other("b", data="1" * 64, replace=[("nsga2", "smsemoa")])
    c = other("c", objectives=1)
    (tmp_path / "again").mkdir()
    shutil.copytree(a, tmp_path / "again/a")
    for command, message in (
        ([a, b], "nothing to compare"),
        ([a, c], "have different objectives"),
        ([a, a], "is given twice"),
        ([a, str(tmp_path / "again/a")], "two runs on digits are called 'a'; give them names: NAME="),
        ([a, str(tmp_path / "none")], "is no run folder"),
        ([a, "--measure", "eror"], "did you mean 'error'"),
        ([a, other("d"), "--plot", str(tmp_path / "x.png")], "--plot draws mean ranks of three or more"),
        (["=" + a], "write RUN or NAME=RUN"),
    ):
        assert main(["compare", *command]) == 2, message
        error = capsys.readouterr().err
        assert error.count("moprune: error") == 1
        assert message in error
    assert not (tmp_path / "x.png").exists()


def test_one_seed_is_one_seed(other, capsys):
    assert main(["compare", other("a", seeds=(1,))]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "(B), 1 seed, test split" in out
    assert "1 seed cannot show a difference" in out
