"""How a population is cut, and what is put together again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moprune.executors import InProcess, joined, parts, told_of
from moprune.testing.toy import ToyProblem


class InStep(ToyProblem):
    def __init__(self, lockstep):
        super().__init__()
        self._step = lockstep

    @property
    def lockstep(self):
        return self._step


@given(st.integers(1, 300), st.integers(1, 100), st.integers(1, 70))
def test_parts_are_the_whole_in_order_and_cut_between_candidates_in_lockstep(count, size, lockstep):
    cut = parts(count, size, InStep(lockstep))
    assert [i for part in cut for i in range(count)[part]] == list(range(count))
    assert all(part.start % lockstep == 0 for part in cut)
    assert all(len(range(count)[part]) <= max(size, lockstep) for part in cut)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_parts_evaluated_and_joined_are_the_whole(size):
    problem = ToyProblem()
    X = np.random.default_rng(0).random((7, problem.n_var)) < 0.5
    told = {"contexts": list("abcdefg"), "other": 1}
    whole = InProcess().evaluate(problem, list(X), ["F"], {})
    cut = parts(len(X), size, problem)
    assert [told_of(part, told)["contexts"] for part in cut] == [told["contexts"][part] for part in cut]
    pieces = joined([InProcess().evaluate(problem, list(X[part]), ["F"], {}) for part in cut])
    assert whole.keys() == pieces.keys()
    assert all(np.array_equal(whole[name], pieces[name]) for name in whole)
    assert np.array_equal(whole["F"], problem.minimised(problem.values(X)[:, 0]))
