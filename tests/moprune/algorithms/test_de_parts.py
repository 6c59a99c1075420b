"""The parts differential evolution is made of, each against loops or a closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moprune.algorithms.adaptive_de import mutations, parameters
from moprune.algorithms.adaptive_de.adaptation import RecentCounts, universal_sampling
from moprune.algorithms.adaptive_de.budget import generations_within, reduced_size
from moprune.algorithms.adaptive_de.diversity import keep_apart, mean_distance
from moprune.algorithms.adaptive_de.gaussian_walk import GaussianWalk
from moprune.algorithms.adaptive_de.memory import Archive, SuccessMemory, lehmer_mean
from moprune.algorithms.adaptive_de.sa_shade import strategy_probabilities, towards
from moprune.algorithms.adaptive_de.sinusoids import decreasing, increasing
from moprune.algorithms.adaptive_de.trials import BinomialCrossover, Mutation, choose, make_trials, repair_midpoint
from moprune.errors import UsageError

N, D = 7, 5
EVERYTHING = (np.full(D, -np.inf), np.full(D, np.inf))


def rng(seed=0):
    return np.random.default_rng(seed)


def rows(count=N, seed=3):
    return list(rng(seed).normal(size=(count, D)))


def donors(mutation, x):
    return mutation.donors(x, slice(None))


def test_drawn_rows_are_distinct_and_uniform_over_what_is_left():
    taken = np.tile([[4, 1]], (20000, 1))
    drawn = mutations.distinct(rng(), taken, 6, 3)
    assert all(len({4, 1, *row}) == 5 for row in drawn)
    for column in drawn.T:
        np.testing.assert_allclose(
            np.bincount(column, minlength=6) / len(drawn), [0.25, 0, 0.25, 0.25, 0, 0.25], atol=0.02
        )


def test_rand_1_and_2_are_their_formulas():
    x, F = rows(), rng(1).random(N)
    for differences in (1, 2):
        mutation = mutations.rand(rng(2), F, differences)
        r = mutations.distinct(rng(2), np.arange(N)[:, None], N, 1 + 2 * differences)
        for i, donor in enumerate(donors(mutation, x)):
            expected = x[r[i, 0]] + F[i] * (x[r[i, 1]] - x[r[i, 2]])
            if differences == 2:
                expected = expected + F[i] * (x[r[i, 3]] - x[r[i, 4]])
            np.testing.assert_allclose(donor, expected, rtol=1e-12)


def test_current_to_pbest_draws_its_best_from_the_elite_and_its_last_from_population_or_archive():
    x, F = rows(N + 4), np.full(N, 0.7)
    ranked, seen = np.array([3, 5, 0, 1, 2, 4, 6]), set()
    for seed in range(300):
        mutation = mutations.current_to_pbest(rng(seed), F, ranked, np.full(N, 2), 4)
        for i, donor in enumerate(donors(mutation, x)):
            best, r1, r2 = mutation.plus[i, 0], mutation.plus[i, 1], mutation.minus[i, 1]
            assert best in (3, 5)
            assert len({i, r1, r2}) == 3
            assert r1 < N
            seen.add(r2)
            np.testing.assert_allclose(donor, x[i] + 0.7 * (x[best] - x[i]) + 0.7 * (x[r1] - x[r2]), rtol=1e-12)
    assert seen == set(range(N + 4))


def test_strategies_of_sade_are_their_formulas():
    x, F = rows(), rng(1).random(N)
    mutation = mutations.rand_to_best_2(rng(2), F, 4)
    r = mutations.distinct(rng(2), np.arange(N)[:, None], N, 4)
    for i, donor in enumerate(donors(mutation, x)):
        expected = x[i] + F[i] * (x[4] - x[i]) + F[i] * (x[r[i, 0]] - x[r[i, 1]]) + F[i] * (x[r[i, 2]] - x[r[i, 3]])
        np.testing.assert_allclose(donor, expected, rtol=1e-12)
    generator = rng(5)
    mutation, K = mutations.current_to_rand(rng(5), F), generator.random(N)
    r = mutations.distinct(generator, np.arange(N)[:, None], N, 3)
    for i, donor in enumerate(donors(mutation, x)):
        expected = x[i] + K[i] * (x[r[i, 0]] - x[i]) + F[i] * (x[r[i, 1]] - x[r[i, 2]])
        np.testing.assert_allclose(donor, expected, rtol=1e-12)


@pytest.mark.parametrize("losses", [np.arange(1.0, 8.0), np.zeros(N), np.array([0.0, 0, 0, 0, 5, -1, 0])])
def test_the_trigonometric_mutation_is_the_formula_of_the_paper(losses):
    x = rows()
    mutation = mutations.trigonometric(rng(2), losses)
    r = mutations.distinct(rng(2), np.arange(N)[:, None], N, 3)
    for i, donor in enumerate(donors(mutation, x)):
        (x1, x2, x3), f = (x[k] for k in r[i]), np.abs(losses[r[i]])
        p1, p2, p3 = f / f.sum() if f.sum() else np.full(3, 1 / 3)
        expected = (x1 + x2 + x3) / 3 + (p2 - p1) * (x1 - x2) + (p3 - p2) * (x2 - x3) + (p1 - p3) * (x3 - x1)
        np.testing.assert_allclose(donor, expected, atol=1e-12)


def test_trigonometric_weights_of_the_published_losses():
    weights = mutations.trigonometric_weights(np.array([[0.9419, 0.9482, 0.9639]]))
    np.testing.assert_allclose(weights, [[0.343, 0.337, 0.320]], atol=1e-3)


@pytest.mark.parametrize("archived", [None, 0, 3])
def test_strategies_that_move_towards_members(archived):
    x, F, best = rows(N + 3), rng(1).random(N), np.array([2, 2, 5, 5, 2, 2, 5])
    generator = rng(4)
    made = [donors(m, x) for m in towards(rng(4), F, best, archived)]
    i = np.arange(N)[:, None]
    r1 = mutations.distinct(generator, i, N)
    r2 = i if archived is None else mutations.distinct(generator, np.column_stack([i, r1]), N + archived)
    u = generator.random(N)
    for j in range(N):
        to_best, to_random = x[best[j]] - x[j], x[r1[j, 0]] - x[j]
        second = x[r1[j, 0]] - x[r2[j, 0]]
        steps = (to_random, to_best, to_best + second, u[j] * to_best + second)
        for donor, step in zip(made, steps, strict=True):
            np.testing.assert_allclose(donor[j], x[j] + F[j] * step, atol=1e-12)


def test_chosen_mutations_are_those_of_their_strategy():
    x, F, which = rows(), rng(1).random(N), np.array([0, 1, 2, 0, 1, 2, 1])
    several = [mutations.rand(rng(), F), mutations.rand_to_best_2(rng(1), F, 2), mutations.rand(rng(2), F, 2)]
    separately = np.stack([donors(m, x) for m in several])
    np.testing.assert_allclose(donors(choose(several, which), x), separately[which, np.arange(N)], rtol=1e-14)


def test_midpoint_repair():
    points = np.array([[-3.0, 0.5, 9.0]])
    repair_midpoint(points, np.array([[0.2, 0.2, 0.6]]), np.zeros(3), np.ones(3))
    np.testing.assert_allclose(points, [[0.1, 0.5, 0.8]])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.floats(0.01, 50), st.floats(0, 1))
def test_trials_are_within_bounds_and_made_of_parent_and_donor(seed, F, CR):
    x = [np.clip(row, -1, 1) for row in rows(seed=seed)]
    bounds = (np.full(D, -1.0), np.full(D, 1.0))
    trials = make_trials(
        x, mutations.rand(rng(seed), np.full(N, F)), np.full(N, CR), BinomialCrossover(), bounds, rng()
    )
    assert len(trials) == N
    assert np.abs(trials).max() <= 1
    if CR == 0:
        assert ((np.array(trials) != np.array(x)).sum(axis=1) <= 1).all()


def test_trials_do_not_depend_on_how_many_are_made_at_a_time(monkeypatch):
    x, F = rows(), rng(1).random(N)
    made = []
    for chunk in (1, 2 * D, 1 << 18):
        monkeypatch.setattr("moprune.algorithms.adaptive_de.trials._CHUNK", chunk)
        arguments = (mutations.rand(rng(), F), np.full(N, 0.5), BinomialCrossover(), EVERYTHING, rng(9))
        made.append(np.stack(make_trials(x, *arguments)))
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])


def test_crossover_rates_are_kept_and_one_variable_always_crosses():
    crossover, CR = BinomialCrossover(), np.repeat([0.0, 0.3, 1.0], 4000)
    forced = crossover.forced(len(CR), 20, rng())
    mask = crossover.mask(CR, forced, 20, rng(1))
    share = mask.reshape(3, 4000, 20).mean(axis=(1, 2))
    np.testing.assert_allclose(share, [1 / 20, 0.3 + 0.7 / 20, 1], atol=0.01)
    assert (mask[:4000].sum(axis=1) == 1).all()
    assert not BinomialCrossover(at_least_one=False).mask(np.zeros(50), None, 20, rng()).any()


def test_blocks_cross_as_a_whole():
    blocks = np.array([0, 0, 1, 2, 2])
    crossover = BinomialCrossover(blocks)
    mask = crossover.mask(np.full(500, 0.5), crossover.forced(500, D, rng()), D, rng(1))
    np.testing.assert_array_equal(mask[:, 0], mask[:, 1])
    np.testing.assert_array_equal(mask[:, 3], mask[:, 4])
    assert len(np.unique(mask, axis=0)) == 7  # all but none of the three
    with pytest.raises(UsageError, match="4 numbers"):
        crossover.units(4)
    with pytest.raises(UsageError, match="whole number"):
        BinomialCrossover(np.array([0.5]))


values = st.lists(st.floats(1e-6, 1), min_size=1, max_size=20)


@given(values, st.data())
def test_the_memory_holds_weighted_lehmer_means(successes, data):
    gains = data.draw(st.lists(st.floats(1e-9, 1e6), min_size=len(successes), max_size=len(successes)))
    memory, w = SuccessMemory(3), np.array(gains) / sum(gains)
    memory.record(np.array(successes), np.array(gains))
    expected = sum(a * s * s for a, s in zip(w, successes, strict=True)) / sum(
        a * s for a, s in zip(w, successes, strict=True)
    )
    np.testing.assert_allclose(memory.values, [expected, 0.5, 0.5], rtol=1e-9)
    assert min(successes) * (1 - 1e-9) <= memory.values[0] <= max(successes) * (1 + 1e-9)


def test_the_memory_is_written_in_turn_and_only_on_success():
    memory = SuccessMemory(2, arithmetic=True)
    memory.record(np.array([]), np.array([]))
    assert memory.next == 0
    for value in (0.1, 0.2, 0.3):
        memory.record(np.array([value, value + 0.4]), np.array([3.0, 1.0]))
    np.testing.assert_allclose(memory.values, [0.4, 0.3])


def test_a_terminal_slot_stays_so_and_gives_zero():
    memory = SuccessMemory(1, terminal=True)
    memory.record(np.zeros(2), np.ones(2))
    memory.record(np.ones(2), np.ones(2))
    assert np.isnan(memory.values).all()
    assert not parameters.normal(rng(), memory.values[np.zeros(5, int)]).any()
    plain = SuccessMemory(1)
    plain.record(np.zeros(2), np.ones(2))
    assert plain.values[0] == lehmer_mean(np.zeros(2), np.ones(2)) == 0


def test_the_archive_keeps_a_random_selection():
    kept = np.zeros(10)
    for seed in range(2000):
        archive = Archive()
        archive.add([np.full(1, k) for k in range(10)], 4, rng(seed))
        assert len(archive.rows) == 4
        kept[np.concatenate(archive.rows).astype(int)] += 1
    np.testing.assert_allclose(kept / 2000, 0.4, atol=0.04)


def test_laws_against_scipy():
    from scipy import stats

    drawn = parameters.cauchy(rng(), np.full(40000, 0.3), 0.1)
    law = stats.cauchy(0.3, 0.1)
    assert drawn.min() > 0
    assert drawn.max() == 1
    for at in (0.1, 0.3, 0.5, 0.9):
        assert (drawn <= at).mean() == pytest.approx((law.cdf(at) - law.cdf(0)) / law.sf(0), abs=0.01)
    drawn = parameters.normal_within(rng(), np.full(40000, 0.9), 0.1)
    truncated = stats.truncnorm(-9, 1, loc=0.9, scale=0.1)
    assert stats.kstest(drawn, truncated.cdf).pvalue > 1e-3
    clipped = parameters.normal(rng(), np.full(40000, 0.9), 0.1)
    assert (clipped == 1).mean() == pytest.approx(stats.norm.sf(1), abs=0.01)


@pytest.mark.parametrize(("n_var", "published"), [(10, 2163), (30, 2745), (50, 3022), (100, 3401)])
def test_generations_are_those_published_with_epsin(n_var, published):
    assert generations_within(18 * n_var, 4, 10000 * n_var) == published


@given(st.integers(4, 400), st.integers(0, 5000), st.integers(1, 5000))
def test_the_population_falls_linearly(initial, done, planned):
    assert reduced_size(initial, 4, 0, planned) == initial
    assert reduced_size(initial, 4, planned, planned) == 4
    size = reduced_size(initial, 4, min(done, planned), planned)
    assert 4 <= size <= initial
    assert size == pytest.approx(initial + (4 - initial) * min(done, planned) / planned, abs=0.5)


def test_the_published_frequency_makes_the_decreasing_sinusoid_a_constant():
    for g in range(1, 50):
        assert decreasing(0.5, g, 50) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose([decreasing(0.25, g, 8) for g in (1, 2, 3, 4)], [1 - 7 / 8, 1, 1 + 5 / 8, 1], atol=1e-12)
    np.testing.assert_allclose(increasing(np.array([0.25, 0.5]), 1, 4), [1.25, 1], atol=1e-12)


def test_counts_look_back_over_a_window():
    counts = RecentCounts(3, 2)
    np.testing.assert_allclose(counts.success_rates(), 0.01)
    for which, improved in (([0, 0, 0], [1, 1, 1]), ([0, 1, 1], [0, 1, 0]), ([1, 0, 0], [1, 1, 0])):
        counts.record(np.array(which), np.array(improved, bool))
    successes, trials = counts.totals()
    np.testing.assert_array_equal(successes, [1, 2, 0])
    np.testing.assert_array_equal(trials, [3, 3, 0])
    np.testing.assert_allclose(counts.success_rates(), [1 / 3 + 0.01, 2 / 3 + 0.01, 0.01])


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=5).filter(lambda p: sum(p) > 0.1),
    st.integers(1, 60),
    st.integers(0, 9),
)
def test_universal_sampling_is_as_even_as_can_be(p, count, seed):
    p = np.array(p) / sum(p)
    expected = p * count
    found = np.bincount(universal_sampling(rng(seed), p, count), minlength=len(p))
    assert (found >= np.floor(expected - 1e-6)).all()
    assert (found <= np.ceil(expected + 1e-6)).all()


def test_strategy_probabilities_and_their_cap():
    s, t = np.array([2.0, 0, 0, 0, 9]), np.array([10.0, 10, 0, 5, 10])
    k = [max((a + 0.01) / (b + 0.01), 0.01) for a, b in zip(s, t, strict=True)]
    np.testing.assert_allclose(strategy_probabilities(s, t, 1.0), np.array(k) / sum(k))
    capped = strategy_probabilities(np.array([0.0, 0, 0, 0, 50]), np.full(5, 50.0), 0.8)
    np.testing.assert_allclose(capped, [0.05] * 4 + [0.8])
    assert strategy_probabilities(s, t, 0.0)[-1] == 0


def test_members_keep_their_distance_unless_they_are_the_best():
    members = [np.array([float(k), 0.0]) for k in (0, 1, 2, 3)]
    losses = np.array([4.0, 3, 2, 1])
    trials = [np.array([1.05, 0.0]), np.array([1.9, 0.0]), np.array([3.02, 0.0]), np.array([5.0, 0.0])]
    admitted = keep_apart(members, losses, trials, np.array([3.5, 1.5, 0.5, 0.9]), np.array([1, 1, 1, 0], bool), 0.3)
    # 2 is the best of all; then 1, whose neighbour 2 has gone; then 0, whose neighbour 1 has gone.
    np.testing.assert_array_equal(admitted, [True, True, True, False])
    admitted = keep_apart(members, losses, trials, np.array([3.5, 1.5, 1.6, 0.9]), np.array([1, 1, 1, 0], bool), 0.3)
    assert not admitted.any()  # none is the best, and each is near a member that stays
    assert mean_distance(members) == pytest.approx(np.mean([1, 2, 3, 1, 2, 1]))


def test_a_gaussian_walk_has_the_spread_of_its_formula():
    start, leader, g = np.tile([3.0, -1.0], (40000, 1)), np.array([1.0, 0.5]), 7
    walk = GaussianWalk(start.copy(), leader, np.zeros(40000, int), g, 1)
    moved = walk.move((np.full(2, -1e9), np.full(2, 1e9)), rng())
    sigma = np.abs(np.log(g) / g * (start[0] - leader))
    np.testing.assert_allclose(moved.mean(axis=0), leader, atol=0.06)
    np.testing.assert_allclose(moved.var(axis=0), sigma**2 + leader**2 + start[0] ** 2, rtol=0.03)
    assert walk.left == 0
    walk.follow(np.r_[1.0, 0.5, np.ones(39998)])
    np.testing.assert_array_equal(walk.leader, moved[1])


def test_a_mutation_without_weight_is_its_base():
    x = rows()
    zero = Mutation(np.arange(N), np.zeros((N, 1), int), np.ones((N, 1), int), np.zeros((N, 1)))
    np.testing.assert_array_equal(donors(zero, x), np.stack(x))
