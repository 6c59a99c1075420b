import numpy as np
import pandas as pd
import pytest

from analysis.histories import band, progress, read
from moprune.fronts import hypervolume, nondominated
from moprune.log import EvaluationLog, Record, genome_digest
from moprune.objectives import objective

OBJECTIVES = [objective("error"), objective("ood_auroc")]


def history(seed=0, sizes=(10, 7, 1, 12)):
    generator = np.random.default_rng(seed)
    count = sum(sizes)
    return pd.DataFrame(
        {
            "generation": np.repeat(np.arange(len(sizes)), sizes),
            "error_search": generator.integers(0, 9, count) / 10,
            "ood_auroc_search": generator.integers(0, 9, count) / 10,
        }
    )


@pytest.mark.parametrize("seed", range(4))
def test_progress_in_one_pass_is_that_of_starting_over_each_generation(seed):
    table = history(seed)
    F = np.column_stack([table["error_search"], 1 - table["ood_auroc_search"]])
    done = progress(table, OBJECTIVES)
    assert done["evaluations"].tolist() == [10, 17, 18, 30]
    for row, start in zip(done.itertuples(), [0, 10, 17, 18], strict=True):
        far = F[: row.evaluations]
        kept = nondominated(far)
        assert row.hypervolume == pytest.approx(hypervolume(far, OBJECTIVES))
        assert row.front == len(kept)
        assert row.entered == pytest.approx((kept >= start).sum() / (row.evaluations - start))


def test_an_empty_history_has_no_progress(tmp_path):
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        empty = read(log, "search", 1, OBJECTIVES)
    assert empty.columns.tolist() == ["evaluations", "generation", "error_search", "ood_auroc_search"]
    assert progress(empty, OBJECTIVES).empty


def test_what_was_scored_in_part_is_left_out():
    contexts = ["seed=7 rung=0", "seed=7", "seed=7 subset=1", "seed=7 seeds=1", "seed=7 bound=0.5", "seed=7 bound=0.1"]
    provisional = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]  # the last one was dropped
    with EvaluationLog() as log:
        for position, context in enumerate(contexts):
            x = np.full(2, float(position))
            values = {
                "F": [position / 10, 0.5],
                "natural": [position / 10, 0.5],
                "provisional": [provisional[position]],
            }
            record = Record(genome_digest(x), x, values, 0.1, context)
            log.append(
                stage="search", seed=1, generation=position, position=position, requests=[record.key], records=[record]
            )  # fmt: skip
        found = read(log, "search", 1, OBJECTIVES)
    assert found["evaluations"].tolist() == [2, 5]
    assert found["error_search"].tolist() == [0.1, 0.4]
    assert progress(found, OBJECTIVES)["evaluations"].tolist() == [2, 5]


def test_the_band_is_median_and_range_and_leaves_out_what_few_reached():
    tables = [
        pd.DataFrame({"evaluations": [10, 20], "hypervolume": [0.1, 0.3]}),
        pd.DataFrame({"evaluations": [10, 20], "hypervolume": [0.2, 0.5]}),
        pd.DataFrame({"evaluations": [9, 19, 29], "hypervolume": [0.6, 0.7, 0.8]}),
    ]
    found = band(tables, "hypervolume")
    assert found["evaluations"].tolist() == [10, 20]
    assert found[["low", "median", "high"]].to_numpy() == pytest.approx(np.array([[0.1, 0.2, 0.6], [0.3, 0.5, 0.7]]))
    alone = band(tables[2:], "hypervolume")
    assert alone["median"].tolist() == alone["low"].tolist() == [0.6, 0.7, 0.8]
