"""BioTune's evolutionary algorithm: operators by hand, whole runs against loops with the same draws, budgets."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.core.problem import Problem
from pymoo.operators.sampling.lhs import LHS
from pymoo.optimize import minimize
from scipy import stats

from moprune.algorithms import make
from moprune.algorithms.biotune import PROFILES, BioTune, Profile
from moprune.algorithms.biotune.operators import (
    adopted,
    choose_mates,
    extinction_by_loss,
    extinction_by_rank,
    mutated,
    probes,
    rank_probabilities,
    recombined,
)
from moprune.contexts import PLAIN
from moprune.errors import MopruneError, UsageError
from moprune.log import EvaluationLog
from moprune.search import run_algorithm
from moprune.testing import AlgorithmContract

FAITHFUL, SOUND = PROFILES["faithful"], PROFILES["sound"]
each = pytest.mark.parametrize("profile", PROFILES)


class Bowl(Problem):
    """A sphere whose centre is elsewhere on every subset; notes what it was asked for."""

    contextual = True

    def __init__(self, n_var=4, low=0.0, high=1.0, subsets=False, shape=lambda loss: loss):
        super().__init__(n_var=n_var, n_obj=1, xl=low, xu=high, requires_kwargs=True)
        self.subsets, self.shape, self.asked = subsets, shape, []

    def loss(self, x, subset=None):
        unit = (x - self.xl) / (self.xu - self.xl)
        return self.shape(float(((unit - (0.3 if subset is None else 0.3 + 0.4 * subset)) ** 2).sum()))

    def _evaluate(self, X, out, *_, contexts=None, **__):
        contexts = contexts or [PLAIN] * len(X)
        self.asked.append((X.copy(), contexts))
        out["F"] = np.array([self.loss(x, context.subset) for x, context in zip(X, contexts, strict=True)])


class Blocks(Bowl):
    """Importance of three blocks and a threshold, as in BioTune's genotype."""

    def selected(self, x):
        return np.append(x[:-1] > x[-1], False)


def run(problem, n_eval=140, seed=3, **options):
    """Asks and tells; returns the algorithm, its points and the subset of each, batch by batch."""
    algorithm, batches = BioTune(**options).setup(problem, termination=("n_eval", 10**6), seed=seed), []
    while sum(len(X) for X, _ in batches) < n_eval:
        asked = algorithm.ask()
        subsets = [(member.get("context") or PLAIN).subset for member in asked]
        asked.set("F", np.array([[problem.loss(m.X, k)] for m, k in zip(asked, subsets, strict=True)]))
        algorithm.tell(infills=asked)
        batches.append((asked.get("X"), subsets))
    return algorithm, batches


def points(batches):
    return np.concatenate([X for X, _ in batches])


def subsets_of(batches):
    return [subset for _, subsets in batches for subset in subsets]


def told(algorithm, losses):
    """Asks, answers with the losses and returns the points that were asked for."""
    asked = algorithm.ask()
    asked.set("F", np.broadcast_to(losses, len(asked)).astype(float)[:, None])
    algorithm.tell(infills=asked)
    return asked.get("X")


class Contract(AlgorithmContract):
    profile = None

    def make_problem(self):
        return Bowl()

    def make_algorithm(self, problem):
        return BioTune(8, profile=self.profile)


class TestSoundContract(Contract):
    profile = SOUND


class TestFaithfulContract(Contract):
    profile = FAITHFUL


del Contract


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_search_on_folds_resumes(stop, tmp_path):
    """The contract takes a genome that is scored on another fold for one that is scored again."""

    def search(path=None, observe=None):
        problem = Bowl(subsets=True)
        with EvaluationLog(path) as log:
            algorithm = BioTune(6, profile=replace(FAITHFUL, momentum=True, shrinking=False))
            run_algorithm(problem, algorithm, n_eval=40, seed=3, log=log, observe=observe)
            return problem.asked, log.history("search", 3)[0].drop(columns="seconds").to_dict("records")

    def interrupt(progress):
        seen.append(progress)
        if len(seen) == stop:
            raise KeyboardInterrupt

    seen = []
    asked, history = search()
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "log", interrupt)
    resumed, again = search(tmp_path / "log")
    assert str(again) == str(history)
    assert str(resumed) == str(asked[stop:])


