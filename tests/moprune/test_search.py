"""Searching: what pymoo lets pass in silence is an error, and a resumed run is the run."""

import sqlite3

import numpy as np
import pytest
import torch
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.duplicate import DefaultDuplicateElimination
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.optimize import minimize

from moprune.algorithms import DensitySampling, PackedDuplicateElimination, RandomSearch, make
from moprune.errors import MopruneError, UsageError
from moprune.executors import InProcess
from moprune.fronts import hypervolume, nondominated
from moprune.log import EvaluationLog
from moprune.objectives import Objective, Outcome
from moprune.problem import SearchProblem
from moprune.search import LoggedEvaluator, run_algorithm, search
from moprune.testing import ToyProblem, toy_problem


class Plain(Problem):
    """Somebody's own pymoo problem, without our base class."""

    def __init__(self, how="right", **options):
        super().__init__(n_var=6, n_obj=2, n_ieq_constr=int(how == "constrained"), xl=0.0, xu=1.0, **options)
        self.how = how

    def _evaluate(self, X, out, *_, **__):
        F = np.column_stack([X.sum(1), (1 - X).sum(1)])
        if self.how == "nan":
            F[-1, 1] = np.nan
        if self.how == "constrained":
            out["G"] = X[:, :1] - 0.5
        if self.how != "unset":
            out["F"] = F
        out["extra"] = X[:, 0]


def run_plain(how, n_eval=24, log=None, algorithm=None):
    problem = Plain(how)
    with log or EvaluationLog() as log:
        run_algorithm(problem, algorithm or make("nsga2", problem, pop_size=8), n_eval=n_eval, seed=1, log=log)
        return log.history("search", 1)


def test_any_pymoo_problem_can_be_run_and_what_it_puts_out_is_logged():
    table, X = run_plain("constrained")
    assert len(table) == 24
    assert np.stack(table["F"])[:, 0] == pytest.approx(X.sum(1), abs=0)
    assert np.stack(table["G"])[:, 0] == pytest.approx(X[:, 0] - 0.5, abs=0)
    assert np.stack(table["extra"])[:, 0] == pytest.approx(X[:, 0], abs=0)


def test_objectives_that_are_never_set_are_an_error():
    with pytest.raises(MopruneError, match=r"Plain gave F = \[inf, inf\].*never set"):
        run_plain("unset")


def test_objectives_that_are_not_finite_are_an_error():
    with pytest.raises(MopruneError, match=r"Plain gave F = .*nan"):
        run_plain("nan")


def test_nothing_of_a_broken_generation_is_logged(tmp_path):
    path = tmp_path / "log.sqlite"
    with pytest.raises(MopruneError):
        run_plain("nan", log=EvaluationLog(path))
    with EvaluationLog(path) as log:
        assert log.count("search", 1) == 0


def test_pymoo_alone_finds_what_a_search_finds():
    problem = Plain()
    expected = minimize(problem, make("nsga2", problem, pop_size=8), ("n_eval", 40), seed=3)
    with EvaluationLog() as log:
        ended = run_algorithm(problem, make("nsga2", problem, pop_size=8), n_eval=40, seed=3, log=log)
        logged = EvaluationLog()
        evaluator = LoggedEvaluator(logged, seed=3)
        through_ours = minimize(
            problem, make("nsga2", problem, pop_size=8), ("n_eval", 40), seed=3, evaluator=evaluator
        )  # fmt: skip
        assert logged.requests("search", 3) == log.requests("search", 3)
        logged.close()
    assert (ended.opt.get("F") == expected.F).all()
    assert (through_ours.F == expected.F).all()


class Given(SearchProblem):
    """One objective whose values are given."""

    def __init__(self, compute=lambda outcome: 0.5, count=1, failed=False, **options):
        goals = [Objective(f"given{i}", "share", bool(i), float(i), compute) for i in range(count)]
        super().__init__(n_var=4, boolean=True, objectives=goals, **options)
        self.failed = failed
        self.skip = 0

    def outcomes(self, X, splits):
        for x in X[self.skip :]:
            outcome = Outcome(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), costs={"ones": float(x.sum())})
            yield {split: [] if self.failed else [outcome, outcome] for split in splits}

    def fingerprint(self):
        return {"problem": "given"}


