"""Contexts: bounds never change a decision, subsets never pass for the whole, and both survive a restart."""

import numpy as np
import pytest
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population

from moprune.contexts import PLAIN, Context
from moprune.errors import UsageError
from moprune.log import KEPT_BYTES, EvaluationLog
from moprune.objectives import Objective
from moprune.problem import SearchProblem
from moprune.search import LoggedEvaluator, search


class Sphere(SearchProblem):
    """Squared distance from the origin; a dropped candidate gives its bound + 1.

    The subset with number s adds s, the rung with number r 10 + r, and with s seeds it is 2 - s further away.
    """

    contextual = True
    rungs, seeds = 3, 2

    def __init__(self, n_var=3, dtype=np.float64):
        sphere = Objective("sphere", "squared length", True, 1e9, lambda outcome: outcome.costs["x"], is_cost=True)
        super().__init__(n_var=n_var, boolean=False, objectives=[sphere], xl=np.full(n_var, -1.0), xu=np.ones(n_var))
        self.dtype = np.dtype(dtype)
        self.requires_kwargs = True
        self.seen = []

    def outcomes(self, X, splits):
        raise NotImplementedError

    def fingerprint(self):
        return {"problem": "sphere"}

    def _evaluate(self, X, out, *_, contexts=None, **__):
        contexts = contexts or [PLAIN] * len(X)
        self.seen.extend(contexts)
        value = (self.checked(X).astype(np.float64) ** 2).sum(1) + [added(c) for c in contexts]
        bounds = np.array([np.inf if c.bound is None else c.bound for c in contexts])
        dropped = value > bounds
        out["F"] = np.where(dropped, bounds + 1, value)[:, None]
        out["natural"] = out["F"]
        out["provisional"] = (dropped | [is_part(c) for c in contexts]).astype(float)
        out["images"] = np.where(dropped, 1.0, 10.0)


def added(context):
    rung = 0 if context.rung is None else 10 + context.rung
    return (context.subset or 0) + rung + 2 - (context.seeds or 2)


def is_part(context):
    return context.subset is not None or context.rung is not None or (context.seeds or 2) < 2


class Deaf(Sphere):
    contextual = False