# Operators.


def test_ranks_mate_as_often_as_in_the_published_code():
    published = [0.184, 0.154, 0.138, 0.123, 0.108, 0.092, 0.078, 0.062, 0.047, 0.016]  # simulated, ten members
    np.testing.assert_allclose(rank_probabilities(10), published, atol=0.002)
    np.testing.assert_allclose(rank_probabilities(3), np.array([5, 3, 1]) / 9)


@given(st.integers(3, 60))
def test_worse_ranks_mate_less(members):
    probabilities = rank_probabilities(members)
    assert probabilities.sum() == pytest.approx(1)
    assert (np.diff(probabilities) < 0).all()
    middle = np.arange(members, 2, -1) / (members * (members + 3) / 2)  # of ranks 2 to m - 1
    np.testing.assert_allclose(probabilities[1:-1], middle)


def test_parents_differ_and_follow_the_law():
    rng, p, n = np.random.default_rng(0), rank_probabilities(4), 6000
    mates = np.array([choose_mates(4, rng) for _ in range(n)])
    pairs = np.array([[0 if a == b else p[a] * p[b] / (1 - p[a]) for b in range(4)] for a in range(4)])
    counts = np.zeros((4, 4))
    np.add.at(counts, tuple(mates[:, :2].T), 1)
    assert (np.diag(counts) == 0).all()
    off = ~np.eye(4, dtype=bool)
    assert stats.chisquare(counts[off], n * pairs[off]).pvalue > 0.001
    assert stats.chisquare(np.bincount(mates[:, 2], minlength=4), n * p).pvalue > 0.001
    assert {len(set(row)) for row in mates.tolist()} == {2, 3}


def test_extinction_factors_by_hand():
    np.testing.assert_allclose(extinction_by_loss(np.array([0.1, 0.2, 0.4])), [0, 0.375, 1])
    np.testing.assert_allclose(extinction_by_loss(np.array([0.0, 1.0, 4.0])), [0, 0.25, 1])
    np.testing.assert_allclose(extinction_by_loss(np.array([-3.0, -2.0, 1.0])), [0, 0.25, 1])
    assert extinction_by_loss(np.array([0.2, 0.2])) is None
    np.testing.assert_allclose(extinction_by_rank(5), [0, 0.25, 0.5, 0.75, 1])


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12))
def test_extinction_rises_from_the_best_to_the_worst(losses):
    losses = np.sort(losses)
    factors = extinction_by_loss(losses)
    if losses[0] == losses[-1]:
        assert factors is None
        return
    assert factors[0] == pytest.approx(0, abs=1e-12)
    assert factors[-1] == pytest.approx(1)
    assert (np.diff(factors) >= -1e-12).all()


@given(st.integers(0, 10**6), st.lists(st.booleans(), min_size=1, max_size=8).filter(any))
def test_probes_move_one_selected_variable_both_ways(seed, selected):
    selected = np.array(selected)
    x, reach = np.full(len(selected), 0.5), np.linspace(0.1, 0.4, len(selected))
    up, down = probes(x, selected, reach, np.random.default_rng(seed))
    moved = np.flatnonzero(up != x)
    assert len(moved) == 1
    assert selected[moved].all()
    np.testing.assert_allclose(up - x, x - down, rtol=1e-12)
    assert (np.abs(up - x) <= reach).all()


