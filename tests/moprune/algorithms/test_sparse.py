"""Operators and samplings for sparse bits, against enumerations in plain Python and the laws they promise."""

import itertools
import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from moprune.algorithms import RankedSampling, SizePreservingCrossover, SparseCrossover, SparseMutation
from moprune.algorithms.scores import gumbel_top, log_weights
from moprune.errors import UsageError
from moprune.testing import toy_problem

SCORES = np.array([0.3, -1.0, 2.0, 0.3, 0.0, 5.0, -2.0])  # two of them tie
P = np.array([1, 1, 1, 1, 0, 0, 0], dtype=bool)
Q = np.array([1, 0, 0, 0, 1, 1, 0], dtype=bool)


def rng(seed=0):
    return np.random.default_rng(seed)


def pair_of_masks(seed, length):
    state = rng(seed)
    densities = state.random(2)
    return state.random((2, length)) < densities[:, None]


def as_key(x):
    return tuple(int(v) for v in x)


def one_bit_outcomes(x, off_places, on_places):
    """The chances of each result of one published step: coin, two drawn places, the better or worse of them flipped."""
    chances = Counter()
    for places, value in ((off_places, 0), (on_places, 1)):
        if not places:
            chances[as_key(x)] += 0.5
        for a, b in itertools.product(places, repeat=2):
            ahead, behind = (a, b) if SCORES[a] > SCORES[b] else (b, a)
            chosen = [a, b] if SCORES[a] == SCORES[b] else [ahead if value else behind]
            for place in chosen:
                y = list(as_key(x))
                y[place] = value
                chances[tuple(y)] += 0.5 / len(places) ** 2 / len(chosen)
    return chances


def assert_follows(drawn, chances):
    """A chi-squared test of draws (hashable) against chances; it fails by chance once in a million."""
    counts = Counter(drawn)
    assert set(counts) <= set(chances)
    keys = sorted(chances)
    expected = np.array([chances[k] for k in keys]) * len(drawn)
    assert chisquare([counts[k] for k in keys], expected).pvalue > 1e-6


def test_the_published_crossover_has_the_chances_of_its_pseudo_code():
    X = np.repeat(np.stack([P, Q])[:, None], 20_000, axis=1)
    (children,) = SparseCrossover(SCORES)._do(None, X, random_state=rng())
    off = [i for i in range(7) if P[i] and not Q[i]]
    on = [i for i in range(7) if Q[i] and not P[i]]
    assert_follows([as_key(c) for c in children], one_bit_outcomes(P, off, on))


@pytest.mark.parametrize("x", [P, np.zeros(7, bool), np.ones(7, bool)])
def test_the_published_mutation_has_the_chances_of_its_pseudo_code(x):
    mutated = SparseMutation(SCORES)._do(None, np.tile(x, (20_000, 1)), random_state=rng(1))
    off, on = [i for i in range(7) if x[i]], [i for i in range(7) if not x[i]]
    assert_follows([as_key(c) for c in mutated], one_bit_outcomes(x, off, on))


def test_operators_leave_the_parents_alone():
    X = np.stack([P, Q])[:, None]
    before = X.copy()
    for crossover in (SparseCrossover(SCORES, 1.5), SizePreservingCrossover(SCORES)):
        crossover._do(None, X, random_state=rng())
    SparseMutation(SCORES, 1.5)._do(None, X[0], random_state=rng())
    np.testing.assert_array_equal(X, before)