class Climber(Algorithm):
    """One trial for each member, with a bound; every other generation the ``part`` of the context is another one."""

    def __init__(self, part=None, shrink=1.0):
        super().__init__()
        self.part, self.shrink, self.turn = part, shrink, 0

    def _context(self, bound=None):
        number = {"subset": self.turn // 2, "rung": self.turn // 2 % 3, "seeds": 1}
        return Context(bound, **({self.part: number[self.part]} if self.part else {}))

    def _initialize_infill(self):
        X = self.random_state.uniform(-1, 1, (4, self.problem.n_var)).astype(self.problem.dtype)
        return Population.new("X", X, "context", [self._context()] * 4)

    def _initialize_advance(self, infills=None, **_):
        self.pop = infills

    def _infill(self):
        self.turn += 1
        step = 0.3 * self.shrink * self.random_state.standard_normal((4, self.problem.n_var))
        X = np.clip(self.shrink * self.pop.get("X") + step, -1, 1).astype(self.problem.dtype)
        bounds = self.pop.get("F")[:, 0].tolist()
        return Population.new("X", X, "context", [self._context(bound) for bound in bounds])

    def _advance(self, infills=None, **_):
        better = infills.get("F")[:, 0] <= self.pop.get("F")[:, 0]
        self.pop[better] = infills[better]


def test_the_context_is_told_in_words_that_keep_every_digit():
    assert str(PLAIN) == ""
    assert str(Context(bound=0.1 + 0.2)) == "bound=0.30000000000000004"
    assert str(Context(1.5, 7)) == "subset=7 bound=1.5"
    assert str(Context(rung=0)) == "rung=0"
    assert str(Context(1.5, rung=2, seeds=3)) == "rung=2 seeds=3 bound=1.5"


def test_a_problem_without_contexts_decides_the_same_in_full():
    run, deaf = search(Sphere(), Climber(), n_eval=80, seed=3), search(Deaf(), Climber(), n_eval=80, seed=3)
    assert set(deaf.problem.seen) == {PLAIN}
    assert any(c.bound is not None for c in run.problem.seen)
    best, full = (each.history()["solution"][each.front_index()].tolist() for each in (run, deaf))
    assert best == full
    assert (run.genomes(run.front_index()) == deaf.genomes(deaf.front_index())).all()


def test_what_was_dropped_is_no_part_of_the_history_and_costs_what_it_cost():
    run = search(Sphere(), Climber(), n_eval=80, seed=3)
    everything, _ = run.log.history("search", 3)
    dropped = np.concatenate(everything["provisional"].to_list()) > 0
    assert 0 < dropped.sum() < 80
    assert len(run.history()) == 80 - dropped.sum()
    assert run.images() == dropped.sum() + 10 * (80 - dropped.sum())
    X = run.genomes()
    assert run.history()["sphere_search"].to_numpy() == pytest.approx((X**2).sum(1))


@pytest.mark.parametrize("part", ["subset", "rung", "seeds"])
def test_members_known_in_part_are_scored_in_full_at_the_end(part):
    run = search(Sphere(), Climber(part), n_eval=40, seed=3)
    assert 1 <= len(run.history()) <= 4
    assert run.problem.seen[-1] == PLAIN
    X = run.genomes()
    assert run.history()["sphere_search"].to_numpy() == pytest.approx((X**2).sum(1))


@pytest.mark.parametrize(
    ("part", "told"), [("subset", "on subsets"), ("rung", "on rungs"), ("seeds", "with fewer training seeds")]
)
def test_scores_in_part_are_refused_by_a_problem_that_has_none(part, told):
    with pytest.raises(UsageError, match=f"scores {told}, which Deaf does not have"):
        search(Deaf(), Climber(part), n_eval=8, seed=1)


def test_the_same_genome_is_stored_once_for_each_context():
    parts = [PLAIN, Context(rung=0), Context(rung=1), Context(seeds=1), Context(subset=3), Context(subset=3, seeds=1)]
    x = np.full(3, 0.5)
    problem = Sphere()
    with EvaluationLog() as log:
        for _ in range(2):
            pop = Population.new("X", [x] * len(parts), "context", parts)
            LoggedEvaluator(log, seed=1).eval(problem, pop)
            assert pop.get("F")[:, 0].tolist() == [0.75, 10.75, 11.75, 1.75, 3.75, 4.75]
        assert len(problem.seen) == len(parts)
        assert log.history("search", 1)[0]["context"].tolist() == [str(part) for part in parts]


@pytest.mark.parametrize("part", [None, "subset", "rung", "seeds"])
def test_a_search_with_contexts_goes_on_where_it_stopped(tmp_path, part):
    straight = search(Sphere(), Climber(part), n_eval=60, seed=2)
    told = []

    def stop(progress):
        told.append(progress)
        if progress.evaluations >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), EvaluationLog(tmp_path / "log.sqlite") as log:
        search(Sphere(), Climber(part), n_eval=60, seed=2, log=log, observe=stop)
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        resumed = search(Sphere(), Climber(part), n_eval=60, seed=2, log=log)
        assert len(resumed.problem.seen) == len(straight.problem.seen) - told[-1].evaluations
        assert resumed.history().drop(columns="seconds").equals(straight.history().drop(columns="seconds"))
        assert (resumed.genomes() == straight.genomes()).all()


def test_long_genomes_are_logged_by_their_digest_and_the_last_population_is_kept(tmp_path):
    length = KEPT_BYTES // 4 + 1
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        run = search(Sphere(length, np.float32), Climber(shrink=0.5), n_eval=16, seed=1, log=log)
        front = run.front_index()
        assert run.genomes(front).dtype == np.float32
        assert run.history()["sphere_search"].iloc[front[0]] == run.history()["sphere_search"].min()
        with pytest.raises(UsageError, match=r"'1-0' is too long to be logged"):
            run.genomes([0])
    assert (tmp_path / "log.sqlite").stat().st_size < 7 * 4 * length
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        again = search(Sphere(length, np.float32), Climber(shrink=0.5), n_eval=16, seed=1, log=log)
        assert not again.problem.seen
        assert (again.genomes(front) == run.genomes(front)).all()


def test_long_genomes_are_handed_over_in_parts_that_change_nothing(monkeypatch):
    whole = search(Sphere(50), Climber(), n_eval=40, seed=4)
    monkeypatch.setattr("moprune.executors._STACKED_BYTES", 3 * 50 * 8)
    sizes = []
    problem = Sphere(50)
    monkeypatch.setattr(problem, "callback", lambda X, out: sizes.append(len(X)))
    parts = search(problem, Climber(), n_eval=40, seed=4)
    assert max(sizes) == 3
    assert parts.history().drop(columns="seconds").equals(whole.history().drop(columns="seconds"))
    assert parts.problem.seen == whole.problem.seen


def test_genomes_of_each_type_come_back_as_they_were():
    for dtype in (np.float32, np.float64):
        run = search(Sphere(5, dtype), Climber(), n_eval=8, seed=1)
        assert run.genomes().dtype == dtype
        assert run.history()["sphere_search"].to_numpy() == pytest.approx((run.genomes() ** 2).sum(1), rel=1e-6)
