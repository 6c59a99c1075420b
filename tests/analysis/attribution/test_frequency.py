from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

from analysis.attribution import frequency, randomised
from analysis.attribution.frequency import by_seed, count_distribution, over_seeds, two_sided
from moprune.errors import UsageError

UNITS = 40
NAMES = [f"feature {i}" for i in range(UNITS)]
LAYERS = [0] * UNITS


def random_masks(random, members, units=UNITS):
    sizes = random.integers(1, units, size=members)
    return np.stack([np.isin(np.arange(units), random.permutation(units)[:size]) for size in sizes])


def kin(random, members=20, units=UNITS):
    """Relatives: copies of one random ancestor, each with a few bits changed."""
    ancestor = random.random(units) < 0.4
    return ancestor ^ (random.random((members, units)) < 0.05)


class TestCountDistribution:
    def test_equal_shares_are_binomial(self):
        np.testing.assert_allclose(count_distribution(np.full(7, 0.3)), binom.pmf(np.arange(8), 7, 0.3))

    def test_unequal_shares_against_every_outcome(self):
        shares = np.array([0.1, 0.5, 0.9, 0.25])
        expected = np.zeros(5)
        for outcome in product((0, 1), repeat=4):
            expected[sum(outcome)] += np.prod(np.where(outcome, shares, 1 - shares))
        np.testing.assert_allclose(count_distribution(shares), expected)

    def test_it_is_the_chance_of_masks_at_random_positions(self):
        # One unit is in a mask of 3 of 10 with the hypergeometric probability of one success in one draw.
        one = hypergeom.pmf(1, 10, 3, 1)
        np.testing.assert_allclose(count_distribution(np.array([3 / 10])), [1 - one, one])

    def test_nothing_observed(self):
        np.testing.assert_array_equal(count_distribution(np.empty(0)), [1.0])


class TestBySeed:
    def test_frequencies_and_expectation(self):
        masks = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool)
        table = by_seed({7: masks}, list("abcd"), [0] * 4)
        assert table["frequency"].tolist() == [1.0, 0.5, 0.0, 0.0]
        assert set(table["expected"]) == {0.375}
        assert set(table["seed"]) == {7}

    def test_unrelated_masks_lie_within_the_band(self):
        random = np.random.default_rng(0)
        tables = [by_seed({0: random_masks(random, 30)}, NAMES, LAYERS) for _ in range(50)]
        inside = [((t["frequency"] >= t["low"]) & (t["frequency"] <= t["high"])).mean() for t in tables]
        assert np.mean(inside) >= 0.95

    def test_each_layer_has_its_own_density(self):
        masks = np.array([[1, 1, 0, 0]], bool)
        assert by_seed({0: masks}, list("abcd"), [0, 0, 1, 1])["expected"].tolist() == [1, 1, 0, 0]


