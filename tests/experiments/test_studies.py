"""The pruning study: a small one runs, goes on where it stopped, and its tables say what its figures do."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from experiments.studies import pruning, pruning_table
from experiments.studies.feature_sets import SHARES, load
from experiments.studies.tables import latest
from moprune.errors import UsageError


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    pruning.main(folder, seeds=1, evaluations=40)
    return folder


def test_every_arm_of_a_cell_is_measured_on_test(results):
    table = pruning_table.read(results)
    arms = set(table["arm"])
    assert {pruning.SOUND, pruning.PUBLISHED_ON_TEST, "best of random masks", "unpruned", "magnitude"} <= arms
    assert table["error_test"].between(0, 1).all()
    assert table["ood_auroc_test"].between(0, 1).all()
    sound = table[table["arm"] == pruning.SOUND].iloc[0]
    assert sound["active_fraction_test"] == 0.5
    optimistic = table[table["arm"] == pruning.PUBLISHED_ON_TEST].iloc[0]
    assert optimistic["error_test"] == optimistic["claimed_error"]


def test_a_finished_cell_is_not_done_again(results, capsys):
    before = (results / "digits" / "1.json").read_bytes()
    pruning.main(results, seeds=1, evaluations=40)
    assert (results / "digits" / "1.json").read_bytes() == before
    assert capsys.readouterr().out == ""


def test_every_seed_divides_the_images_anew_and_no_image_is_in_two_splits(tmp_path):
    source = load("digits", tmp_path)
    tasks = [source.task(seed) for seed in (1, 2)]
    assert tasks[0].test.digest() != tasks[1].test.digest()
    sizes = np.array([tasks[0].sizes()[split] for split in ("train", "search", "select", "test")])
    assert sizes.sum() == len(source.labels)
    assert sizes / sizes.sum() == pytest.approx(np.array(SHARES), abs=0.02)


def made(rows):
    return pd.DataFrame(rows, columns=["set", "seed", "arm", "error_test", "ood_auroc_test"])


def test_comparisons_are_wilcoxon_with_holm():
    random = np.random.default_rng(0)
    errors = {arm: random.normal(level, 0.02, 12) for arm, level in ((pruning.SOUND, 0.1), ("a", 0.15), ("b", 0.1))}
    table = made([("x", s, arm, each[s], 0.9) for arm, each in errors.items() for s in range(12)])
    found = pruning_table.compared(table)
    found = found[found["measure"] == "error_test"].set_index("arm")
    p = [stats.wilcoxon(errors[pruning.SOUND] - errors[arm]).pvalue for arm in ("a", "b")]
    assert found.loc["a", "p"] == pytest.approx(min(1, 2 * min(p)))
    assert found.loc["a", "difference"] == pytest.approx((errors[pruning.SOUND] - errors["a"]).mean())


def test_over_all_sets_pairs_are_of_one_set_and_seed():
    random = np.random.default_rng(2)
    rows = [
        (name, s, arm, level + base + random.normal(0, 0.001), 0.9)
        for name, base in (("x", 0.1), ("y", 0.4))  # what differs between sets does not count
        for s in range(8)
        for arm, level in ((pruning.SOUND, 0.0), ("a", 0.02))
    ]
    table = made(rows)
    found = pruning_table.pooled(table).set_index(["arm", "measure"]).loc[("a", "error_test")]
    wide = table.pivot_table(index=["set", "seed"], columns="arm", values="error_test")
    differences = wide[pruning.SOUND] - wide["a"]
    assert found["pairs"] == 16
    assert found["difference"] == pytest.approx(differences.mean())
    assert found["p"] == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert found["no_worse"] == pytest.approx(stats.wilcoxon(differences - 0.01, alternative="less").pvalue)


@pytest.mark.parametrize(("loss", "shown"), [(0.0, True), (0.02, False)])
def test_no_worse_means_within_the_margin(loss, shown):
    random = np.random.default_rng(1)
    ours = 0.1 + loss + random.normal(0, 0.002, 12)
    rows = [("x", s, pruning.SOUND, ours[s], 0.9) for s in range(12)]
    rows += [("x", s, "unpruned", 0.1, 0.9) for s in range(12)]
    found = pruning_table.inferiority(made(rows))
    error = found[found["measure"] == "error_test"].iloc[0]
    assert error["loss"] == pytest.approx((ours - 0.1).mean())
    assert bool(error["p"] < 0.05) is shown


def test_the_page_keeps_what_stands_before_its_tables(results, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Study\n\nWords.\n\n<!-- tables -->\n\noutdated\n")
    pruning_table.main([results], csv=tmp_path / "all.csv", page=page)
    text = page.read_text()
    assert text.startswith("# Study\n\nWords.\n\n<!-- tables -->\n\n### All sets together")
    assert "outdated" not in text
    assert pruning_table.markdown(pruning_table.read(tmp_path / "all.csv")).strip() in text
    assert len(pd.read_csv(tmp_path / "all.csv")) == len(json.loads((results / "digits" / "1.json").read_text()))
    (tmp_path / "other.md").write_text("no tables")
    with pytest.raises(UsageError, match="has no line"):
        pruning_table.main([results], page=tmp_path / "other.md")


def test_no_results_is_one_clear_line(tmp_path):
    with pytest.raises(UsageError, match="holds no results"):
        pruning_table.read(tmp_path)


def test_help_says_what_it_does():
    import typer

    app = typer.Typer()
    app.command()(pruning.main)
    text = CliRunner().invoke(app, ["--help"]).output
    assert "--evaluations" in text


def test_a_later_result_takes_the_place_of_an_earlier_one():
    found = pd.DataFrame({"arm": ["b", "a", "b"], "seed": [1, 1, 1], "error": [0.5, 0.25, np.nan], "new": [1, 2, 3]})
    kept = latest(found, ["arm", "seed"])
    assert kept[["arm", "new"]].to_numpy().tolist() == [["b", 3], ["a", 2]]
    assert kept["error"].isna().tolist() == [True, False]