def test_recombination_takes_a_share_of_each_variable_for_itself():
    shares = recombined(np.zeros(5000), np.ones(5000), np.random.default_rng(0))
    assert stats.kstest(shares, "uniform").pvalue > 0.001
    np.testing.assert_allclose(recombined(np.full(3, 2.0), np.full(3, 2.0), np.random.default_rng(0)), 2)


@pytest.mark.parametrize(("extinction", "rate"), [(0.0, 0.25), (0.5, 0.625), (1.0, 1.0)])
def test_mutation_follows_extinction(extinction, rate):
    rng, x, width = np.random.default_rng(0), np.arange(4.0), np.array([1.0, 2, 3, 4])
    steps = np.array([mutated(x, extinction, width, rng) - x for _ in range(1500)])
    if not extinction:
        assert not steps.any()
        return
    assert stats.binomtest(int((steps != 0).sum()), steps.size, rate).pvalue > 0.001
    relative = (steps / width)[steps != 0]
    assert stats.kstest(relative, "uniform", (-extinction, 2 * extinction)).pvalue > 0.001


def test_adoption_draws_towards_parents_and_prototype():
    rng, basis = np.random.default_rng(0), np.eye(3)
    weights = np.array([adopted(np.zeros(3), basis[0], basis[1], rng) for _ in range(3000)])
    assert not weights[:, 2].any()
    assert (weights >= 0).all()
    assert (weights.sum(axis=1) <= 1).all()
    # E(1 - w) u = 1/4 and Var = 1/9 - 1/16, so that the mean of 3000 is within 0.012 in 997 of 1000.
    np.testing.assert_allclose(weights[:, :2].mean(axis=0), 0.25, atol=0.015)


# Whole runs.


def reference(problem, profile, seed, size, generations):
    """Returns all points asked for, as loops over single genes, and the fold of each."""
    rng, asked, folds = np.random.default_rng(seed), [], []
    E, D, cycled = profile.elites, problem.n_var, profile.folds if problem.subsets else None

    def score(x, fold):
        asked.append(np.array(x))
        folds.append(fold)
        return problem.loss(np.array(x), fold)

    def clip(x):
        return [min(max(v, 0.0), 1.0) for v in x]

    def settled(members, extinct):
        members = sorted(members, key=lambda m: m["f"])
        f = [m["f"] for m in members]
        for i, m in enumerate(members):
            m["e"] = 0.0 if not extinct else (
                i / (size - 1) if profile.ranked else (f[i] + f[0] * (i / (size - 1) - 1)) / f[-1]
            )  # fmt: skip
        return members

    fold = None if cycled is None else 0
    first = [rng.random(D) for _ in range(size)]
    pop = settled([{"x": x, "f": score(x, fold), "m": np.zeros(D)} for x in first], profile.early)
    for g in range(generations):
        fold = None if cycled is None else g % cycled
        if cycled and g and profile.rescored:
            for elite in pop[:E]:
                elite["f"] = score(elite["x"], fold)
        for elite in pop[:E]:
            gene = rng.choice(D)
            step, best = profile.reach * rng.uniform(-1, 1), elite
            for sign in (1, -1):
                x = list(elite["x"])
                x[gene] += sign * step
                f = score(clip(x), fold)
                if f < best["f"]:
                    best = {**elite, "x": np.array(clip(x)), "f": f}
            elite.update(best)
        new, pool = pop[:E], list(pop)
        while len(new) < size:
            if len(pool) <= 2:
                x = rng.random(D)
                new.append({"x": x, "f": score(x, fold), "m": np.zeros(D)})
                continue
            a, b, c = (pool[k] for k in choose_mates(len(pool), rng))
            r = rng.random(D)
            crossed = np.array([r[j] * a["x"][j] + (1 - r[j]) * b["x"][j] for j in range(D)])
            x = crossed.copy()
            if profile.momentum:
                for parent in (a, b):
                    if "born" in parent:
                        x = x + rng.random(D) * parent["m"]
            e, x = (a["e"] + b["e"]) / 2, clip(x)
            hit, steps = rng.random(D), rng.uniform(-1, 1, D)
            x = clip(x[j] + steps[j] * e if hit[j] < (e * (D - 1) + 1) / D else x[j] for j in range(D))
            u, v, w = rng.random(3)
            x = clip(
                x[j] + (1 - w) * (u * ((a["x"][j] + b["x"][j]) / 2 - x[j])) + w * (v * (c["x"][j] - x[j]))
                for j in range(D)
            )
            child = {"x": np.array(x), "f": score(x, fold), "m": np.array(x) - crossed, "born": True}
            new.append(child)
            if profile.shrinking:
                pool = [p for p in pool if not ((p is a or p is b) and p["f"] > child["f"])]
        pop = settled(new, True)
    return np.array(asked), folds


