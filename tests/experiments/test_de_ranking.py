"""The ranking of the searches of real numbers: its functions, and a small one that runs and goes on."""

import json

import numpy as np
import pandas as pd
import pytest
import typer
from pymoo.problems.single import Ackley, Griewank, Rastrigin
from scipy.optimize import rosen
from scipy.stats import friedmanchisquare, rankdata
from typer.testing import CliRunner

from experiments.studies import de_ranking
from experiments.studies.functions import FUNCTIONS, ShiftedRotated
from moprune.errors import UsageError

ORACLES = {
    "elliptic": lambda z: sum(10 ** (6 * i / (len(z) - 1)) * v**2 for i, v in enumerate(z)),
    "bent cigar": lambda z: z[0] ** 2 + 1e6 * sum(v**2 for v in z[1:]),
    "Rosenbrock": lambda z: rosen(z + 1),
    "Ackley": lambda z: Ackley(len(z)).evaluate(z)[0],
    "Griewank": lambda z: Griewank(len(z)).evaluate(z)[0],
    "Rastrigin": lambda z: Rastrigin(len(z)).evaluate(z)[0],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_the_standard_ones_shifted_and_rotated(name):
    problem = ShiftedRotated(name, 5, seed=3, counted=100)
    R, o = problem.rotation, problem.optimum
    np.testing.assert_allclose(R @ R.T, np.eye(5), atol=1e-12)
    assert np.abs(o).max() <= 80
    assert problem.evaluate(o[None])[0, 0] == pytest.approx(0, abs=1e-12)
    X = np.random.default_rng(0).uniform(-100, 100, size=(7, 5))
    z = [R.T @ (x - o) * FUNCTIONS[name][1] / 100 for x in X]
    np.testing.assert_allclose(problem.evaluate(X)[:, 0], [ORACLES[name](each) for each in z], rtol=1e-9)
    assert not np.allclose(o, ShiftedRotated(name, 5, seed=4, counted=100).optimum)


def test_evaluations_beyond_the_budget_do_not_count():
    problem = ShiftedRotated("Ackley", 3, seed=1, counted=5)
    X = np.random.default_rng(0).uniform(-100, 100, size=(4, 3))
    first = problem.evaluate(X)
    assert problem.best == first.min()
    second = problem.evaluate(np.vstack([X[:1], problem.optimum[None]]))
    assert second[1, 0] < first.min()
    assert problem.best == first.min()


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(de_ranking, "EVALUATIONS", 220)
    monkeypatch.setattr(de_ranking, "RANKED", ("de", "lshade", "lshade_epsin", "sa_shade", "cmaes"))


def run(*arguments):
    app = typer.Typer()
    app.command()(de_ranking.main)
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


def test_a_study_goes_on_where_it_stopped_and_replaces_the_tables_of_a_page(small, tmp_path):
    out, page, csv = tmp_path / "cells", tmp_path / "page.md", tmp_path / "all.csv"
    page.write_text("What it shows.\n\n<!-- tables -->\n\nold\n")
    dimensions = ("--dimension", 2, "--dimension", 3)
    assert run("--out", out, *dimensions, "--seeds", 1, "--page", page, "--csv", csv).exit_code == 0
    cells = sorted(out.glob("*/*/*.json"))
    assert len(cells) == 2 * len(FUNCTIONS)
    text = page.read_text()
    assert text.startswith("What it shows.")
    assert "old" not in text
    assert "1 seeds, 220 evaluations, 12 functions" in text
    kept = json.loads(cells[0].read_text())
    assert set(kept) == {*de_ranking.RANKED, *de_ranking.ABLATION}
    marked = kept | {"de": 12345.0}
    del marked["cmaes"]
    cells[0].write_text(json.dumps(marked))
    run("--out", out, *dimensions, "--seeds", 1, "--page", page)
    assert json.loads(cells[0].read_text()) == kept | {"de": 12345.0}
    with pytest.raises(UsageError, match="no finished results"):
        de_ranking.read(tmp_path / "nowhere")
    cells[0].write_text(json.dumps(kept))
    run("--out", csv, "--page", page)
    assert page.read_text() == text


def test_only_seeds_that_are_finished_everywhere_count(tmp_path):
    for name, seeds in (("a", (1, 2)), ("b", (1,))):
        for seed in seeds:
            cell = tmp_path / "10" / name / f"{seed}.json"
            cell.parent.mkdir(parents=True, exist_ok=True)
            cell.write_text(json.dumps({"de": 1.0}))
    table = de_ranking.read(tmp_path)
    assert set(zip(table["data"], table["seed"], strict=True)) == {("a, 10", 1), ("b, 10", 1)}


def test_ranks_are_friedmans_over_medians_of_seeds():
    random = np.random.default_rng(0)
    arms = (*de_ranking.RANKED, *de_ranking.ABLATION)
    errors = random.lognormal(size=(3, 5, len(arms)))  # seeds, functions, arms
    table = pd.DataFrame(
        [
            (arm, f"f{f}, 10", s, "error", errors[s, f, a])
            for s in range(3)
            for f in range(5)
            for a, arm in enumerate(arms)
        ],
        columns=["run", "data", "seed", "measure", "value"],
    )
    text = de_ranking.markdown(table)
    medians = np.median(errors, axis=0)[:, : len(de_ranking.RANKED)]
    ranks = rankdata(medians, axis=1).mean(axis=0)
    for arm, value in zip(de_ranking.RANKED, ranks, strict=True):
        assert f"| {arm} | {value:.2f} |" in text
    assert f"chi2 = {friedmanchisquare(*medians.T).statistic:.1f}" in text
