"""Tests against published worked examples, scikit-posthocs, and exact counts by hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis import statistics
from analysis.plots.critical_difference import critical_difference
from analysis.plots.style import save
from moprune.errors import UsageError

# Demšar 2006, JMLR 7, table 6: AUC of four variants of C4.5 on 14 data sets.
C45 = pd.DataFrame(
    {
        "C4.5": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957],
        "C4.5+m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978],
        # The article ranks 0.975 before the 0.975 of the last column: a difference its three decimals hide.
        "C4.5+cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.0, 0.965, 0.614, 0.9751, 0.946],
        "C4.5+m+cf": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.0, 0.962, 0.669, 0.975, 0.970],
    }
)


def measurements(rows):
    return pd.DataFrame(rows, columns=list(statistics.COLUMNS))


def two_runs(first, second, *, measure="error", data="digits"):
    return measurements(
        [("A", data, seed, measure, value) for seed, value in first.items()]
        + [("B", data, seed, measure, value) for seed, value in second.items()]
    )


class TestFriedmanAndNemenyi:
    def test_demsars_worked_example(self):
        ranking = statistics.rank(C45, minimise=False)
        assert ranking.ranks.round(3).to_dict() == {
            "C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143,
        }  # fmt: skip
        n, k = C45.shape
        uncorrected = 12 * n / (k * (k + 1)) * ((ranking.ranks**2).sum() - k * (k + 1) ** 2 / 4)
        assert uncorrected == pytest.approx(9.28, abs=0.005)  # the article leaves the correction for ties out
        assert (n - 1) * uncorrected / (n * (k - 1) - uncorrected) == pytest.approx(3.69, abs=0.005)
        assert ranking.statistic == stats.friedmanchisquare(*C45.to_numpy().T).statistic > uncorrected
        assert ranking.f_statistic == pytest.approx(13 * ranking.statistic / (42 - ranking.statistic))
        assert ranking.p < ranking.alpha
        # The article has 1.25 and finds the difference 3.143 - 1.964 = 1.18 smaller.
        assert ranking.critical_difference == pytest.approx(1.25, abs=0.005)
        assert ranking.groups() == [("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")]
        assert "which of them cannot be told" in ranking.sentence()

    def test_critical_values_are_those_of_the_articles_table_5(self):
        published = {3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
        for k, q in published.items():
            scores = pd.DataFrame(np.arange(6 * k).reshape(6, k))
            found = statistics.rank(scores, minimise=True).critical_difference
            assert found == pytest.approx(q * math.sqrt(k * (k + 1) / 36), abs=2e-3)

    def test_pairwise_p_are_those_of_scikit_posthocs(self):
        posthocs = pytest.importorskip("scikit_posthocs")
        ours = statistics.rank(C45, minimise=False).pairwise
        theirs = posthocs.posthoc_nemenyi_friedman(C45).loc[ours.index, ours.columns]
        np.testing.assert_allclose(ours, theirs, atol=1e-6)

    def test_runs_that_differ_are_named(self):
        scores = pd.DataFrame({"bad": [3.0] * 10, "good": [1.0] * 10, "middling": [2.0] * 10})
        ranking = statistics.rank(scores, minimise=True, measure="error")
        assert ranking.f_statistic == math.inf
        assert ranking.f_p == 0
        assert "good is better than bad" in ranking.sentence()
        assert ranking.groups() == [("good", "middling"), ("middling", "bad")]

    def test_two_data_sets_are_too_few_for_three_runs_and_three_are_not(self):
        scores = pd.DataFrame({"a": [1.0, 1], "b": [2.0, 2], "c": [3.0, 3]})
        assert "cannot show" in statistics.rank(scores, minimise=True).sentence()
        three = statistics.rank(pd.concat([scores, scores[:1]]), minimise=True)
        assert three.p == pytest.approx(three.smallest_p)
        assert three.p < 0.05

    def test_equal_runs_have_equal_ranks(self):
        ranking = statistics.rank(pd.DataFrame(np.ones((5, 3))), minimise=True)
        assert (ranking.p, ranking.f_statistic, ranking.f_p) == (1.0, 0.0, 1.0)
        assert (ranking.ranks == 2).all()
        assert "no difference" in ranking.sentence()

    @pytest.mark.parametrize("shape", [(1, 3), (5, 2)])
    def test_too_little_to_rank_is_refused(self, shape):
        with pytest.raises(UsageError, match="Friedman's test needs"):
            statistics.rank(pd.DataFrame(np.zeros(shape)), minimise=True)

    def test_the_picture_names_every_run_and_is_the_same_each_time(self, tmp_path):
        ranking = statistics.rank(C45, minimise=False, measure="AUC")
        figure = critical_difference([ranking, ranking])
        texts = [text.get_text() for text in figure.axes[0].texts]
        for name in C45.columns:
            assert any(name in text.split("  ") for text in texts)
        assert any("critical difference 1.25" in text for text in texts)
        for name in ("a", "b"):
            save(critical_difference([ranking]), tmp_path / f"{name}.png")
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
        with pytest.raises(UsageError, match="no ranking"):
            critical_difference([])


class TestSignedRank:
    def test_demsars_worked_example(self):
        # Section 3.1.3: T = 12 with zeros shared out, z = -2.54; Pratt's treatment of zeros differs in the third digit.
        differences = (C45["C4.5"] - C45["C4.5+m"]).to_numpy()
        assert statistics.signed_rank(differences) == pytest.approx(2 * stats.norm.sf(2.54), abs=2e-3)

    @settings(max_examples=50)
    @given(st.lists(st.integers(-6, 6), min_size=1, max_size=8))
    def test_it_is_exact_whatever_ties_and_zeros(self, differences):
        d = np.array(differences, dtype=float)
        ranks = np.where(d == 0, 0, stats.rankdata(np.abs(d)))
        observed = ranks[d > 0].sum()
        sums = np.array([sum(r for r, s in zip(ranks, signs, strict=True) if s)
                         for signs in itertools.product([0, 1], repeat=len(d))])  # fmt: skip
        tail = min((sums <= observed).mean(), (sums >= observed).mean())
        assert statistics.signed_rank(d) == pytest.approx(min(1.0, 2 * tail))

    def test_no_pair_one_pair_and_equal_pairs_show_nothing(self):
        assert statistics.signed_rank([]) == 1
        assert statistics.signed_rank([0.3]) == 1
        assert statistics.signed_rank([0.0] * 10) == 1

    def test_the_smallest_p_is_reached_and_six_pairs_are_needed(self):
        for n in range(1, 12):
            assert statistics.signed_rank(np.arange(1.0, n + 1)) == pytest.approx(statistics.smallest_p(n))
        assert statistics.smallest_p(5) == 0.0625
        assert statistics.pairs_needed() == 6
        assert statistics.pairs_needed(comparisons=6) == 8  # 6 / 2 ** 7 < 0.05 <= 6 / 2 ** 6


class TestEffects:
    def test_rank_biserial_by_hand(self):
        assert statistics.rank_biserial([1, 2, -3, 4]) == pytest.approx((1 + 2 - 3 + 4) / 10)
        assert statistics.rank_biserial([0, 2, -2, 5]) == pytest.approx((2.5 - 2.5 + 4) / 9)  # the zero has rank 1
        assert statistics.rank_biserial([1, 2]) == 1
        assert statistics.rank_biserial([0, 0]) == 0

    @given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
    def test_a12_counts_pairs(self, first, second):
        counted = np.mean([(a > b) + 0.5 * (a == b) for a in first for b in second])
        assert statistics.vargha_delaney(first, second) == pytest.approx(counted)


class TestMedianInterval:
    def test_it_covers_the_median_about_as_often_as_it_says(self):
        generator = np.random.default_rng(1)
        hits = 0
        for _ in range(60):
            low, high = statistics.median_interval(generator.normal(1.0, 1.0, 15))
            hits += low <= 1.0 <= high
        assert 0.85 <= hits / 60 <= 1

    def test_it_repeats_itself_and_leaves_the_global_generator_alone(self):
        values = np.random.default_rng(0).normal(size=10)
        before = np.random.get_state()[1].tolist()  # noqa: NPY002 - that is what must not change
        assert statistics.median_interval(values) == statistics.median_interval(values)
        assert np.random.get_state()[1].tolist() == before  # noqa: NPY002

    def test_ties_do_not_break_it(self):
        low, high = statistics.median_interval([0.0, 0, 0, 0, 0, 0, 1, 1, 2, -1])
        assert -1 <= low <= 0 <= high <= 2
        assert statistics.median_interval([0.5] * 7) == (0.5, 0.5)
        assert statistics.median_interval([0.0] * 9 + [1.0])[0] == 0

    def test_few_pairs_have_none(self):
        assert all(math.isnan(end) for end in statistics.median_interval([1.0, 2, 3, 4, 5]))


class TestHolm:
    def test_a_hand_example(self):
        # 4 * 0.005, 3 * 0.01, 2 * 0.03, then no less than the one before.
        assert statistics.holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert statistics.holm([0.5, 0.6]).tolist() == [1, 1]
        assert statistics.holm([]).tolist() == []


class TestCompare:
    def test_better_is_said_in_the_measures_direction(self):
        low, high = {s: 0.1 + s / 1000 for s in range(1, 11)}, {s: 0.2 + s / 500 for s in range(1, 11)}
        for minimise, verdict in ((True, "better"), (False, "worse")):
            (found,), dropped = statistics.compare(two_runs(low, high), {"error": minimise})
            assert found.verdict == verdict
            assert (found.pairs, found.unit, dropped) == (10, "seeds", [])
            assert found.difference == pytest.approx(-0.1055)
            assert found.low <= found.difference <= found.high < 0
            assert found.p == found.p_holm == statistics.smallest_p(10)
            assert found.rank_biserial == (1 if minimise else -1)
            assert found.a12 == (1 if minimise else 0)
            said = found.sentence()
            assert f"A is {verdict} than B in 10 of 10 seeds" in said
            assert "-0.105" in said or "-0.106" in said

    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_too_few_seeds_conclude_nothing(self, n):
        seeds = range(n)
        (found,), _ = statistics.compare(
            two_runs(dict.fromkeys(seeds, 0.0), dict.fromkeys(seeds, 1.0)), {"error": True}
        )
        assert found.verdict == "too few"
        assert f"{n} {'seed' if n == 1 else 'seeds'} cannot show a difference between A and B" in found.sentence()
        assert f"is {2.0 ** (1 - n):.2g}; it takes 6" in found.sentence()

    def test_what_six_seeds_can_show_they_cannot_show_of_two_measures(self):
        low, high = {s: 0.1 * s for s in range(6)}, {s: 1 + 0.3 * s for s in range(6)}
        one = two_runs(low, high)
        assert statistics.compare(one, {"error": True})[0][0].verdict == "better"
        both = pd.concat([one, one.assign(measure="size")])
        found, _ = statistics.compare(both, {"error": True, "size": True})
        assert [each.verdict for each in found] == ["too few"] * 2
        assert "over 2 comparisons is 0.062; it takes 7" in found[0].sentence()

    def test_equal_runs_and_runs_without_a_clear_difference(self):
        same = dict.fromkeys(range(8), 0.5)
        (found,), _ = statistics.compare(two_runs(same, same), {"error": True})
        assert found.verdict == "equal"
        assert "equal in all 8 seeds" in found.sentence()
        mixed = {s: 0.5 + (-1) ** s * 0.1 for s in range(8)}
        (found,), _ = statistics.compare(two_runs(same, mixed), {"error": True})
        assert found.verdict == "no difference"
        assert "that 8 seeds can show" in found.sentence()

    def test_seeds_are_paired_by_number_and_lonely_ones_dropped_with_a_line(self):
        first, second = {s: s / 10 for s in range(1, 9)}, {s: s / 10 + 0.01 for s in range(12, 2, -1)}
        (found,), dropped = statistics.compare(two_runs(first, second), {"error": True})
        assert found.pairs == 6
        assert (found.difference, found.losses) == (pytest.approx(-0.01), 0)
        assert dropped == ["digits: seeds that some run lacks are left out: 1, 2, 9, 10, 11, 12"]

    def test_the_family_is_all_that_was_asked_for(self):
        generator = np.random.default_rng(0)
        rows = [(run, data, seed, "error", generator.normal())
                for run in "ABC" for data in ("x", "y") for seed in range(7)]  # fmt: skip
        found, _ = statistics.compare(measurements(rows), {"error": True})
        assert len(found) == 6
        np.testing.assert_allclose([c.p_holm for c in found], statistics.holm([c.p for c in found]))
        against, _ = statistics.compare(measurements(rows), {"error": True}, against="B")
        assert [(c.first, c.second, c.family) for c in against[:2]] == [("A", "B", 4), ("B", "C", 4)]

    def test_two_runs_over_data_sets_are_paired_by_data_set(self):
        rows = [(run, f"data {d}", seed, "error", d + seed / 10 + (run == "B") * 0.2)
                for run in "AB" for d in range(6) for seed in range(3)]  # fmt: skip
        (found,) = statistics.compare_over_data(measurements(rows), {"error": True})
        assert (found.unit, found.pairs, found.verdict) == ("data sets", 6, "better")
        assert found.difference == pytest.approx(-0.2)

    def test_bad_tables_are_refused(self):
        good = two_runs({1: 0.1}, {1: 0.2})
        for table, message in (
            (good.drop(columns="seed"), "lack the columns seed"),
            (good.assign(value=[0.1, math.nan]), "error of B on digits, seed 1, is not finite"),
            (pd.concat([good, good]), "error of A on digits, seed 1, is given twice"),
        ):
            with pytest.raises(UsageError, match=message):
                statistics.compare(table, {"error": True})
