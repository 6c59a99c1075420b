"""Rank correlations of cheap scores with full ones, against SciPy's and by what is known of the log."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from analysis.fidelity import COLUMNS, rank_correlation
from moprune.log import EvaluationLog, Record, genome_digest
from moprune.objectives import objective

OBJECTIVES = [objective("error"), objective("ood_auroc")]


@pytest.fixture
def log():
    with EvaluationLog() as opened:
        yield opened


def write(log, context, genomes, natural, *, seed=1, stage="search", all_seeds=3):
    """Appends a generation: genomes given by numbers, and what they scored in a context."""
    part = "rung=" in context or ("seeds=" in context and f"seeds={all_seeds}" not in context)
    rows = [np.full(3, float(genome)) for genome in genomes]
    records = [
        Record(
            genome_digest(x),
            x,
            {"F": list(values), "natural": list(values), "provisional": [float(part)]},
            0.1,
            context,
        )
        for x, values in zip(rows, natural, strict=True)
    ]
    position = log.count(stage, seed)
    keys = [record.key for record in records]
    log.append(stage=stage, seed=seed, generation=0, position=position, requests=keys, records=records)


def scores(n, seed):
    return np.random.default_rng(seed).random((n, 2)).round(1)  # with ties


def test_rho_is_scipys_over_those_that_were_scored_both_ways(log):
    cheap, full = scores(40, 0), scores(25, 1)
    full[:, 0] = (0.5 * full[:, 0] + cheap[:25, 0]).round(1)
    write(log, "rung=0", range(40), cheap)
    write(log, "seeds=1", range(20, 30), scores(10, 2))
    write(log, "seeds=3", [*range(24, -1, -1), 90], [*full[::-1], [0.0, 0.0]])
    table = rank_correlation(log, "search", 1, OBJECTIVES)
    assert tuple(table) == COLUMNS
    assert table["context"].tolist() == ["rung=0"] * 2 + ["seeds=1"] * 2
    assert table["objective"].tolist() == ["error", "ood_auroc"] * 2
    assert table["pairs"].tolist() == [25, 25, 5, 5]
    for i in range(2):
        expected = spearmanr(cheap[:25, i], full[:, i]).statistic
        assert table["rho"][i] == pytest.approx(expected)
        assert table["low"][i] < expected < table["high"][i]
    assert table["low"][0] > 0


def test_the_interval_is_that_of_a_bootstrap_with_scipy(log):
    cheap, full = scores(30, 3), scores(30, 4)
    full[:, 0] += cheap[:, 0]
    write(log, "rung=0", range(30), cheap)
    write(log, "", range(30), full)
    table = rank_correlation(log, "search", 1, OBJECTIVES)
    rng = np.random.default_rng(0)
    for i in range(2):
        drawn = rng.integers(30, size=(2000, 30))
        rhos = [spearmanr(cheap[each, i], full[each, i]).statistic for each in drawn]
        assert (table["low"][i], table["high"][i]) == pytest.approx(np.quantile(rhos, [0.025, 0.975]), abs=0.05)


def test_perfect_and_opposite_ranks_and_the_fewest_pairs(log):
    n = np.arange(5.0)
    write(log, "rung=0", range(5), np.column_stack([n**3, -n]))
    write(log, "rung=1", range(4), np.column_stack([n, n])[:4])
    write(log, "rung=2", range(5), np.column_stack([n, np.ones(5)]))
    write(log, "", range(5), np.column_stack([n, n]))
    table = rank_correlation(log, "search", 1, OBJECTIVES).set_index(["context", "objective"])
    assert table.loc[("rung=0", "error"), ["rho", "low", "high"]].tolist() == pytest.approx([1, 1, 1])
    assert table.loc[("rung=0", "ood_auroc"), "rho"] == pytest.approx(-1)
    assert table.loc["rung=1", "pairs"].tolist() == [4, 4]
    assert table.loc["rung=1", ["rho", "low", "high"]].isna().all(axis=None)
    assert np.isnan(table.loc[("rung=2", "ood_auroc"), "rho"])
    assert table.loc[("rung=2", "error"), "rho"] == pytest.approx(1)


def test_contexts_that_differ_in_more_than_rungs_and_seeds_are_not_compared(log):
    n = np.column_stack([np.arange(6.0)] * 2)
    write(log, "seed=7 rung=0 seeds=1", range(6), n)
    write(log, "seed=7", range(6), n)
    write(log, "seed=8 rung=0", range(6), n)
    write(log, "", range(6), -n)
    write(log, "rung=0", range(6), n, seed=2)
    table = rank_correlation(log, "search", 1, OBJECTIVES)
    assert table["context"].tolist() == ["rung=0 seeds=1"] * 2 + ["rung=0"] * 2
    assert table["pairs"].tolist() == [6, 6, 0, 0]
    assert table["rho"][:2].tolist() == pytest.approx([1, 1])


def test_a_log_of_full_scores_or_none_has_no_rows(log):
    assert rank_correlation(log, "search", 1, OBJECTIVES).empty
    write(log, "", range(6), scores(6, 0))
    empty = rank_correlation(log, "search", 1, OBJECTIVES)
    assert empty.empty
    assert tuple(empty) == COLUMNS