VARIANTS = {
    **PROFILES,
    "momentum": replace(FAITHFUL, momentum=True),
    "stale": replace(FAITHFUL, rescored=False, elites=1, reach=0.5),
    "batched": replace(FAITHFUL, shrinking=False, folds=3),
    "momentum in batches": replace(SOUND, momentum=True, folds=2),
}


@pytest.mark.parametrize("subsets", [False, True])
@pytest.mark.parametrize("profile", VARIANTS.values(), ids=VARIANTS)
def test_whole_runs_are_those_of_loops(profile, subsets):
    n_eval = profile.evaluations(5, 9, subsets=subsets)
    for seed in (1, 2):
        _, batches = run(Bowl(subsets=subsets), n_eval, seed, pop_size=9, profile=profile)
        X, folds = reference(Bowl(subsets=subsets), profile, seed, 9, 5)
        assert len(X) == n_eval
        np.testing.assert_allclose(points(batches), X, rtol=1e-9, atol=1e-12)
        assert subsets_of(batches) == folds


@each
@pytest.mark.parametrize("subsets", [False, True])
def test_ten_published_generations_cost_140_and_new_folds_3_each(profile, subsets):
    folds = subsets and profile == "faithful"
    spent = 140 + 27 * folds
    assert PROFILES[profile].evaluations(10, subsets=subsets) == spent
    algorithm, batches = run(Bowl(subsets=subsets), spent, profile=profile)
    assert len(points(batches)) == spent
    assert (algorithm.generation, algorithm.pool) == (10, None)


def test_only_problems_with_subsets_are_asked_for_folds():
    for subsets, profile, expected in ((False, FAITHFUL, {None}), (True, FAITHFUL, {0, 1}), (True, SOUND, {None})):
        _, batches = run(Bowl(subsets=subsets), 60, pop_size=6, profile=profile)
        assert set(subsets_of(batches)) == expected


def test_members_scored_on_all_data_are_scored_again_on_the_first_fold():
    known = minimize(Bowl(), BioTune(6), ("n_eval", 6), seed=1).pop
    _, batches = run(Bowl(subsets=True), 6, sampling=known, profile="faithful")
    np.testing.assert_array_equal(batches[0][0], known.get("X"))
    assert subsets_of(batches) == [0] * 6


def test_a_sound_generation_is_two_batches():
    _, batches = run(Bowl(), 10 + 3 * 13)
    assert [len(X) for X, _ in batches] == [10, *[6, 7] * 3]


def test_beaten_parents_mate_no_more_and_random_points_follow():
    for answer, batches in ((lambda k: 1 / (k + 2), [6, 1, 1, 1, 1, 3]), (lambda k: 1.0 + k, [6, *[1] * 7])):
        algorithm = BioTune(profile="faithful").setup(Bowl(), termination=("n_eval", 10**6), seed=4)
        told(algorithm, np.linspace(0.9, 1, 10))
        sizes = [len(told(algorithm, 1.0 if k == 0 else answer(k))) for k in range(len(batches))]
        assert sizes == batches
        assert (algorithm.generation, len(algorithm.pop)) == (1, 10)


