"""NSGA-II with promotion: who is promoted, what members rest on, and that it pays where cheap scores are right."""

from itertools import pairwise

import numpy as np
import pytest
from pymoo.optimize import minimize
from pymoo.problems.multi import ZDT1
from scipy.stats import wilcoxon

from moprune.algorithms import PromotingNSGA2, make
from moprune.contexts import PLAIN, Context
from moprune.errors import UsageError
from moprune.fronts import hypervolume
from moprune.log import EvaluationLog
from moprune.objectives import Objective
from moprune.problem import SearchProblem
from moprune.search import LoggedEvaluator, run_algorithm, search
from moprune.seeding import numpy_generator
from moprune.testing import AlgorithmContract, toy_problem


class Noisy(SearchProblem):
    """ZDT1; a training seed adds noise of its own to the second objective, a rung the more bias the cheaper it is.

    The bias is a monotone transform of each objective, so that without noise all rungs agree on who dominates whom.
    """

    contextual = True

    def __init__(self, rungs=2, seeds=3, noise=0.1, n_var=8):
        goals = [Objective(name, "", True, 7.0, lambda _: 0.0) for name in ("f1", "f2")]
        super().__init__(n_var=n_var, boolean=False, objectives=goals, xl=np.zeros(n_var), xu=np.ones(n_var))
        self.rungs, self.seeds, self.noise = rungs, seeds, noise
        self.requires_kwargs = True

    def outcomes(self, X, splits):
        raise NotImplementedError

    def fingerprint(self):
        return {"problem": "noisy", "rungs": self.rungs, "seeds": self.seeds, "noise": self.noise}

    def score(self, x, context):
        f1, rest = x[0], 1 + 9 * x[1:].mean()
        seeds = range(context.seeds or self.seeds)
        drawn = [numpy_generator(seed, x.tobytes().hex()).standard_normal() for seed in seeds]
        F = np.array([f1, rest * (1 - np.sqrt(f1 / rest)) + self.noise * np.mean(drawn)])
        return F if context.rung is None else np.arctan(F) + self.rungs - context.rung

    def is_part(self, context):
        return context.rung is not None or (context.seeds or self.seeds) < self.seeds

    def _evaluate(self, X, out, *_, contexts=None, **__):
        contexts = contexts or [PLAIN] * len(X)
        out["F"] = np.array([self.score(x, context) for x, context in zip(X, contexts, strict=True)])
        out["natural"] = out["F"]
        out["provisional"] = np.array([float(self.is_part(context)) for context in contexts])


class Contract(AlgorithmContract):
    n_eval = 120

    def make_algorithm(self, problem):
        return make("nsga2_promoting", problem, pop_size=8, n_offsprings=6)


class TestWithRungsAndSeeds(Contract):
    def make_problem(self):
        return Noisy()


class TestWithRungs(Contract):
    def make_problem(self):
        return Noisy(rungs=1, seeds=1)


class TestWithSeeds(Contract):
    def make_problem(self):
        return Noisy(rungs=0)


class TestWithNeither(Contract):
    def make_problem(self):
        return toy_problem(20)


def batches(problem, algorithm, n_eval, seed=1):
    """Yields each batch as it is once it was scored, and the members before the algorithm is told."""
    algorithm.setup(problem, termination=("n_eval", n_eval), seed=seed)
    with EvaluationLog() as log:
        evaluator = LoggedEvaluator(log, seed=seed)
        algorithm.evaluator = evaluator
        while algorithm.has_next():
            asked = algorithm.infill()
            evaluator.eval(problem, asked)
            yield asked, algorithm.pop
            algorithm.advance(infills=asked)


def dominates(a, b):
    return (a <= b).all() and (a < b).any()


def front_numbers(F):
    """Peels one front after another off, comparing every pair."""
    numbers, left, number = np.zeros(len(F), dtype=int), set(range(len(F))), 0
    while left:
        front = [i for i in left if not any(dominates(F[j], F[i]) for j in left)]
        numbers[front] = number
        left -= set(front)
        number += 1
    return numbers


def crowding(F):
    """The distance between the neighbours of each, objective by objective, in ranges (Deb et al. 2002)."""
    distances = np.zeros(len(F))
    for column in F.T:
        order = np.argsort(column)
        distances[order[[0, -1]]] = np.inf
        for before, at, after in zip(order, order[1:], order[2:], strict=False):
            distances[at] += (column[after] - column[before]) / np.ptp(column)
    return distances


def assert_best(scored, chosen):
    """Asserts that the chosen are the best by front, and in the front that was cut by crowding."""
    F = scored.get("F")
    picked = {x.tobytes() for x in chosen.get("X")}
    taken = np.array([x.tobytes() in picked for x in scored.get("X")])
    numbers = front_numbers(F)
    worst = numbers[taken].max()
    assert taken[numbers < worst].all()
    cut = numbers == worst
    distances = crowding(F[cut])
    if not taken[cut].all():
        assert distances[taken[cut]].min() >= distances[~taken[cut]].max()


def test_a_generation_is_halved_rung_by_rung_and_then_compared_in_full():
    problem = Noisy(rungs=2, seeds=3)
    asked = [each for each, _ in batches(problem, PromotingNSGA2(8, n_offsprings=6, factor=4), 400)]
    contexts = [set(each.get("context")) for each in asked]
    assert (len(asked[0]), contexts[0]) == (8, {Context(seeds=1)})
    starts = [i for i, each in enumerate(contexts) if each == {Context(rung=0, seeds=1)}]
    assert starts[0] == 1
    for start in starts[:-1]:
        assert [len(each) for each in asked[start : start + 3]] == [24, 12, 6]
        assert contexts[start + 1 : start + 3] == [{Context(rung=1, seeds=1)}, {Context(seeds=1)}]
        assert_best(asked[start], asked[start + 1])
        assert_best(asked[start + 1], asked[start + 2])
    assert {after - before for before, after in pairwise(starts)} == {4}
    assert {context for start in starts[:-1] for context in contexts[start + 3]} == {Context(seeds=2), Context(seeds=3)}