@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([1.2, 1.5, 3.0, math.inf]))
def test_a_sparse_child_lies_between_its_parents(seed, length, beta):
    p, q = pair_of_masks(seed, length)
    ((child,),) = SparseCrossover(rng(seed).normal(size=length), beta)._do(
        None, np.stack([p, q])[:, None], random_state=rng(seed)
    )
    assert not (child & ~(p | q)).any()
    assert (child | ~(p & q)).all()
    gained, lost = (child & ~p).sum(), (p & ~child).sum()
    assert min(gained, lost) == 0
    assert gained + lost <= (1 if beta == math.inf else max(1, p.sum() // 2))
    if (p != q).any() and (p & ~q).any() and (q & ~p).any():
        assert gained + lost >= 1


def test_the_number_of_bits_moved_follows_the_power_law():
    x = np.zeros(20_000, dtype=bool)
    x[:20] = True
    state, mutation, moved = rng(2), SparseMutation(np.zeros(20_000), 1.5), []
    for _ in range(10):
        sizes = mutation._do(None, np.tile(x, (400, 1)), random_state=state).sum(axis=1) - 20
        moved += [int(k) for k in sizes[sizes > 0]]
    law = np.arange(1.0, 11) ** -1.5  # at most half of the 20 bits on
    assert len(moved) == pytest.approx(2000, abs=200)
    assert_follows(moved, dict(zip(range(1, 11), law / law.sum(), strict=True)))


@pytest.mark.parametrize("density", [0.01, 0.3, 0.9])
def test_mutation_keeps_the_density_where_bit_flips_drift_to_one_half(density):
    X = np.tile(np.arange(1000) < density * 1000, (4000, 1))
    for beta in (math.inf, 3.0):
        sizes = SparseMutation(np.zeros(1000), beta)._do(None, X, random_state=rng(3)).sum(axis=1)
        ups, downs = (sizes > 1000 * density).sum(), (sizes < 1000 * density).sum()
        assert ups + downs == 4000
        assert ups == pytest.approx(2000, abs=200)


@given(st.integers(0, 10**6), st.integers(1, 40))
def test_size_preserving_children_share_out_what_their_parents_have(seed, length):
    p, q = pair_of_masks(seed, length)
    scores = rng(seed).integers(0, 4, length)
    (c,), (d,) = SizePreservingCrossover(scores)._do(None, np.stack([p, q])[:, None], random_state=rng(seed))
    np.testing.assert_array_equal(c & d, p & q)
    np.testing.assert_array_equal(c | d, p | q)
    assert c.sum() + d.sum() == p.sum() + q.sum()
    low, high = sorted((p.sum(), q.sum()))
    assert low <= c.sum() <= high


def test_a_child_has_every_size_from_one_parent_to_the_other_alike():
    p, q = np.arange(60) < 5, np.arange(60) >= 45
    X = np.repeat(np.stack([p, q])[:, None], 5000, axis=1)
    first, second = SizePreservingCrossover(np.zeros(60))._do(None, X, random_state=rng(4))
    assert_follows([int(n) for n in first.sum(axis=1)], dict.fromkeys(range(5, 16), 1 / 11))
    # Without scores every bit of the difference has the same chance, and the pair loses none.
    assert first[:, p | q].mean(axis=0) == pytest.approx(0.5, abs=0.03)
    assert second[:, p | q].mean(axis=0) == pytest.approx(0.5, abs=0.03)


def test_better_scores_go_to_the_child_that_draws():
    p, q = np.arange(40) < 10, np.arange(40) >= 30
    X = np.repeat(np.stack([p, q])[:, None], 3000, axis=1)
    first, _ = SizePreservingCrossover(np.arange(40.0))._do(None, X, random_state=rng(5))
    shares = first.mean(axis=0)
    assert shares[30:].min() > 0.6 > 0.4 > shares[:10].max()
    blind, _ = SizePreservingCrossover(np.arange(40.0), temperature=1e6)._do(None, X, random_state=rng(5))
    assert blind[:, p | q].mean(axis=0) == pytest.approx(0.5, abs=0.05)


def test_gumbel_draws_are_draws_one_after_another_in_proportion_to_weight():
    weights = np.array([1.0, 2.0, 3.0, 0.5, 4.0])
    chances = Counter()
    for order in itertools.permutations(range(5), 2):
        left, chance = weights.sum(), 1.0
        for place in order:
            chance *= weights[place] / left
            left -= weights[place]
        chances[tuple(sorted(order))] += chance
    state = rng(6)
    drawn = [tuple(sorted(gumbel_top(np.log(weights), 2, state).tolist())) for _ in range(20_000)]
    assert_follows(drawn, chances)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_gumbel_draws_as_many_as_asked_for(count):
    assert len(set(gumbel_top(np.zeros(5), count, rng()).tolist())) == count


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_weights_depend_on_the_order_of_scores_alone(scores):
    weights = log_weights(scores, 0.5)
    assert log_weights(np.exp(scores), 0.5) == pytest.approx(weights)
    for (a, u), (b, v) in itertools.combinations(zip(scores, weights, strict=True), 2):
        assert (a < b) == (u < v)
    if len(set(scores)) > 1:
        assert (weights.mean(), weights.std()) == pytest.approx((0, 2))
    else:
        assert not weights.any()


def sample(scores, count, seed=0, **options):
    return RankedSampling(scores, **options)._do(toy_problem(len(scores)), count, random_state=rng(seed))


def test_ranked_masks_are_the_best_bits_of_sizes_on_a_logarithmic_grid():
    scores = rng(7).permutation(1000).astype(float)
    X = sample(scores, 41)
    assert X.dtype == bool
    assert X.shape == (41, 1000)
    assert X[0].all()
    best = sorted(range(1000), key=lambda i: -scores[i])
    tops = [x for x in X[1:] if set(np.flatnonzero(x)) == set(best[: x.sum()])]
    sizes = sorted(int(x.sum()) for x in tops)
    wanted = sorted({round(10 ** (3 * i / 19)) for i in range(20)} - {1000})
    assert set(wanted) <= set(sizes)
    assert len(tops) < 30  # the rest are draws, of the same sizes
    assert {int(x.sum()) for x in X} == {*wanted, 1000}


def test_ranked_draws_favour_good_bits_and_more_so_the_lower_the_temperature():
    scores = np.arange(1000.0)
    means = []
    for temperature in (0.1, 1.0, 1e6):
        X = sample(scores, 41, temperature=temperature)
        draws = [x for x in X[1:] if x.sum() < 1000 and not x[-x.sum() :].all() and x.sum() > 20]
        means.append(np.mean([scores[x].mean() - (1000 - x.sum() / 2) for x in draws]))
    assert means[0] > means[1] > means[2]


@pytest.mark.parametrize("length", [1, 2, 5, 60])
def test_no_ranked_mask_comes_twice_and_none_is_empty(length):
    for seed in range(20):
        X = sample(np.zeros(length), 50, seed=seed)
        assert len(np.unique(X, axis=0)) == len(X)
        assert len(X) == 50 or length < 60
        assert X.any(axis=1).all()


def test_bits_that_tie_are_ranked_at_random():
    singles = {int(sample(np.zeros(30), 20, seed=seed)[1].argmax()) for seed in range(40)}
    assert len(singles) > 15


@pytest.mark.parametrize("kind", [RankedSampling, SparseCrossover, SparseMutation, SizePreservingCrossover])
def test_scores_that_cannot_be_used_are_refused(kind):
    with pytest.raises(UsageError, match="bit 1 is not finite"):
        kind([0.0, np.nan, 1.0])
    with pytest.raises(UsageError, match="one number a bit"):
        kind(np.zeros((2, 3)))
    with pytest.raises(UsageError, match="must be numbers"):
        kind(["a", "b"])


def test_parameters_out_of_range_are_refused():
    with pytest.raises(UsageError, match="exponent"):
        SparseMutation(SCORES, beta=1.0)
    with pytest.raises(UsageError, match="temperature"):
        RankedSampling(SCORES, temperature=0.0)
    with pytest.raises(UsageError, match=r"of shape \(12,\), not \(7,\)"):
        RankedSampling(SCORES)._do(toy_problem(12), 10, random_state=rng())


def test_a_million_bits_take_the_memory_of_a_few_genomes_beyond_the_population():
    length, pairs = 1_000_000, 20
    scores = rng().random(length, dtype=np.float32)
    operators = [SparseCrossover(scores, 1.5), SizePreservingCrossover(scores), SparseMutation(scores, 1.5)]
    X = np.zeros((2, pairs, length), dtype=bool)
    X[0, :, ::2] = X[1, :, ::3] = True
    for operator in operators:
        genomes = X[0] if isinstance(operator, SparseMutation) else X
        tracemalloc.start()
        result = operator._do(None, genomes, random_state=rng())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak - result.nbytes < 8 * length * 8 < pairs * length * 8