def test_a_probe_takes_the_place_of_its_elite_only_if_it_is_better():
    algorithm = BioTune(5, profile="sound").setup(Bowl(), termination=("n_eval", 10**6), seed=4)
    members = told(algorithm, [0.3, 0.5, 0.1, 0.4, 0.2])
    asked = told(algorithm, [0.1, 0.1, 0.15, 0.12, 0.9, 0.29])  # of the elites with 0.1, 0.2 and 0.3
    np.testing.assert_array_equal(algorithm.pop.get("X"), [members[2], asked[3], asked[5]])
    np.testing.assert_array_equal(algorithm.pop.get("F")[:, 0], [0.1, 0.12, 0.29])


@each
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 99), n=st.integers(4, 12))
def test_laws_of_every_run(profile, seed, n):
    problem, best = Bowl(low=-2.0, high=6.0), []
    result = minimize(
        problem, BioTune(n, profile=profile), ("n_eval", 75), seed=seed, callback=lambda a: best.append(a.opt[0].F[0])
    )
    X = points(problem.asked)
    assert X.min() >= -2
    assert X.max() <= 6
    assert best == sorted(best, reverse=True)
    assert result.F[0] == min(problem.loss(x) for x in X)
    assert list(result.pop.get("F")[:, 0]) == [problem.loss(x) for x in result.pop.get("X")]


def test_ranks_alone_matter_to_the_sound_profile():
    (_, one), (_, other) = (run(Bowl(shape=shape)) for shape in (lambda f: f, lambda f: np.exp(9 * f) - 50))
    np.testing.assert_array_equal(points(one), points(other))


@each
def test_the_box_sets_the_length_of_steps(profile):
    (_, unit), (_, wide) = (run(problem, 75, profile=profile) for problem in (Bowl(), Bowl(low=-2.0, high=6.0)))
    np.testing.assert_allclose(points(wide), 8 * points(unit) - 2, rtol=1e-9, atol=1e-9)


def test_published_children_of_the_first_generation_stay_between_their_parents():
    beyond = {}
    for profile in (FAITHFUL, replace(FAITHFUL, early=True)):
        algorithm = BioTune(profile=profile).setup(Bowl(), termination=("n_eval", 10**6), seed=2)
        for _ in range(2):
            algorithm.next()
        parents = algorithm.parents.get("X")
        while algorithm.generation == 0:
            algorithm.next()
        children = np.array([m.X for m in algorithm.pop if not (parents == m.X).all(axis=1).any()])
        outside = (children < parents.min(axis=0) - 1e-12) | (children > parents.max(axis=0) + 1e-12)
        beyond[profile.early] = outside.any()
    assert beyond == {False: False, True: True}


# Problems that say what is selected.