def test_unknown_arguments_of_a_search_problem_are_refused():
    with pytest.raises(TypeError, match="n_objj"):
        Given(n_objj=3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_objective_that_is_not_finite_names_itself(value):
    problem = Given(lambda outcome: value if outcome.costs["ones"] > 2 else 0.0)
    with pytest.raises(MopruneError, match=f"objective 'given0' of candidate 1 on split 'test' is {value}"):
        problem.values(np.array([[0, 0, 0, 1], [0, 1, 1, 1]], dtype=bool), ["test"])


def test_a_candidate_that_failed_gets_each_worst_value():
    problem = Given(count=2, failed=True)
    out = problem.evaluate(np.ones((3, 4), dtype=bool), return_as_dictionary=True)
    assert out["natural"].tolist() == [[0.0, 1.0]] * 3
    assert out["F"].tolist() == [[1.0, 1.0]] * 3


def test_a_candidate_left_out_is_an_error():
    problem = Given()
    problem.skip = 1
    with pytest.raises(MopruneError, match="yielded 2 candidates of 3"):
        problem.values(np.ones((3, 4), dtype=bool))


def find(problem, out, n_eval=60, seed=1, algorithm=None, **options):
    return search(
        problem, algorithm or make("nsga2", problem, pop_size=10), n_eval=n_eval, seed=seed, out=out, **options
    )


def test_a_run_tells_its_history_front_and_genomes(tmp_path):
    problem = toy_problem()
    seen = []
    run = find(problem, tmp_path / "a", observe=seen.append)
    history, X = run.history(), run.genomes()
    assert (run.history()[["leading_ones_search", "trailing_zeros_search"]].to_numpy() == problem.values(X)[:, 0]).all()
    assert len(np.unique(X, axis=0)) == len(X) == len(history)
    F = problem.minimised(problem.values(X)[:, 0])
    front = run.front()
    assert run.front_index().tolist() == nondominated(F).tolist() == front.index.tolist()
    splits = ("search", "select", "test")
    assert list(front) == ["solution", *(f"{o.name}_{s}" for o in problem.objectives for s in splits)]
    for solution, row in zip(front["solution"], run.front_index(), strict=True):
        assert (run.genome(solution) == X[row]).all()
        assert history["solution"][row] == solution
    with pytest.raises(UsageError, match="no solution '1-999'"):
        run.genome("1-999")
    last = seen[-1]
    assert [p.evaluations for p in seen] == [10, 20, 30, 40, 50, 60]
    assert (last.stage, last.seed, last.budget, last.replayed) == ("search", 1, 60, 0)
    assert last.hypervolume == pytest.approx(hypervolume(F, problem.objectives))
    assert last.best == {"leading_ones": history.iloc[:, 3].max(), "trailing_zeros": history.iloc[:, 4].max()}
    run.log.close()


def test_genomes_of_some_rows_or_of_none(tmp_path):
    with EvaluationLog() as log:
        run = find(toy_problem(), None, log=log)
        X = run.genomes()
        np.testing.assert_array_equal(run.genomes([3, 0]), X[[3, 0]])
        assert (run.genomes([]).shape, run.genomes([]).dtype) == ((0, 12), np.dtype(bool))
        assert run.images() == 0, "a problem that does not count them"
        untouched = run.history()
        untouched["solution"] = "changed"
        assert run.history()["solution"][0] == "1-0"


def test_ids_tell_the_search_from_other_stages():
    with EvaluationLog() as log:
        run = find(toy_problem(), None, log=log, algorithm=RandomSearch(batch=10), stage="random", seed=3)
        assert run.history()["solution"][0] == "r3-0"
        with pytest.raises(UsageError, match="ids look like r3-17"):
            run.genome("3-0")


def test_a_problem_without_our_base_class_is_watched_too():
    problem, seen = Plain(), []
    with EvaluationLog() as log:
        algorithm = make("nsga2", problem, pop_size=8)
        run_algorithm(problem, algorithm, n_eval=24, seed=1, log=log, observe=seen.append)
        table, _ = log.history("search", 1)
    F = np.stack(table["F"])
    assert [progress.evaluations for progress in seen] == [8, 16, 24]
    for progress in seen:
        lowest = F[: progress.evaluations].min(axis=0)
        assert progress.best == {"f1": lowest[0], "f2": lowest[1]}
        assert progress.hypervolume is None
    assert seen[-1].seconds == pytest.approx(table["seconds"].sum())


class OwnElimination(DefaultDuplicateElimination):
    """Somebody's own, which counts."""


@pytest.mark.parametrize(
    ("given", "used"),
    [(DefaultDuplicateElimination, PackedDuplicateElimination), (OwnElimination, OwnElimination)],
)
def test_pymoos_pairwise_elimination_of_duplicates_is_replaced_but_no_other(given, used):
    algorithm = NSGA2(pop_size=8, eliminate_duplicates=given())
    with EvaluationLog() as log:
        ended = run_algorithm(Plain(), algorithm, n_eval=16, seed=1, log=log)
    for holder in (ended, ended.mating, ended.initialization):
        assert type(holder.eliminate_duplicates) is used


def test_the_executor_given_evaluates_what_the_log_does_not_hold():
    class Counting(InProcess):
        asked = 0

        def evaluate(self, problem, genomes, values_of, told):
            self.asked += len(genomes)
            return super().evaluate(problem, genomes, values_of, told)

    executor = Counting()
    run = find(toy_problem(), None, executor=executor)
    assert executor.asked == len(run.genomes()) > 0
    run.log.close()


def test_members_that_were_evaluated_are_not_asked_for_again():
    with EvaluationLog() as log:
        evaluator, pop = LoggedEvaluator(log), Population.new("X", np.random.default_rng(0).random((5, 6)))
        evaluator.eval(Plain(), pop)
        evaluator.eval(Plain(), pop)
        assert log.count("search", 0) == 5


def test_the_context_of_a_whole_problem_is_part_of_what_evaluations_are_stored_under():
    problem, other = toy_problem(), toy_problem()
    problem.context = "fold=1"
    with EvaluationLog() as log:
        for each, stage in ((problem, "a"), (other, "b")):
            run_algorithm(each, RandomSearch(batch=10), n_eval=10, seed=1, log=log, stage=stage)
            assert set(log.history(stage, 1)[0]["context"]) == {"fold=1" if each is problem else ""}
        assert log.requests("a", 1) == log.requests("b", 1)


def test_one_candidate_at_a_time_is_refused_the_twentieth_time_in_a_row():
    problem = Plain()
    x = np.full((2, 6), 0.5)
    with EvaluationLog() as log:
        evaluator = LoggedEvaluator(log)
        for count in [1] * 19 + [2] + [1] * 19:
            evaluator.eval(problem, Population.new("X", x[:count]))
        with pytest.raises(UsageError, match="one candidate at a time 20 times"):
            evaluator.eval(problem, Population.new("X", x[:1]))
        assert log.count("search", 0) == 40


def test_one_candidate_at_a_time_is_nothing_unusual_for_a_single_objective():
    problem = Given()
    with EvaluationLog() as log:
        evaluator = LoggedEvaluator(log)
        for _ in range(25):
            evaluator.eval(problem, Population.new("X", np.ones((1, 4), dtype=bool)))
        assert log.count("search", 0) == 25


def test_values_known_in_part_do_not_count_as_the_best():
    class InPart(Plain):
        def _evaluate(self, X, out, *_, **__):
            super()._evaluate(X, out)
            out["provisional"] = (X[:, 0] < 0.5).astype(float)

    X = np.repeat([[0.1], [0.6], [0.7]], 6, axis=1)
    seen = []
    with EvaluationLog() as log:
        evaluator = LoggedEvaluator(log, observe=seen.append)
        evaluator.eval(InPart(), Population.new("X", X))
        evaluator.eval(InPart(), Population.new("X", X[:1] / 2))  # all of them in part
    assert seen[0].best == pytest.approx({"f1": 6 * 0.6, "f2": 6 * 0.3})
    assert [each.provisional for each in seen] == [False, True]


def test_what_is_in_the_log_is_replayed_and_not_evaluated(tmp_path):
    class Counting(ToyProblem):
        scored = 0

        def outcomes(self, X, splits):
            Counting.scored += len(X)
            return super().outcomes(X, splits)

    first = find(Counting(), tmp_path)
    distinct = len(first.genomes())
    first.log.close()
    scored, seen = Counting.scored, []
    again = find(Counting(), tmp_path, observe=seen.append)
    again.log.close()
    assert Counting.scored == scored == distinct
    assert seen[-1].replayed == 60


def test_genomes_are_shared_between_stages_of_a_context():
    problem, scored = toy_problem(), []
    evaluate = problem.evaluate
    problem.evaluate = lambda X, *a, **k: scored.extend(X) or evaluate(X, *a, **k)
    with EvaluationLog() as log:
        run_algorithm(problem, RandomSearch(batch=10), n_eval=30, seed=1, log=log, stage="random")
        before = len(scored)
        run_algorithm(problem, RandomSearch(batch=10), n_eval=30, seed=1, log=log, stage="random again")
        assert len(scored) == before
        assert log.requests("random", 1) == log.requests("random again", 1)


def test_another_configuration_never_reuses_a_log(tmp_path):
    find(toy_problem(12), tmp_path).log.close()
    for problem, n_eval, key in ((toy_problem(13), 60, r"problem\.length"), (toy_problem(12), 70, "n_eval")):
        with pytest.raises(UsageError, match=f"differs in: {key}"):
            find(problem, tmp_path, n_eval=n_eval)
    find(toy_problem(12), tmp_path).log.close()  # a refusal holds no lock


class StoppedError(Exception):
    pass


def test_after_an_interruption_the_same_process_can_go_on(tmp_path):
    def stop(progress):
        if progress.evaluations == 30:
            raise StoppedError

    with pytest.raises(StoppedError) as kept:  # the traceback, and with it every frame, stays alive as in a notebook
        find(toy_problem(), tmp_path, observe=stop)
    assert kept.traceback
    run = find(toy_problem(), tmp_path)
    straight = find(toy_problem(), None)
    assert run.history().drop(columns="seconds").equals(straight.history().drop(columns="seconds"))
    straight.log.close()
    run.log.close()


class Unseeded(DensitySampling):
    def _do(self, problem, n_samples, *args, random_state, **kwargs):
        return super()._do(problem, n_samples, random_state=np.random.default_rng())


class Enumerated(DensitySampling):
    """The numbers from 0 on in bits, whatever the size of the population."""

    def _do(self, problem, n_samples, *args, random_state, **kwargs):
        return (np.arange(n_samples)[:, None] >> np.arange(problem.n_var) & 1).astype(bool)


def stopped_after(evaluations):
    def observe(progress):
        if progress.evaluations >= evaluations:
            raise StoppedError

    return observe


@pytest.mark.parametrize(
    ("first", "second", "logged"),
    [
        (RandomSearch(Unseeded(), batch=10), RandomSearch(Unseeded(), batch=10), 30),
        (RandomSearch(batch=10), RandomSearch(batch=12), 30),
        (RandomSearch(Enumerated(), batch=10), RandomSearch(Enumerated(), batch=12), 10),
        (RandomSearch(Enumerated(), batch=12), RandomSearch(Enumerated(), batch=10), 12),
    ],
    ids=["unseeded", "another size", "the same and more", "the same and fewer"],
)
def test_an_algorithm_that_does_not_repeat_itself_cannot_be_resumed(tmp_path, first, second, logged):
    with pytest.raises(StoppedError):
        find(toy_problem(), tmp_path, algorithm=first, observe=stopped_after(logged))
    with pytest.raises(MopruneError, match="cannot resume: at evaluation"):
        find(toy_problem(), tmp_path, algorithm=second)
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        assert log.count("search", 1) == logged, "the log was written to"


def test_a_shorter_run_than_the_log_is_noticed():
    problem = toy_problem()
    with EvaluationLog() as log:
        run_algorithm(problem, make("nsga2", problem, pop_size=10), n_eval=40, seed=1, log=log)
        with pytest.raises(MopruneError, match="cannot resume: at evaluation 20"):
            run_algorithm(problem, make("nsga2", problem, pop_size=10), n_eval=20, seed=1, log=log)


@pytest.mark.parametrize("n_eval", [0, -5])
def test_a_budget_of_nothing_is_refused(n_eval):
    with pytest.raises(UsageError, match="n_eval must be >= 1"):
        find(toy_problem(), None, n_eval=n_eval)


def test_a_budget_below_the_population_ends_after_one_generation():
    run = find(toy_problem(), None, n_eval=1)
    assert len(run.history()) == 10
    run.log.close()


def test_seeds_and_stages_are_kept_apart(tmp_path):
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        runs = {seed: find(toy_problem(), None, log=log, seed=seed) for seed in (1, 2)}
        control = find(toy_problem(), None, log=log, algorithm=RandomSearch(batch=10), stage="random")
        assert runs[1].history()["solution"].str.startswith("1-").all()
        assert runs[2].history()["solution"].str.startswith("2-").all()
        assert not np.array_equal(runs[1].genomes(), runs[2].genomes())
        assert control.genomes().shape != runs[1].genomes().shape or (control.genomes() != runs[1].genomes()).any()
    connection = sqlite3.connect(tmp_path / "log.sqlite")
    assert connection.execute("SELECT COUNT(*), COUNT(DISTINCT stage || seed) FROM request").fetchone() == (180, 3)
    connection.close()