@pytest.mark.parametrize(("factor", "rungs", "sizes"), [(3, 1, [18, 6]), (3, 2, [18, 11, 6]), (8, 3, [48, 24, 12, 6])])
def test_promotion_is_in_equal_ratios_rounded_up(factor, rungs, sizes):
    problem = Noisy(rungs, seeds=1)
    asked = [each for each, _ in batches(problem, PromotingNSGA2(8, n_offsprings=6, factor=factor), 300)]
    assert [len(each) for each in asked[1 : rungs + 2]] == sizes


def test_members_of_the_first_front_are_scored_with_one_more_seed_until_they_have_all():
    problem = Noisy(rungs=1, seeds=3)
    algorithm = PromotingNSGA2(8, n_offsprings=6)
    rescored = 0
    for asked, members in batches(problem, algorithm, 500):
        for member in members:
            np.testing.assert_array_equal(member.F, problem.score(member.X, member.get("context")))
        if len(members):
            first = front_numbers(members.get("F")) == 0
            np.testing.assert_array_equal(members.get("rank") == 0, first)
        if algorithm.step == 2:
            more = {Context(seeds=1): Context(seeds=2), Context(seeds=2): Context(seeds=3)}
            known = {each.X.tobytes(): each.get("context") for each in members[first]}
            due = {x: more[context] for x, context in known.items() if context in more}
            assert {each.X.tobytes(): each.get("context") for each in asked} == due
            rescored += len(due)
    assert rescored > 20
    assert any(each.get("context") == Context(seeds=3) for each in algorithm.pop)


@pytest.mark.parametrize("problem", [ZDT1(n_var=6), toy_problem(20)], ids=["numbers", "bits"])
def test_without_rungs_and_seeds_it_is_nsga2(problem):
    asked = []
    for name in ("nsga2", "nsga2_promoting"):
        with EvaluationLog() as log:
            run_algorithm(problem, make(name, problem, pop_size=12, n_offsprings=10), n_eval=200, seed=7, log=log)
            asked.append(log.requests("search", 7))
            assert set(log.history("search", 7)[0]["context"]) == {""}
    assert asked[0] == asked[1]


def test_what_is_provisional_is_in_no_front_and_the_last_population_is_scored_in_full():
    problem = Noisy(rungs=1, seeds=3, noise=1.0)
    run = search(problem, make("nsga2_promoting", problem, pop_size=10), n_eval=400, seed=2)
    logged, _ = run.log.history("search", 2)
    history, X = run.history(), run.genomes()
    assert len(history) == sum(not np.any(each) for each in logged["provisional"]) < len(logged)
    natural = history[["f1_search", "f2_search"]].to_numpy()
    np.testing.assert_array_equal(natural, [problem.score(x, PLAIN) for x in X])
    assert sorted(run.front_index()) == np.flatnonzero(front_numbers(natural) == 0).tolist()

    with EvaluationLog() as log:
        last = run_algorithm(problem, make("nsga2_promoting", problem, pop_size=10), n_eval=400, seed=2, log=log).pop
        table = log.history("search", 2)[0]
        plain = table["digest"][[not np.any(each) for each in table["provisional"]]].tolist()
    assert len(last) == 10
    assert {genome.tobytes() for genome in last.get("X")} <= {x.tobytes() for x in X}
    assert len(plain) == len(X)


def test_pymoos_own_evaluator_scores_everything_in_full():
    problem = Noisy(rungs=1, seeds=2)
    result = minimize(problem, PromotingNSGA2(8), ("n_eval", 200), seed=1)
    np.testing.assert_array_equal(result.F, [problem.score(x, PLAIN) for x in result.X])


def test_it_ends_where_no_child_can_be_made():
    problem = Noisy(rungs=1, seeds=1, n_var=2)
    problem.xu = problem.xl.copy()
    with EvaluationLog() as log:
        algorithm = PromotingNSGA2(4, n_offsprings=4)
        run_algorithm(problem, algorithm, n_eval=100, seed=1, log=log)
        assert 1 <= log.count("search", 1) < 100


def test_a_factor_below_two_is_refused():
    with pytest.raises(UsageError, match="factor, the children for each one promoted, must be >= 2, not 1"):
        PromotingNSGA2(8, factor=1)


def test_where_rungs_are_right_it_beats_nsga2_that_may_spend_as_much():
    """Rungs at a tenth of the price of a full score; NSGA-II gets as many full scores as all that costs."""
    problem = Noisy(rungs=1, seeds=1, noise=0.0, n_var=15)

    def volume(name, n_eval, seed):
        run = search(problem, make(name, problem, pop_size=12), n_eval=n_eval, seed=seed)
        table, _ = run.log.history("search", seed)
        spent = np.where(table["context"] == "", 1.0, 0.1).sum()
        return hypervolume(run.history()[["f1_search", "f2_search"]].to_numpy(), problem.objectives), spent

    gains = []
    for seed in range(10):
        ours, spent = volume("nsga2_promoting", 12 + 12 * 48, seed)
        theirs, as_much = volume("nsga2", int(np.ceil(spent)), seed)
        assert as_much >= spent
        gains.append(ours - theirs)
    assert wilcoxon(gains, alternative="greater").pvalue < 0.05
