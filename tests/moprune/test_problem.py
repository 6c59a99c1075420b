"""What a problem makes of outcomes: means over repeats, columns of objectives and reports, refusals."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from moprune import metrics
from moprune.errors import MopruneError, UsageError
from moprune.objectives import Objective, Outcome, objective
from moprune.problem import SearchProblem

SPLITS = ("search", "select", "test")


def outcome(seed, genome):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(20, 3, generator=generator) * (1 + float(np.sum(genome)))
    return Outcome(logits, torch.arange(20) % 3, costs={"active_fraction": float(np.mean(genome))})


class Guessing(SearchProblem):
    """Random predictions; on ``search`` two of them a candidate, as of two folds."""

    def __init__(self, reported=(), yields=None):
        names = ("nll", "active_fraction")
        super().__init__(n_var=4, boolean=True, objectives=[objective(name) for name in names], reported=reported)
        self.yields = yields

    def outcomes(self, X, splits) -> Iterator:
        for genome in X[: self.yields]:
            yield {
                split: [outcome(10 * len(split) + repeat, genome) for repeat in range(2 if split == "search" else 1)]
                for split in splits
            }

    def fingerprint(self):
        return {}


def genomes():
    return np.array([[True, False, True, True], [False, False, False, True]])


def by_hand(name, genome, split):
    found = [outcome(10 * len(split) + repeat, genome) for repeat in range(2 if split == "search" else 1)]
    measures = [getattr(metrics, name)(each.logits, each.labels) for each in found]
    return sum(measures) / len(measures)


def test_a_table_has_a_column_for_each_measure_and_split():
    problem, X = Guessing(reported=[objective("error"), objective("ece")]), genomes()
    table = problem.assess(X)
    names = ("nll", "active_fraction", "error", "ece")
    assert list(table) == [f"{name}_{split}" for name in names for split in SPLITS]
    for i, genome in enumerate(X):
        for split in SPLITS:
            assert table[f"active_fraction_{split}"][i] == genome.mean()
            for name in ("nll", "error", "ece"):
                assert table[f"{name}_{split}"][i] == pytest.approx(by_hand(name, genome, split), abs=1e-12)
    some = problem.assess(X, ["test"])
    assert list(some) == [f"{name}_test" for name in names]
    assert some["error_test"].tolist() == table["error_test"].tolist()


def test_the_search_sees_its_objectives_alone():
    plain, reporting, X = Guessing(), Guessing(reported=[objective("error")]), genomes()
    assert plain.n_obj == reporting.n_obj == 2
    assert plain.values(X, SPLITS).shape == (2, 3, 2)
    assert np.array_equal(plain.values(X, SPLITS), reporting.values(X, SPLITS))
    assert plain.evaluate(X).shape == reporting.evaluate(X).shape == (2, 2)


def test_a_table_of_outcomes_that_others_made():
    problem, X = Guessing(reported=[objective("error")]), genomes()
    mine = problem.table(iter([{"test": [outcome(1, X[0])]}, {"test": []}]), 2, ["test"])
    logits, labels = outcome(1, X[0]).logits, outcome(1, X[0]).labels
    assert mine["error_test"].tolist() == [metrics.error(logits, labels), 1.0], "what failed is at its worst"
    assert mine["nll_test"].tolist() == [metrics.nll(logits, labels), 10.0]


def test_outcomes_that_are_too_few_or_not_finite_are_an_error():
    with pytest.raises(MopruneError, match="yielded 1 candidates of 2"):
        Guessing(yields=1).assess(genomes())
    endless = Objective("endless", "nats", True, 1.0, lambda _: float("inf"))
    reporting = Guessing(reported=[endless])
    assert np.isfinite(reporting.values(genomes())).all()
    with pytest.raises(MopruneError, match="objective 'endless' of candidate 0 on split 'search' is inf"):
        reporting.assess(genomes())


def test_genomes_that_do_not_fit_are_refused():
    for wrong, message in (
        (np.ones((2, 3), dtype=bool), "3 variables; Guessing has 4"),
        (np.ones((2, 4)), "takes boolean genomes, not float64"),
    ):
        with pytest.raises(UsageError, match=message):
            Guessing().assess(wrong)
    assert len(Guessing().assess(genomes()[0])) == 1, "one genome is a population of one"
