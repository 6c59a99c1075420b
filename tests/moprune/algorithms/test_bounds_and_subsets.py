"""What one-to-one searches say of each candidate: how good it has to be, and on which subset of the data."""

from itertools import pairwise

import numpy as np
import pytest
from pymoo.core.problem import Problem
from pymoo.optimize import minimize

from moprune.algorithms import make
from moprune.algorithms.adaptive_de import PROFILES, LSHADEEpSin, SASHADETriEnSin
from moprune.algorithms.single_objective import ADAPTIVE_DE
from moprune.contexts import PLAIN, Context
from moprune.errors import UsageError
from moprune.log import EvaluationLog
from moprune.search import run_algorithm

ONE_TO_ONE = (*ADAPTIVE_DE, "bat", "rpso", "de", "pso")


class Rastrigin(Problem):
    """Has another optimum on each subset; may give up candidates beyond their bound and return anything above it."""

    contextual = True

    def __init__(self, *, drops=False, subsets=True, seed=0):
        super().__init__(n_var=4, n_obj=1, xl=-2.0, xu=5.0, requires_kwargs=True)
        self.drops, self.subsets = drops, subsets
        self.rng, self.asked, self.dropped = np.random.default_rng(seed), [], 0

    def loss(self, X, subset):
        z = np.asarray(X) - (1.0 if subset is None else 1 + 0.2 * (subset % 7))
        return (z**2 - 10 * np.cos(2 * np.pi * z) + 10).sum(axis=-1)

    def _evaluate(self, X, out, *_, contexts=None, **__):
        contexts = contexts or [PLAIN] * len(X)
        self.asked.append((X.copy(), contexts))
        losses = np.array([self.loss(x, context.subset) for x, context in zip(X, contexts, strict=True)])
        for i, context in enumerate(contexts):
            if self.drops and context.bound is not None and losses[i] > context.bound:
                losses[i] = np.nextafter(context.bound, np.inf) + self.rng.exponential() ** 8
                self.dropped += 1
        out["F"] = losses


def run(algorithm, problem, n_eval=200):
    with EvaluationLog() as log:
        return run_algorithm(problem, algorithm, n_eval=n_eval, seed=3, log=log)


@pytest.mark.parametrize("name", ONE_TO_ONE)
def test_what_a_dropped_candidate_is_given_changes_nothing(name):
    straight, dropping = Rastrigin(subsets=False), Rastrigin(subsets=False, drops=True)
    ends = [run(make(name, problem, pop_size=8), problem) for problem in (straight, dropping)]
    assert dropping.dropped > 50
    assert len(straight.asked) == len(dropping.asked)
    for (X, contexts), (X_dropping, contexts_dropping) in zip(straight.asked, dropping.asked, strict=True):
        np.testing.assert_array_equal(X, X_dropping)
        assert contexts == contexts_dropping
    np.testing.assert_array_equal(ends[0].pop.get("F"), ends[1].pop.get("F"))


def test_the_walk_of_epsin_needs_every_loss():
    problem = Rastrigin(subsets=False)
    run(LSHADEEpSin(30, walk=3), problem, 600)
    walks = [contexts for X, contexts in problem.asked[1:] if len(X) == 10]
    assert walks[0] == [PLAIN] * 10


@pytest.mark.parametrize("name", ["firefly", "ga", "cmaes"])
def test_other_searches_need_every_loss(name):
    problem = Rastrigin(subsets=False)
    run(make(name, problem, pop_size=8), problem)
    assert all(context == PLAIN for _, contexts in problem.asked for context in contexts)


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("build", [*ADAPTIVE_DE.values(), lambda n, **o: LSHADEEpSin(n, walk=2, **o)])
def test_subsets_are_redrawn_and_members_scored_again(build, drops):
    problem = Rastrigin(drops=drops)
    states = []
    algorithm = build(24, redraw=3)
    algorithm.setup(problem, termination=("n_eval", 700), seed=1)
    while algorithm.has_next():
        before = None if algorithm.pop is None else algorithm.pop.get("X")
        infills = algorithm.ask()
        contexts = [each.get("context") for each in infills]
        X = infills.get("X")
        infills.set("F", problem.evaluate(X, return_as_dictionary=True, contexts=contexts)["F"])
        algorithm.evaluator.n_eval += len(infills)
        algorithm.tell(infills=infills)
        states.append((before, X, contexts))
        # Whatever the subset, all members are compared on the same.
        F = algorithm.pop.get("F")[:, 0]
        np.testing.assert_allclose(F, problem.loss(algorithm.pop.get("X"), contexts[0].subset))
    epochs = [contexts[0].subset for _, _, contexts in states]
    assert epochs[0] == 0
    assert max(epochs) >= 3
    assert sum(len(X) for _, X, _ in states) == algorithm.asked
    for (_, _, last), (before, X, contexts) in pairwise(states):
        assert len({context.subset for context in contexts}) == 1
        redrawn = contexts[0].subset != last[0].subset
        if redrawn:
            assert contexts[0].subset == last[0].subset + 1
            np.testing.assert_array_equal(X, before)
        if redrawn or len(X) != len(before):  # the walk of EpSin
            assert all(context.bound is None for context in contexts)
        else:
            np.testing.assert_array_equal([c.bound for c in contexts], problem.loss(before, contexts[0].subset))


def test_a_redraw_comes_after_its_generations():
    problem = Rastrigin()
    run(make_with_redraw(4), problem, 8 * 11)
    assert [contexts[0].subset for _, contexts in problem.asked] == [0] * 5 + [1] * 5 + [2]
    assert [contexts[0].bound is None for _, contexts in problem.asked] == ([True] + [False] * 4) * 2 + [True]


def make_with_redraw(redraw):
    return SASHADETriEnSin(8, redraw=redraw)


def test_only_the_faithful_profile_redraws_by_itself():
    for profile, subsets, expected in (("faithful", True, 10), ("faithful", False, None), ("sound", True, None)):
        algorithm = SASHADETriEnSin(8, profile=profile)
        algorithm.setup(Rastrigin(subsets=subsets), termination=("n_eval", 100), seed=1)
        assert algorithm.redraw == expected
    assert PROFILES["faithful"].period == 10


def test_members_known_from_all_data_are_scored_on_the_first_subset():
    problem = Rastrigin()
    known = minimize(problem, SASHADETriEnSin(8), ("n_eval", 8), seed=1).pop
    problem.asked.clear()
    run(SASHADETriEnSin(8, sampling=known, redraw=2), problem, 16)
    X, contexts = problem.asked[0]
    np.testing.assert_array_equal(X, known.get("X"))
    assert contexts == [Context(subset=0)] * 8


def test_subsets_that_cannot_be_drawn_are_refused():
    with pytest.raises(UsageError, match="the problem has none"):
        run(make_with_redraw(2), Rastrigin(subsets=False))
    with pytest.raises(UsageError, match="redraw >= 1"):
        make_with_redraw(0)