@each
def test_probes_move_selected_variables_alone_and_first_members_select_some(profile):
    problem = Blocks()
    algorithm = BioTune(30, profile=profile).setup(problem, termination=("n_eval", 10**6), seed=1)
    algorithm.next()
    selected = [problem.selected(m.X) for m in algorithm.pop]
    assert all(each.any() for each in selected)
    uniform = np.random.default_rng(1).random((30, 4))
    assert not all(problem.selected(x).any() for x in uniform)  # some were drawn again, the others kept
    kept = [x for x in uniform if problem.selected(x).any()]
    assert all((x == algorithm.pop.get("X")).all(axis=1).any() for x in kept)
    elites = [m.X for m in algorithm.pop[:3]]
    for k, probe in enumerate(algorithm.ask().get("X")):
        moved = np.flatnonzero(probe != elites[k // 2])
        assert len(moved) <= 1  # none where the variable was on its bound
        assert problem.selected(elites[k // 2])[moved].all()


@pytest.mark.parametrize("sampling", [np.array([[0.1, 0.1, 0.1, 0.9]] * 5), LHS()])
def test_points_that_were_given_are_kept_though_they_select_nothing(sampling):
    problem = Blocks()
    algorithm = BioTune(5, sampling=sampling).setup(problem, termination=("n_eval", 10**6), seed=1)
    X = algorithm.ask().get("X")
    expected = sampling if isinstance(sampling, np.ndarray) else (
        LHS().do(problem, 5, random_state=np.random.default_rng(1)).get("X")
    )  # fmt: skip
    np.testing.assert_array_equal(X, expected)


def test_an_elite_that_selects_nothing_is_probed_all_the_same():
    _, batches = run(Blocks(), 13, pop_size=5, sampling=np.array([[0.1, 0.1, 0.1, 0.9]] * 5))
    assert [len(X) for X, _ in batches] == [5, 6, 2]
    assert ((batches[1][0] != [0.1, 0.1, 0.1, 0.9]).sum(axis=1) == 1).all()


def test_given_members_come_first_and_the_rest_select_something():
    row = np.array([[0.1, 0.1, 0.1, 0.9]])
    problem = Blocks()
    with EvaluationLog() as log:
        run_algorithm(problem, make("biotune", problem, pop_size=40, first=row), n_eval=40, seed=1, log=log)
    X = points(problem.asked)
    np.testing.assert_array_equal(X[0], row[0])
    assert [problem.selected(x).any() for x in X].count(False) == 1


# How well it does.


@each
def test_it_is_better_than_random_search_at_the_published_budget(profile):
    ours = [minimize(Bowl(6), BioTune(profile=profile), ("n_eval", 140), seed=seed).F[0] for seed in range(8)]
    bowl = Bowl(6)
    random = [min(bowl.loss(x) for x in np.random.default_rng(seed).random((140, 6))) for seed in range(8)]
    assert stats.mannwhitneyu(ours, random, alternative="less").pvalue < 0.001


# Refusals.


@pytest.mark.parametrize(
    ("make", "problem", "message"),
    [
        (lambda: BioTune(3), Bowl(), "at least 4, not 3"),
        (lambda: BioTune(2, profile=Profile(elites=1)), Bowl(), "at least 3, not 2"),
        (lambda: BioTune(profile="sond"), Bowl(), "did you mean 'sound'"),
        (lambda: BioTune(profile=Profile(elites=0)), Bowl(), "elites >= 1"),
        (lambda: BioTune(profile=Profile(reach=0)), Bowl(), "reach > 0"),
        (lambda: BioTune(profile=Profile(folds=0)), Bowl(), "folds >= 1"),
        (BioTune, Bowl(high=np.inf), "finite bounds"),
        (BioTune, Problem(n_var=2, n_obj=2, xl=0.0, xu=1.0), "2 objectives"),
    ],
)
def test_bad_input_is_refused(make, problem, message):
    with pytest.raises(UsageError, match=message):
        minimize(problem, make(), ("n_eval", 60), seed=1)


@pytest.mark.parametrize("least", [{"elites": 1}, {"reach": 1e-9}, {"folds": 1}, {"folds": None}])
def test_the_least_a_profile_needs_is_enough(least):
    assert minimize(Bowl(), BioTune(profile=Profile(**least)), ("n_eval", 60), seed=1).F[0] >= 0


def test_a_problem_that_never_selects_anything_is_refused():
    problem = Blocks()
    problem.selected = lambda x: np.zeros(4, dtype=bool)
    with pytest.raises(UsageError, match="none of 1000 random points"):
        minimize(problem, BioTune(), ("n_eval", 60), seed=1)


@pytest.mark.parametrize("before", [0, 1, 2])
def test_losses_that_are_not_finite_stop_the_search(before):
    algorithm = BioTune().setup(Bowl(), termination=("n_eval", 10**6), seed=1)
    for _ in range(before):
        algorithm.next()
    with pytest.raises(MopruneError, match="loss nan"):
        told(algorithm, np.nan)