class TestOverSeeds:
    def test_p_values_against_every_assignment(self):
        # Two units, five seeds: each seed's profile is dealt out in one of two ways.
        random = np.random.default_rng(3)
        masks = {seed: random.random((4, 2)) < 0.5 for seed in range(5)}
        profiles = np.stack([each.mean(0) for each in masks.values()])
        sums = np.array(
            [sum(p[i] for p, i in zip(profiles, dealt, strict=True)) for dealt in product((0, 1), repeat=5)]
        )
        table = over_seeds(masks, ["a", "b"], [0, 0])
        for unit in range(2):
            observed = profiles[:, unit].sum()
            tail = min((sums >= observed - 1e-9).mean(), (sums <= observed + 1e-9).mean())
            assert table["p"][unit] == pytest.approx(min(1.0, 2 * tail), abs=0.01)

    def test_ancestry_alone_is_not_influence(self):
        # A false discovery in at most about one of twenty runs of relatives, though half their units lie outside the
        # band of chance.
        random = np.random.default_rng(1)
        found, outside = 0, []
        for _ in range(60):
            table = over_seeds({seed: kin(random) for seed in range(6)}, NAMES, LAYERS, draws=20_000)
            found += bool((table["q"] < 0.05).any())
            outside.append(((table["frequency"] < table["low"]) | (table["frequency"] > table["high"])).mean())
        assert found <= 8
        assert np.mean(outside) > 0.3

    def test_what_every_seed_keeps_is_found(self):
        random = np.random.default_rng(2)
        masks = {seed: kin(random) for seed in range(10)}
        for front in masks.values():
            front[:, 5] = True
            front[:, 9] = False
        table = over_seeds(masks, NAMES, LAYERS)
        assert set(table.index[table["q"] < 0.05]) == {5, 9}
        assert table["seeds"][5] == 10
        assert table["seeds"][9] == 0

    @pytest.mark.parametrize("seeds", [1, 4])
    def test_few_seeds_are_not_tested(self, seeds):
        random = np.random.default_rng(4)
        table = over_seeds({seed: kin(random) for seed in range(seeds)}, NAMES, LAYERS)
        assert table["p"].isna().all()
        assert table["q"].isna().all()
        assert (table["kin_high"] >= table["kin_low"]).all()

    def test_units_that_differ_between_seeds_are_not_tested(self):
        random = np.random.default_rng(5)
        table = over_seeds(
            {s: kin(random) for s in range(5)}, NAMES, [0] * 20 + [1] * 20, same=[True] * 20 + [False] * 20
        )
        assert table["p"][:20].notna().all()
        assert table["p"][20:].isna().all()

    def test_one_member_that_keeps_everything(self):
        table = over_seeds({s: np.ones((1, UNITS), bool) for s in range(5)}, NAMES, LAYERS)
        assert (table["p"] == 1).all()
        assert (table["seeds"] == 0).all()

    def test_the_same_twice_and_no_global_state(self):
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        masks = {seed: kin(np.random.default_rng(seed)) for seed in range(5)}
        assert over_seeds(masks, NAMES, LAYERS).equals(over_seeds(masks, NAMES, LAYERS))
        np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002

    @pytest.mark.parametrize("masks", [{}, {0: np.ones((2, 3), bool)}, {0: np.ones((0, UNITS), bool)}])
    def test_what_does_not_fit_is_refused(self, masks):
        with pytest.raises(UsageError):
            over_seeds(masks, NAMES, LAYERS)


def test_two_sided_counts_ties_and_itself():
    null = np.array([0.0, 0.0, 1.0, 2.0])
    np.testing.assert_allclose(two_sided(np.array([2.0, 0.0, 5.0]), null), [2 * 2 / 5, 1.0, 2 * 1 / 5])


class TestRandomised:
    def test_the_effect_of_a_linear_value_is_found(self):
        random = np.random.default_rng(6)
        masks = {seed: random_masks(random, 600) for seed in range(3)}
        values = {s: 0.5 - 0.1 * m[:, 3] + 0.3 * m.mean(1) + random.normal(0, 0.01, len(m)) for s, m in masks.items()}
        table = randomised.effects(masks, values, NAMES, LAYERS)
        # In place of another unit: all others together are worth as much less.
        assert table["effect"][3] == pytest.approx(-0.1, abs=0.01)
        assert table["effect_q"][3] < 1e-6

    def test_no_unit_is_found_where_only_the_size_matters(self):
        random = np.random.default_rng(7)
        small = []
        for _ in range(40):
            masks = {0: random_masks(random, 200)}
            values = {0: np.exp(-5 * masks[0].mean(1)) + random.normal(0, 0.1, 200)}
            small.append((randomised.effects(masks, values, NAMES, LAYERS)["effect_p"] < 0.05).mean())
        assert np.mean(small) == pytest.approx(0.05, abs=0.015)

    def test_units_that_never_change_have_no_effect(self):
        masks = {0: np.ones((10, 3), bool)}
        table = randomised.effects(masks, {0: np.arange(10.0)}, list("abc"), [0] * 3)
        assert table["effect"].isna().all()

    def test_a_constant_value_has_no_effect(self):
        masks = {0: random_masks(np.random.default_rng(8), 20)}
        assert randomised.effects(masks, {0: np.ones(20)}, NAMES, LAYERS)["effect"].isna().all()


def test_the_least_number_of_seeds_is_five():
    assert frequency.MIN_SEEDS == 5
