"""The algorithms: single steps against loops with the same draws, whole runs against laws and SciPy."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.sampling.lhs import LHS
from pymoo.optimize import minimize
from scipy.optimize import differential_evolution

from moprune.algorithms.adaptive_de import (
    JADE,
    LSHADE,
    PROFILES,
    SHADE,
    TDE,
    LSHADEEpSin,
    Profile,
    SaDE,
    SASHADETriEnSin,
)
from moprune.algorithms.adaptive_de.base import Outcome
from moprune.algorithms.adaptive_de.budget import planned_evaluations
from moprune.algorithms.adaptive_de.sa_shade import TRIGONOMETRIC
from moprune.errors import MopruneError, UsageError
from moprune.testing import AlgorithmContract, toy_problem

FAITHFUL = PROFILES["faithful"]
ALGORITHMS = {
    "SaDE": lambda n, **o: SaDE(n, learning=3, **o),
    "JADE": JADE,
    "SHADE": SHADE,
    "LSHADE": LSHADE,
    "LSHADEEpSin": lambda n, **o: LSHADEEpSin(n, walk=2, **o),
    "TDE": lambda n, **o: TDE(n, trigonometric=0.4, **o),
    "faithful": lambda n, **o: SASHADETriEnSin(n, profile="faithful", **o),
    "sound": SASHADETriEnSin,
}
each = pytest.mark.parametrize("make", ALGORITHMS.values(), ids=ALGORITHMS)


class Function(Problem):
    def __init__(self, f, n_var=4, low=-2.0, high=5.0):
        super().__init__(n_var=n_var, n_obj=1, xl=low, xu=high)
        self.f, self.batches = f, []

    def _evaluate(self, X, out, *_, **__):
        self.batches.append(X.copy())
        out["F"] = self.f(X)


def sphere(X):
    return ((X - 1) ** 2).sum(axis=1)


def rastrigin(X):
    return (X**2 - 10 * np.cos(2 * np.pi * X) + 10).sum(axis=1)


def begun(algorithm, X, n_eval=1000, f=sphere):
    """Returns the algorithm after its first population, which is X."""
    algorithm.sampling = np.asarray(X)
    algorithm.setup(Function(f, X.shape[1]), termination=("n_eval", n_eval), seed=3)
    algorithm.next()
    return algorithm


def start(n=8, n_var=4, seed=0):
    return np.random.default_rng(seed).uniform(-2, 5, size=(n, n_var))


def advance(algorithm, losses):
    """Lets the algorithm ask for trials and gives them these losses; returns their vectors."""
    trials = algorithm.ask()
    trials.set("F", np.asarray(losses, float)[:, None])
    X = trials.get("X")
    algorithm.tell(infills=trials)
    return X


class Contract(AlgorithmContract):
    make, n_eval = None, 32

    def make_problem(self):
        return Function(rastrigin)

    def make_algorithm(self, problem):
        return type(self).make(8)


for _name, _make in ALGORITHMS.items():
    globals()[f"Test{_name}Contract"] = type(f"Test{_name}Contract", (Contract,), {"make": staticmethod(_make)})
del Contract


@each
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 99), n=st.integers(6, 14), f=st.sampled_from([sphere, rastrigin]))
def test_laws_of_every_run(make, seed, n, f):
    """Points stay within bounds, the best never worsens, and a generation is one batch."""
    problem, seen = Function(f), []
    algorithm = make(n)
    result = minimize(
        problem, algorithm, ("n_eval", 150), seed=seed, callback=lambda a: seen.append((a.opt[0].F[0], len(a.pop)))
    )  # fmt: skip
    points = np.concatenate(problem.batches)
    assert points.min() >= -2
    assert points.max() <= 5
    assert len(problem.batches[0]) == n
    best = [b for b, _ in seen]
    assert best == sorted(best, reverse=True)
    assert best[0] == f(problem.batches[0]).min()
    assert result.F[0] == f(points).min()
    assert 150 <= len(points) < 150 + n
    assert result.algorithm.asked == len(points)
    np.testing.assert_allclose(result.pop.get("F")[:, 0], f(result.pop.get("X")))


@each
def test_given_members_come_first_and_the_rest_is_drawn(make):
    X = start(3)
    problem = Function(sphere)
    algorithm = make(8, sampling=X).setup(problem, termination=("n_eval", 40), seed=1)
    algorithm.next()
    np.testing.assert_array_equal(problem.batches[0][:3], X)
    assert problem.batches[0].shape == (8, 4)
    np.testing.assert_array_equal(algorithm.pop[:3].get("X"), X)


@each
def test_an_optimum_that_was_given_is_kept(make):
    X = start(8)
    X[5] = 1.0
    result = minimize(Function(sphere), make(8, sampling=X), ("n_eval", 100), seed=1)
    assert result.F[0] == 0
    np.testing.assert_array_equal(result.X, np.ones(4))


def test_evaluated_members_are_not_scored_again_nor_changed():
    pop = Population.new("X", start(6), "F", np.arange(6.0)[:, None])
    for individual in pop:
        individual.evaluated = {"F", "G", "H"}
    problem = Function(sphere)
    algorithm = JADE(sampling=pop).setup(problem, termination=("n_eval", 20), seed=1)
    algorithm.next()
    assert not problem.batches
    np.testing.assert_array_equal(algorithm.pop.get("F")[:, 0], np.arange(6))
    algorithm.next()
    assert all("n_gen" not in individual.data for individual in pop)
    np.testing.assert_array_equal(pop.get("X"), start(6))


def test_sampling_may_be_an_operator():
    algorithm = SHADE(9, sampling=LHS()).setup(Function(sphere), termination=("n_eval", 20), seed=1)
    algorithm.next()
    cells = np.sort(np.floor((algorithm.pop.get("X") + 2) / 7 * 9), axis=0)
    np.testing.assert_array_equal(cells, np.tile(np.arange(9)[:, None], 4))


def test_defaults_of_population_sizes():
    sizes = {}
    for algorithm in (SaDE(), JADE(), SHADE(), LSHADE(), LSHADEEpSin(), TDE(), SASHADETriEnSin()):
        algorithm.setup(Function(sphere), termination=("n_eval", 300), seed=1)
        algorithm.next()
        sizes[type(algorithm).__name__] = len(algorithm.pop)
    assert sizes == {
        "SaDE": 50, "JADE": 100, "SHADE": 100, "LSHADE": 72, "LSHADEEpSin": 72, "TDE": 100, "SASHADETriEnSin": 10,
    }  # fmt: skip


def test_jade_steps_are_those_of_loops():
    X = start()
    algorithm = begun(JADE(p=0.3), X)
    mean_F = mean_CR = 0.5
    rng = copy.deepcopy(algorithm.random_state)
    x, f, archive = X.copy(), sphere(X), []
    for _ in range(4):
        CR = np.clip(mean_CR + 0.1 * rng.standard_normal(8), 0, 1)
        F = mean_F + 0.1 * rng.standard_cauchy(8)
        while (F <= 0).any():
            F[F <= 0] = mean_F + 0.1 * rng.standard_cauchy((F <= 0).sum())
        F = np.minimum(F, 1)
        best = np.argsort(f, kind="stable")[rng.integers(np.full(8, 2))]
        r1 = rng.integers(7, size=8)
        r1 += r1 >= np.arange(8)
        r2 = rng.integers(6 + len(archive), size=8)
        for i in range(8):
            for other in sorted((i, r1[i])):
                r2[i] += r2[i] >= other
        everyone = [*x, *archive]
        forced = rng.integers(4, size=8)
        drawn = rng.random((8, 4), dtype=np.float32)
        trials = x.copy()
        for i in range(8):
            for j in range(4):
                if drawn[i, j] < np.float32(CR[i]) or j == forced[i]:
                    v = x[i, j] + F[i] * (x[best[i], j] - x[i, j]) + F[i] * (x[r1[i], j] - everyone[r2[i]][j])
                    trials[i, j] = (x[i, j] - 2) / 2 if v < -2 else (x[i, j] + 5) / 2 if v > 5 else v
        losses = sphere(trials)
        np.testing.assert_allclose(advance(algorithm, losses), trials, rtol=1e-12)
        won = losses < f
        archive += list(x[won])
        if len(archive) > 8:
            archive = [archive[k] for k in sorted(rng.permutation(len(archive))[:8])]
        if won.any():
            mean_CR = 0.9 * mean_CR + 0.1 * CR[won].mean()
            mean_F = 0.9 * mean_F + 0.1 * (F[won] ** 2).sum() / F[won].sum()
        x[won], f[won] = trials[won], losses[won]
        assert algorithm.mean_CR == pytest.approx(mean_CR)
        assert algorithm.mean_F == pytest.approx(mean_F)
        np.testing.assert_allclose(algorithm.pop.get("X"), x, rtol=1e-12)
    assert mean_F != 0.5


def test_shade_and_l_shade_remember_what_improved():
    for algorithm, mean in ((SHADE(memory=2), "arithmetic"), (LSHADE(memory=2, n_eval=10**6), "lehmer")):
        begun(algorithm, start())
        before = algorithm.pop.get("F")[:, 0]
        losses = before - np.array(
            [1.0, 0, -1, 3, 0, 0, -2, 0]
        )  # 0 and 3 improve; 2 and 6 are worse; the rest are equal
        X = advance(algorithm, losses)
        F, CR, w = algorithm.F[[0, 3]], algorithm.CR[[0, 3]], np.array([0.25, 0.75])
        assert algorithm.memory_F.values[0] == pytest.approx((w * F**2).sum() / (w * F).sum())
        expected = (w * CR).sum() if mean == "arithmetic" else (w * CR**2).sum() / (w * CR).sum()
        assert algorithm.memory_CR.values[0] == pytest.approx(expected)
        np.testing.assert_array_equal(algorithm.past.rows, start()[[0, 3]])  # parents that were equalled are not kept
        kept = [2, 6]
        np.testing.assert_array_equal(algorithm.pop.get("X")[kept], start()[kept])
        others = [0, 1, 3, 4, 5, 7]  # an equal trial takes its parent's place
        np.testing.assert_array_equal(algorithm.pop.get("X")[others], X[others])


def test_l_shade_loses_its_worst_members_as_evaluations_are_done():
    sizes = []
    result = minimize(
        Function(rastrigin), LSHADE(40), ("n_eval", 2000), seed=1,
        callback=lambda a: sizes.append((a.evaluator.n_eval, len(a.pop), len(a.past.rows))),
    )  # fmt: skip
    for done, size, archived in sizes[1:]:
        assert size == pytest.approx(40 - 36 * min(done, 2000) / 2000, abs=0.5)
        assert archived <= round(2.6 * size)
    assert len(result.pop) == 4
    algorithm = begun(LSHADE(n_eval=8 + 8), start())
    advance(algorithm, [9.0, 1, 9, 2, 9, 3, 9, 4])
    f = algorithm.pop.get("F")[:, 0]
    assert len(f) == 4
    np.testing.assert_array_equal(np.sort(f), np.sort(np.minimum(sphere(start()), [9.0, 1, 9, 2, 9, 3, 9, 4]))[:4])


@pytest.mark.parametrize("make", [lambda **o: LSHADE(20, **o), lambda **o: LSHADEEpSin(20, walk=0, **o)])
@pytest.mark.parametrize("rate", [0.0, 0.5, 3.0])
def test_the_archive_is_as_large_as_said(make, rate):
    algorithm = begun(make(archive_rate=rate, n_eval=10**6), start(20))
    for _ in range(10):
        advance(algorithm, algorithm.pop.get("F")[:, 0] - 1)
    assert len(algorithm.past.rows) == rate * 20


def test_a_schedule_of_one_evaluation_is_one():
    assert planned_evaluations(1, None, "a search") == 1
    with pytest.raises(UsageError, match="give n_eval"):
        planned_evaluations(0, None, "a search")


@pytest.mark.parametrize("algorithm", [SHADE(8, memory=1), LSHADE(8, memory=1), LSHADE(8, p=1), SaDE(8, learning=1)])
def test_the_least_and_the_most_that_is_taken_is_enough(algorithm):
    assert minimize(Function(sphere), algorithm, ("n_eval", 60), seed=1).F[0] < sphere(start()).max()


@pytest.mark.parametrize("algorithm", [LSHADE, LSHADEEpSin, SASHADETriEnSin])
def test_a_schedule_without_evaluations_is_refused(algorithm):
    with pytest.raises(UsageError, match="give n_eval"):
        minimize(Function(sphere), algorithm(), ("n_gen", 5), seed=1)
    assert minimize(Function(sphere), algorithm(n_eval=60), ("n_gen", 2), seed=1).F[0] > 0


def test_epsin_follows_a_sinusoid_in_the_first_half_only():
    algorithm = LSHADEEpSin(30, n_eval=3000, frequency=0.25, walk=0)
    begun(algorithm, start(30))
    kinds, G = set(), algorithm.generations
    while algorithm.asked < 3000:
        asked = algorithm.asked
        advance(algorithm, np.full(len(algorithm.pop), 1e9))
        g, F = algorithm.generation, algorithm.F
        if asked > 1500:
            assert algorithm.frequencies is None
            kinds.add("memory")
        elif algorithm.frequencies is None:
            np.testing.assert_allclose(F, 0.5 * (np.sin(np.pi / 2 * g + np.pi) * (G - g) / G + 1))
            kinds.add("decreasing")
        else:
            np.testing.assert_allclose(F, 0.5 * (np.sin(2 * np.pi * algorithm.frequencies * g) * g / G + 1))
            kinds.add("increasing")
    assert kinds == {"memory", "decreasing", "increasing"}
    assert algorithm.generation == pytest.approx(G, abs=1)


def test_epsin_walks_once_when_few_are_left():
    problem = Function(sphere)
    minimize(problem, LSHADEEpSin(40, walk=5), ("n_eval", 2000), seed=1)
    sizes = [len(batch) for batch in problem.batches]
    first = next(i for i, size in enumerate(sizes) if size == 10)
    assert sizes[first : first + 5] == [10] * 5
    assert sizes[first - 1] in (20, 21)
    assert sizes[first + 5] == 20
    assert 4 <= sizes[-1] <= 5


def test_the_walk_of_epsin_is_for_large_budgets():
    for n_eval, rounds in ((100, 0), (24_999, 0), (25_000, 250)):
        assert begun(LSHADEEpSin(20), start(20), n_eval=n_eval).rounds == rounds


def test_the_published_frequency_of_epsin_is_a_constant(monkeypatch):
    """The decreasing sinusoid of frequency 0.5 asks for the same points as F = 0.5 does."""
    asked = []
    for replaced in (False, True):
        if replaced:
            monkeypatch.setattr("moprune.algorithms.adaptive_de.epsin.decreasing", lambda *_: 1.0)
        problem = Function(sphere)
        minimize(problem, LSHADEEpSin(12), ("n_eval", 120), seed=1)
        asked.append(np.concatenate(problem.batches))
    np.testing.assert_allclose(*asked, rtol=1e-9)


def test_sade_learns_only_after_its_first_generations():
    algorithm = begun(SaDE(learning=2), start(20), n_eval=10**4)
    successes, trials, rates = np.zeros(4), np.zeros(4), [[], [], [], []]
    for _ in range(2):
        np.testing.assert_array_equal(algorithm.probabilities(), 0.25)
        np.testing.assert_array_equal(algorithm.mean_rates(), 0.5)
        before = algorithm.pop.get("F")[:, 0]
        losses = before + np.where(np.arange(20) % 3 == 0, -0.1, 1)
        advance(algorithm, losses)
        for k in range(4):
            own = algorithm.which == k
            successes[k] += (own & (losses < before)).sum()
            trials[k] += own.sum()
            rates[k] += list(algorithm.CR[own & (losses < before)])
    assert (trials == 10).all()
    S = successes / trials + 0.01
    np.testing.assert_allclose(algorithm.probabilities(), S / S.sum())
    np.testing.assert_allclose(algorithm.mean_rates(), [np.median(r) for r in rates])


@pytest.mark.parametrize("frequency", [0.5, 0.25])
def test_sa_shade_scale_factors_of_both_halves(frequency):
    profile = replace(FAITHFUL, frequency=frequency, period=10)
    algorithm = begun(SASHADETriEnSin(profile=profile), start(400), n_eval=10**6)
    for generation in range(20):
        g = generation % 10 + 1
        advance(algorithm, np.full(400, 1e9))
        if g < 5:
            down, up = algorithm.sinusoid == 0, algorithm.sinusoid == 1
            assert down.any()
            assert up.any()
            assert (down | up).all()
            expected = 0.6 * (np.sin(2 * np.pi * frequency * g + np.pi) * (10 - g) / 10 + 1)
            np.testing.assert_allclose(algorithm.F[down], expected)
            wave = np.sin(2 * np.pi * algorithm.frequencies * g) * g / 10
            np.testing.assert_allclose(algorithm.F[up], 0.6 * (wave + 1)[up])
        else:
            assert (algorithm.sinusoid == -1).all()
            assert algorithm.F.std() == pytest.approx(0.05, abs=0.01)
            assert algorithm.F.mean() == pytest.approx(0.6, abs=0.01)
        assert algorithm.CR.mean() == pytest.approx(0.8, abs=0.01)
        assert algorithm.CR.max() <= 0.99


def test_sa_shade_remembers_by_strategy_and_frequencies_only_where_they_were_used():
    algorithm = begun(SASHADETriEnSin(profile="faithful"), start(60), n_eval=10**6)
    before = algorithm.pop.get("F")[:, 0]
    gains = np.random.default_rng(1).uniform(-1, 1, 60)
    advance(algorithm, before - gains)
    for k in range(TRIGONOMETRIC):
        won = (algorithm.which == k) & (gains > 0)
        F, CR, w = algorithm.F[won], algorithm.CR[won], gains[won]
        assert algorithm.memory_F[k].values[0] == pytest.approx((w * F**2).sum() / (w * F).sum())
        assert algorithm.memory_CR[k].values[0] == pytest.approx((w * CR**2).sum() / (w * CR).sum())
        won &= algorithm.sinusoid == 1
        r, w = algorithm.frequencies[won], gains[won]
        assert algorithm.memory_frequency[k].values[0] == pytest.approx((w * r**2).sum() / (w * r).sum())
    s = np.array([((algorithm.which == k) & (gains > 0)).sum() for k in range(5)])
    t = np.bincount(algorithm.which, minlength=5)
    share = (s + 0.01) / (t + 0.01)
    np.testing.assert_allclose(algorithm.probabilities, share / share.sum())
    used = algorithm.which != TRIGONOMETRIC
    rates = [
        ((gains > 0) & used & (algorithm.sinusoid == a)).sum() / (used & (algorithm.sinusoid == a)).sum()
        for a in (0, 1)
    ]
    assert algorithm.probability_of_decreasing() == 0.5
    for _ in range(4):
        advance(algorithm, np.full(60, 1e9))
    successes, trials = algorithm.sinusoid_counts.totals()
    assert successes.sum() == pytest.approx(
        sum(r * (used & (algorithm.sinusoid == a)).sum() for a, r in enumerate(rates)), abs=60
    )
    S = successes / trials + 0.01
    assert algorithm.generation == 5
    assert algorithm.probability_of_decreasing() == pytest.approx(S[0] / S.sum())


def test_the_first_winner_alone_is_remembered():
    """The published code skips the update when only member 0 won: a fault that is not copied."""
    algorithm = begun(SASHADETriEnSin(profile=replace(FAITHFUL, trigonometric=0.0)), start())
    losses = np.full(8, 1e9)
    losses[0] = -1.0
    advance(algorithm, losses)
    k = algorithm.which[0]
    assert algorithm.memory_F[k].values[0] == pytest.approx(algorithm.F[0])
    assert algorithm.memory_F[k].next == 1


@pytest.mark.parametrize(
    ("option", "allowed", "refused"),
    [
        ("F", [1e-9, 1], [0, 1.01]),
        ("CR", [0, 1], [-0.01, 1.01]),
        ("trigonometric", [0, 1], [-0.01, 1.01]),
        ("trigonometric_cap", [0, 1], [-0.01, 1.01]),
        ("p_best", [None, 0, 1], [-0.01, 1.01]),
        ("frequency", [1e-9], [0]),
        ("memory", [1], [0]),
        ("learning", [1], [0]),
        ("period", [2], [1]),
        ("diversity_floor", [0], [-0.01]),
    ],
)
def test_a_profile_takes_what_its_options_say_and_no_more(option, allowed, refused):
    for value in allowed:
        assert getattr(Profile(**{option: value}), option) == value
    for value in refused:
        with pytest.raises(UsageError, match="a profile needs"):
            Profile(**{option: value})


def test_switches_of_a_profile():
    def run(**switches):
        algorithm = begun(SASHADETriEnSin(profile=replace(FAITHFUL, **switches)), start(40), n_eval=10**6)
        for _ in range(12):
            advance(algorithm, algorithm.pop.get("F")[:, 0] - np.random.default_rng(2).uniform(-1, 1, 40))
        return algorithm

    assert run(trigonometric=0.0).probabilities[TRIGONOMETRIC] == 0
    assert not (run(trigonometric=0.0).which == TRIGONOMETRIC).any()
    assert (run(sinusoids=False).sinusoid == -1).all()
    assert all((memory.values == 0.6).all() for memory in run(history=False).memory_F)
    np.testing.assert_allclose(run(adaptation=False).probabilities, 0.2)
    assert len(run(archive=True).past.rows) == 40
    assert not run().past.rows
    with pytest.raises(UsageError, match="F in"):
        Profile(F=0)
    with pytest.raises(UsageError, match="faithful"):
        SASHADETriEnSin(profile="faithfull")


def test_losses_above_the_best_make_the_trigonometric_mutation_blind_to_a_constant():
    X, asked = start(), {}
    for centred in (False, True):
        profile = replace(FAITHFUL, trigonometric=1.0, centred=centred, adaptation=False)
        asked[centred] = [
            begun(SASHADETriEnSin(profile=profile), X, f=lambda x, c=c: sphere(x) + c).ask().get("X")
            for c in (0.0, 64.0)
        ]
    np.testing.assert_allclose(*asked[True], atol=1e-9)
    assert np.abs(asked[False][0] - asked[False][1]).max() > 0.1


def test_the_diversity_floor_holds_the_members_apart():
    profile = replace(PROFILES["faithful"], diversity_floor=0.2, trigonometric=0.8)
    spread = {}
    for name, used in (("floor", profile), ("none", replace(profile, diversity_floor=0.0))):
        result = minimize(Function(sphere), SASHADETriEnSin(10, profile=used), ("n_eval", 600), seed=1)
        points = result.pop.get("X")
        apart = np.linalg.norm(points[:, None] - points[None], axis=2)[np.triu_indices(10, 1)]
        spread[name] = apart.mean()
    assert spread["none"] < 0.05 * spread["floor"]


def test_infinite_bounds_need_all_members():
    unbounded = Function(sphere, low=-np.inf, high=np.inf)
    result = minimize(unbounded, SASHADETriEnSin(sampling=start(), profile="faithful"), ("n_eval", 100), seed=1)
    assert result.F[0] < sphere(start()).min()
    with pytest.raises(UsageError, match="walk=0"):
        minimize(unbounded, LSHADEEpSin(sampling=start(), walk=1), ("n_eval", 100), seed=1)
    assert minimize(unbounded, LSHADEEpSin(sampling=start()), ("n_eval", 100), seed=1).F[0] < sphere(start()).min()
    with pytest.raises(UsageError, match="7 of 15"):
        minimize(unbounded, JADE(15, sampling=start()), ("n_eval", 100), seed=1)


def test_rand_1_bin_converges_as_scipys_does():
    """TDE without its trigonometric mutation is DE/rand/1/bin; both are run from the same points."""
    ours, theirs = [], []
    for seed in range(9):
        X = start(30, 5, seed)
        run = minimize(Function(rastrigin, 5), TDE(sampling=X, trigonometric=0.0), ("n_gen", 81), seed=seed)
        ours.append(run.F[0])
        scipys = differential_evolution(
            lambda x: rastrigin(x[None])[0], [(-2, 5)] * 5, strategy="rand1bin", mutation=0.5, recombination=0.9,
            init=X, maxiter=80, tol=0, atol=0, polish=False, updating="deferred", rng=np.random.default_rng(seed),
        )  # fmt: skip
        theirs.append(scipys.fun)
    assert np.median(np.log10(ours)) == pytest.approx(np.median(np.log10(theirs)), abs=0.5)


@pytest.mark.parametrize("make", [JADE, SHADE, LSHADE, SaDE], ids=lambda make: make.__name__)
def test_an_ill_conditioned_ellipsoid_is_solved(make):
    scales = 10 ** np.linspace(0, 6, 6)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    problem = Function(lambda X: (((X - 1) @ rotation) ** 2) @ scales, 6)
    assert minimize(problem, make(40), ("n_eval", 12000), seed=1).F[0] < 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JADE(3), "at least 4"),
        (lambda: JADE(0), "at least 4"),
        (lambda: SaDE(5), "at least 6"),
        (lambda: JADE(4, sampling=start()), "8 first members"),
        (lambda: JADE(sampling=start() + 9), "row 0"),
        (lambda: JADE(sampling=start(8, 3)), "row 0"),
        (lambda: JADE(sampling=np.full((5, 4), np.nan)), "row 0"),
        (lambda: JADE(blocks=np.zeros(3, int)), "4 numbers"),
        (lambda: JADE(p=0), "p in"),
        (lambda: SHADE(memory=0), "memory"),
        (lambda: LSHADE(p=2), "p in"),
        (lambda: LSHADEEpSin(walk=-1), "walk"),
        (lambda: TDE(F=0), "F > 0"),
        (lambda: SaDE(learning=0), "learning"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        minimize(Function(sphere), make(), ("n_eval", 100), seed=1)


def test_problems_that_cannot_be_searched_are_refused():
    for problem in (toy_problem(), Problem(n_var=3, n_obj=1), Problem(n_var=2, n_obj=1, n_ieq_constr=1, xl=0, xu=1)):
        with pytest.raises(UsageError, match="one objective without constraints"):
            minimize(problem, JADE(), ("n_eval", 100), seed=1)


@pytest.mark.parametrize("good", [0, 1])
def test_losses_that_are_not_finite_stop_the_search(good):
    problem = Function(lambda X: np.full(len(X), 1.0 if len(problem.batches) <= good else np.inf))
    with pytest.raises(MopruneError, match="loss inf"):
        minimize(problem, JADE(8), ("n_eval", 40), seed=1)


def test_an_outcome_names_the_parents_that_were_replaced():
    parents = [np.full(2, k) for k in range(3)]
    outcome = Outcome(np.array([True, False, True]), np.array([1.0, 0, 2]), parents)
    assert [row[0] for row in outcome.replaced()] == [0, 2]


def test_l_shade_beats_plain_differential_evolution_where_minima_are_many():
    """The medians lie ten orders of magnitude apart: one solves the problem, the other does not."""
    algorithms = [TDE(50, trigonometric=0.0), LSHADE()]
    medians = [
        np.median([minimize(Function(rastrigin, 5), algorithm, ("n_eval", 8000), seed=s).F[0] for s in range(3)])
        for algorithm in algorithms
    ]
    assert medians[1] < 1e-4 * medians[0]
