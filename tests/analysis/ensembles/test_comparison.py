from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from analysis import plots
from analysis.ensembles import (
    Controls,
    best_k,
    choose_method,
    compare_ensembles,
    drawn_masks,
    hard_vote,
    make_controls,
    soft_vote,
    unpruned_heads,
)
from analysis.members import predict
from moprune import metrics
from moprune.algorithms import RandomSearch
from moprune.errors import UsageError
from moprune.search import search


@pytest.fixture(scope="module")
def random(problem):
    return search(problem, RandomSearch(batch=10), n_eval=20, seed=3, stage="random")


@pytest.fixture(scope="module")
def table(pool, problem, random):
    return compare_ensembles(pool, seed=3, controls=make_controls(random, problem, 3), size=3).set_index("ensemble")


def test_every_kind_of_row_is_there(table):
    assert table["kind"].value_counts()["single"] == 2
    assert {"best_k", "greedy", "diverse", "front", "window_error", "window_auroc"} <= set(table.index)
    assert {"unpruned heads", "random masks: drawn", "random masks: greedy"} <= set(table.index)
    sized = ["best_k", "greedy", "diverse", "unpruned heads", "random masks: drawn", "random masks: greedy"]
    assert (table.loc[sized, "members"] == 3).all()
    assert (table["latency_ms"] > 0).all()


def test_a_row_is_what_its_members_make(table, pool):
    row = table.loc["best_k"]
    places = best_k(pool.logits("select"), pool.labels("select"), 3)
    assert row["solutions"] == " ".join(pool.solutions[i] for i in places)
    vote = soft_vote(pool.logits("test")[list(places)].double())
    assert row["error_test"] == metrics.error(vote, pool.labels("test"))
    assert row["nll_test"] == pytest.approx(metrics.nll(vote, pool.labels("test")))
    mean = pool.subset(places)
    inside = metrics.ood_scores(mean.logits("test").double().mean(0), "energy")
    outside = [metrics.ood_scores(p.double().mean(0), "energy") for p in mean.ood_logits("test").values()]
    assert row["ood_auroc_test"] == pytest.approx(np.mean([metrics.auroc(inside, each) for each in outside]))
    assert row["active_units"] == pool.genomes[list(places)].sum()


def test_a_window_votes_by_majority(table, pool):
    row = table.loc["window_error"]
    places = [pool.solutions.index(s) for s in row["solutions"].split()]
    wrong = hard_vote(pool.logits("test")[places]) != pool.labels("test")
    assert row["error_test"] == float(wrong.double().mean())
    assert np.isnan(row["nll_test"])


def test_repeated_members_cost_once(pool):
    row = compare_ensembles(pool.subset([2]), seed=3, size=9, methods=["greedy"], timed=False).iloc[1]
    assert (row["members"], row["distinct"]) == (1, 1)  # a front of one gives ensembles of one
    alike = pool.subset([2, 2, 2])
    row = compare_ensembles(alike, seed=3, methods=["front"], timed=False).iloc[1]
    assert (row["members"], row["distinct"]) == (3, 1)
    assert row["parameters"] == pool.costs()["head_parameters"].iloc[2]
    assert row["nll_test"] == pytest.approx(metrics.nll(pool.logits("test")[2], pool.labels("test")), abs=1e-6)


def test_one_member_is_its_own_ensemble(pool):
    table = compare_ensembles(pool.subset([4]), seed=3, timed=False).set_index("ensemble")
    assert set(table["error_test"]) == {table.loc["best single member", "error_test"]}
    assert set(table["solutions"]) == {"3-4"}


def test_a_comparison_repeats_itself(table, pool, problem, random):
    again = compare_ensembles(pool, seed=3, controls=make_controls(random, problem, 3), size=3)
    pd.testing.assert_frame_equal(
        again.set_index("ensemble").drop(columns="latency_ms"), table.drop(columns="latency_ms")
    )


def test_unpruned_heads_begin_with_the_runs_own_and_differ(problem):
    heads = unpruned_heads(problem, 3)
    (own,) = predict(problem, ["x"], np.ones((1, problem.n_var), dtype=bool)).outcomes["test"]
    torch.testing.assert_close(heads.logits("test")[0], own.logits, rtol=0, atol=0)
    assert len({tuple(each.flatten().tolist()) for each in heads.logits("test")}) == 3
    torch.testing.assert_close(unpruned_heads(problem, 2).logits("test"), heads.logits("test")[:2], rtol=0, atol=0)


def test_drawn_masks_are_of_the_random_search_and_distinct(random):
    drawn = drawn_masks(random, 8)
    assert len(set(drawn.solutions)) == 8
    assert set(drawn.solutions) <= set(random.history()["solution"])
    assert len(drawn_masks(random, 99)) == 20


def test_heads_that_all_failed_still_make_a_table(pool):
    broken = {
        split: tuple(replace(o, logits=torch.zeros_like(o.logits)) for o in outcomes)
        for split, outcomes in pool.outcomes.items()
    }
    failed = type(pool)(pool.problem, pool.solutions, pool.genomes, broken)
    table = compare_ensembles(failed, seed=3, timed=False)
    assert table["error_test"].nunique() == 1
    assert np.isfinite(table["ood_auroc_test"]).all()


def test_without_controls_pools_or_a_pruning_problem(invented):
    members = invented()
    bare = {s: tuple(replace(o, ood_logits={}, costs={}) for o in each) for s, each in members.outcomes.items()}
    table = compare_ensembles(type(members)(None, members.solutions, members.genomes, bare), seed=1)
    assert "ood_auroc_test" not in table
    assert "window_auroc" not in set(table["ensemble"])
    assert table[["parameters", "latency_ms"]].isna().all(axis=None)


def test_the_method_is_chosen_on_select():
    rows = [
        {"seed": s, "ensemble": name, "kind": "ensemble", "error_select": e, "nll_select": n, "error_test": t}
        for s in (1, 2)
        for name, e, n, t in [("greedy", 0.15, 0.3, 0.1), ("best_k", 0.2, 0.2, 0.9), ("front", 0.1, 0.1, 0.0)]
    ]
    assert choose_method(pd.DataFrame(rows)) == "best_k"
    assert choose_method(pd.DataFrame(rows), size_only=False) == "front"
    assert choose_method(pd.DataFrame(rows[2:3])) == "front"
    with pytest.raises(UsageError, match="at least one"):
        choose_method(pd.DataFrame(rows[:1]).assign(kind="single"))


def test_unknown_methods_and_sizes_are_refused(pool):
    with pytest.raises(UsageError, match="did you mean 'greedy'"):
        compare_ensembles(pool, seed=3, methods=["gredy"])
    with pytest.raises(UsageError, match="at least 1"):
        compare_ensembles(pool, seed=3, size=0)


def test_the_picture_has_every_row(table):
    figure = plots.ensemble(table.reset_index(), cost="active_units", split="select", title="T")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(table.index)
    assert figure.axes[0].get_xscale() == "log"


def test_no_controls_is_a_choice(pool):
    assert set(compare_ensembles(pool, seed=3, controls=Controls(), timed=False)["kind"]) == {"single", "ensemble"}
