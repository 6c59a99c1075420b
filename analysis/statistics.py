"""Do algorithms differ? Paired tests over seeds, ranks over data sets, and sentences that claim no more than both show.

Seeds are paired by number: the same number is the same initial weights and batches in every run. A comparison of two
runs is Wilcoxon's signed-rank test with Holm's correction over all comparisons asked for at once; several runs over
several data sets are compared by Friedman's test and Nemenyi's (Demšar 2006, JMLR 7:1-30).

Measurements are tidy tables with the columns :data:`COLUMNS`, a row a value.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from moprune.errors import UsageError
from moprune.seeding import numpy_generator

COLUMNS = ("run", "data", "seed", "measure", "value")

Vector = NDArray[np.float64]


def smallest_p(pairs: int, comparisons: int = 1) -> float:
    """Returns the least two-sided p that a signed-rank test of so many pairs can reach, after Holm's correction."""
    return min(1.0, comparisons * 2.0 ** (1 - pairs))


def pairs_needed(comparisons: int = 1, alpha: float = 0.05) -> int:
    """Returns how many pairs a two-sided signed-rank test needs to reach ``alpha``: 6 for one comparison at 0.05."""
    return math.ceil(1 + math.log2(comparisons / alpha))


def holm(p: ArrayLike) -> Vector:
    """Returns p-values adjusted by Holm's step-down procedure (1979), in the order given."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def signed_rank(differences: ArrayLike) -> float:
    """Returns the two-sided p of Wilcoxon's signed-rank test.

    Exact up to 50 pairs without ties or zeros and up to 13 with them, else by the normal approximation. Zeros are
    ranked with the others and their ranks left out (Pratt 1959), so that pairs that are equal weaken the evidence
    rather than vanish. All zeros, or no pair, give 1.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="pratt", method="auto").pvalue)


def not_worse(differences: ArrayLike, margin: float) -> float:
    """Returns the one-sided p of Wilcoxon's signed-rank test that something is worse by the margin or more.

    A small p is evidence of non-inferiority: the median loss is below the margin. See :func:`signed_rank` for zeros.

    Args:
        differences: paired, ours less theirs, of a measure of which less is better.
        margin: the loss that would matter, >= 0.
    """
    shifted = np.asarray(differences, dtype=np.float64) - margin
    if not shifted.any():
        return 1.0
    return float(stats.wilcoxon(shifted, zero_method="pratt", alternative="less", method="auto").pvalue)


def rank_biserial(differences: ArrayLike) -> float:
    """Returns the matched-pairs rank-biserial correlation (Kerby 2014), from -1 (all negative) to 1 (all positive).

    It is the share of the signed-rank test's rank sum that lies with positive differences less that with negative
    ones, zeros ranked and left out as in :func:`signed_rank`. All zeros give 0.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if not differences.any():
        return 0.0
    ranks = stats.rankdata(np.abs(differences))
    return float((ranks * np.sign(differences)).sum() / ranks[differences != 0].sum())


def vargha_delaney(first: ArrayLike, second: ArrayLike) -> float:
    """Returns Vargha and Delaney's A12 (2000): the chance that a value of the first is larger, ties counted half."""
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return float(stats.mannwhitneyu(first, second, method="asymptotic").statistic / (len(first) * len(second)))


def median_interval(differences: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Returns a bootstrap interval of the median of paired differences (10,000 resamples, a generator of its own).

    Bias-corrected and accelerated (BCa); where ties leave its acceleration undefined, the plain percentiles. With
    fewer than 6 pairs, which resampling cannot stand for, both ends are NaN.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if len(differences) < pairs_needed():
        return math.nan, math.nan
    if (differences == differences[0]).all():
        return float(differences[0]), float(differences[0])
    methods: tuple[Literal["BCa", "percentile"], ...] = ("BCa", "percentile")
    for method in methods:
        with np.errstate(all="ignore"):
            found = _bootstrapped(differences, method, confidence, seed)
        if np.isfinite(found).all():
            break
    return found


def _bootstrapped(
    differences: Vector, method: Literal["BCa", "percentile"], confidence: float, seed: int
) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # looked at by the caller
        interval = stats.bootstrap(
            (differences,), np.median, n_resamples=10_000, confidence_level=confidence, method=method,
            rng=numpy_generator(seed, "bootstrap"),
        ).confidence_interval  # fmt: skip
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Comparison:
    """Two runs compared on one measure over pairs.

    Attributes:
        data: the data set, or ``""`` when the pairs are data sets.
        measure: what is compared.
        first: a run.
        second: another.
        minimise: whether less of the measure is better.
        unit: what the pairs are: ``seeds`` or ``data sets``.
        pairs: how many there are.
        median_first: median of the first run, in the measure's unit.
        median_second: of the second.
        difference: median of the paired differences, first - second, in the measure's unit.
        low: lower end of its 95% bootstrap interval; NaN below 6 pairs.
        high: upper end.
        wins: pairs in which the first is better.
        losses: pairs in which the second is better; the rest are equal.
        rank_biserial: effect size from -1 to 1; positive when the first is better.
        a12: chance that a value of the first is better than one of the second, whatever the pairs; ties count half.
        p: two-sided p of the signed-rank test.
        p_holm: the same after Holm's correction over the family.
        family: comparisons in the family.
        alpha: the level of the test.
    """

    data: str
    measure: str
    first: str
    second: str
    minimise: bool
    unit: str
    pairs: int
    median_first: float
    median_second: float
    difference: float
    low: float
    high: float
    wins: int
    losses: int
    rank_biserial: float
    a12: float
    p: float
    p_holm: float
    family: int
    alpha: float

    @property
    def verdict(self) -> str:
        """``too few`` pairs to tell, ``equal`` in every pair, ``better``, ``worse`` or ``no difference`` shown."""
        if smallest_p(self.pairs, self.family) > self.alpha:
            return "too few"
        if self.p_holm <= self.alpha:
            return "better" if self.rank_biserial > 0 else "worse"
        return "no difference" if self.wins or self.losses else "equal"

    def sentence(self) -> str:
        """Returns what the pairs show, in one sentence."""
        on = f"{self.measure} on {self.data}" if self.data else self.measure
        if self.verdict == "too few":
            return f"{on}: {self.too_few()} (median difference {self.difference:+.3g})."
        if self.verdict == "equal":
            return f"{on}: {self.first} and {self.second} are equal in all {self.over}."
        size = f"median difference {self.difference:+.3g}"
        if math.isfinite(self.low):
            size += f", 95% interval {self.low:+.3g} to {self.high:+.3g}"
        size += f"; p = {_p(self.p_holm)}" + (f", Holm over {self.family}" if self.family > 1 else "")
        if self.verdict == "no difference":
            return f"{on}: no difference between {self.first} and {self.second} that {self.over} can show ({size})."
        won = f"in {self.wins if self.verdict == 'better' else self.losses} of {self.over}"
        return f"{on}: {self.first} is {self.verdict} than {self.second} {won} ({size})."

    @property
    def over(self) -> str:
        """How many pairs of what, in words."""
        return f"{self.pairs} {self.unit.removesuffix('s') if self.pairs == 1 else self.unit}"

    def too_few(self) -> str:
        """Returns why so few pairs cannot show a difference, and how many can."""
        over = f" over {self.family} comparisons" if self.family > 1 else ""
        return (
            f"{self.over} cannot show a difference between {self.first} and {self.second}: the smallest "
            f"p they can reach{over} is {smallest_p(self.pairs, self.family):.2g}; it takes "
            f"{pairs_needed(self.family, self.alpha)}"
        )


def compare(
    measurements: pd.DataFrame, minimise: Mapping[str, bool], *, against: str | None = None, alpha: float = 0.05
) -> tuple[list[Comparison], list[str]]:
    """Compares every two runs on each data set and measure, paired by seed.

    Holm's correction is over all comparisons returned. A measure that a run does not have on a data set is not
    compared there.

    Args:
        measurements: a tidy table, see :data:`COLUMNS`.
        minimise: for each measure, whether less is better.
        against: the run that each other is compared with; by default every two.
        alpha: the level of the tests.

    Returns:
        The comparisons, and a line for each data set on which seeds were dropped because some run lacks them.

    Raises:
        UsageError: columns are missing, a value is not finite or given twice.
    """
    checked(measurements)
    found: list[Comparison] = []
    dropped: dict[str, None] = {}
    for (data, measure), rows in measurements.groupby(["data", "measure"], sort=False):
        table = _wide(rows, "seed")
        whole = table.dropna()
        if len(whole) < len(table):
            numbers = ", ".join(str(seed) for seed in table.index.difference(whole.index))
            dropped[f"{data}: seeds that some run lacks are left out: {numbers}"] = None
        found += _pairwise(whole, minimise[str(measure)], data=str(data), measure=str(measure), unit="seeds")
    return _corrected(found, against, alpha), list(dropped)


def compare_over_data(
    measurements: pd.DataFrame, minimise: Mapping[str, bool], *, against: str | None = None, alpha: float = 0.05
) -> list[Comparison]:
    """Compares every two runs on each measure, paired by data set: the medians over each run's seeds.

    Arguments and errors are those of :func:`compare`; data sets that some run lacks are left out.
    """
    checked(measurements)
    found = [
        comparison
        for measure in measurements["measure"].unique()
        for comparison in _pairwise(
            scores_by_data(measurements, measure), minimise[measure], data="", measure=measure, unit="data sets"
        )
    ]
    return _corrected(found, against, alpha)


def scores_by_data(measurements: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Returns a measure's medians over seeds, data sets x runs; data sets that some run lacks are left out."""
    return _wide(measurements[measurements["measure"] == measure], "data").dropna()


def scores_by_seed(measurements: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Returns a measure on one data set, seeds x runs; seeds that some run lacks are left out."""
    return _wide(measurements[measurements["measure"] == measure], "seed").dropna()


def checked(measurements: pd.DataFrame) -> None:
    """Checks that a table of measurements has what it takes.

    Raises:
        UsageError: columns are missing, a value is not finite or given twice.
    """
    missing = [name for name in COLUMNS if name not in measurements.columns]
    if missing:
        raise UsageError(f"measurements lack the columns {', '.join(missing)} (needed: {', '.join(COLUMNS)})")
    keys = list(COLUMNS[:-1])
    for fault, rows in (
        ("is not finite", ~np.isfinite(measurements["value"].to_numpy(float))),
        ("is given twice", measurements.duplicated(keys).to_numpy()),
    ):
        if rows.any():
            run, data, seed, measure = measurements.loc[rows, keys].iloc[0]
            raise UsageError(f"{measure} of {run} on {data}, seed {seed}, {fault}")


def _wide(measurements: pd.DataFrame, by: str) -> pd.DataFrame:
    """Returns values, ``by`` x runs in their order of appearance; of several the median."""
    table = measurements.pivot_table(index=by, columns="run", values="value", aggfunc="median", sort=False)
    return table.sort_index()


def _pairwise(table: pd.DataFrame, minimise: bool, *, data: str, measure: str, unit: str) -> list[Comparison]:
    found = []
    for a, b in combinations(table.columns, 2) if len(table) else ():
        first, second = table[a].to_numpy(float), table[b].to_numpy(float)
        differences = first - second
        gains = -differences if minimise else differences
        low, high = median_interval(differences)
        a12 = vargha_delaney(first, second)
        found.append(
            Comparison(
                data=data, measure=measure, first=str(a), second=str(b), minimise=minimise, unit=unit,
                pairs=len(table), median_first=float(np.median(first)), median_second=float(np.median(second)),
                difference=float(np.median(differences)), low=low, high=high,
                wins=int((gains > 0).sum()), losses=int((gains < 0).sum()),
                rank_biserial=rank_biserial(gains), a12=1 - a12 if minimise else a12,
                p=(p := signed_rank(differences)), p_holm=p, family=1, alpha=0.05,
            )
        )  # fmt: skip
    return found


def _corrected(comparisons: list[Comparison], against: str | None, alpha: float) -> list[Comparison]:
    if against is not None:
        comparisons = [each for each in comparisons if against in (each.first, each.second)]
    adjusted = holm([each.p for each in comparisons])
    return [
        replace(each, p_holm=float(p), family=len(comparisons), alpha=alpha)
        for each, p in zip(comparisons, adjusted, strict=True)
    ]


@dataclass(frozen=True)
class Ranking:
    """Runs ranked on several data sets (or seeds) by one measure: Friedman's test and Nemenyi's.

    Attributes:
        measure: what they are ranked by.
        unit: what they are ranked on: ``data sets`` or ``seeds``.
        blocks: how many of those.
        ranks: mean rank of each run, best (1) first.
        statistic: Friedman's chi-square, corrected for ties.
        p: its p.
        f_statistic: Iman and Davenport's F, which is less conservative; infinite where all blocks agree.
        f_p: its p.
        critical_difference: mean ranks that differ by more differ at ``alpha`` (Nemenyi).
        pairwise: Nemenyi's p of each two runs, runs x runs, in the order of ``ranks``.
        alpha: the level of the tests.
    """

    measure: str
    unit: str
    blocks: int
    ranks: pd.Series
    statistic: float
    p: float
    f_statistic: float
    f_p: float
    critical_difference: float
    pairwise: pd.DataFrame
    alpha: float

    @property
    def smallest_p(self) -> float:
        """The least p that so many blocks can reach: all of them rank the runs alike."""
        runs = len(self.ranks)
        return float(stats.chi2.sf(self.blocks * (runs - 1), runs - 1))

    def groups(self) -> list[tuple[str, ...]]:
        """Returns the largest groups of runs, best first, within which no two differ by Nemenyi's test."""
        names, ranks = [str(name) for name in self.ranks.index], self.ranks.to_numpy()
        found: list[tuple[str, ...]] = []
        for i in range(len(names)):
            group = tuple(names[j] for j in range(i, len(names)) if ranks[j] - ranks[i] <= self.critical_difference)
            if len(group) > 1 and not (found and set(group) <= set(found[-1])):
                found.append(group)
        return found

    def sentence(self) -> str:
        """Returns what the ranks show, in one sentence."""
        on = f"{self.measure}: "
        order = ", ".join(f"{name} {rank:.2f}" for name, rank in self.ranks.items())
        test = f"Friedman chi2 = {self.statistic:.2f}, p = {_p(self.p)}; mean ranks {order}"
        if self.smallest_p > self.alpha:
            return (
                f"{on}{self.blocks} {self.unit} cannot show a difference between {len(self.ranks)} runs: the smallest "
                f"p they can reach is {self.smallest_p:.2g} (mean ranks {order})."
            )
        if self.p > self.alpha:
            return f"{on}no difference between the runs that {self.blocks} {self.unit} can show ({test})."
        better = [
            f"{a} is better than {b}"
            for a, b in combinations(self.ranks.index, 2)
            if self.ranks[b] - self.ranks[a] > self.critical_difference
        ]
        by_pairs = ", ".join(better) if better else "which of them cannot be told"
        return (
            f"{on}the runs differ over {self.blocks} {self.unit} ({test}); by Nemenyi's test (critical difference "
            f"{self.critical_difference:.2f}) {by_pairs}."
        )


def rank(
    scores: pd.DataFrame, *, minimise: bool, measure: str = "", unit: str = "data sets", alpha: float = 0.05
) -> Ranking:
    """Ranks runs by Friedman's test and compares each two by Nemenyi's (Demšar 2006, section 3.2.2).

    Args:
        scores: blocks x runs, at least 2 x 3, see :func:`scores_by_data`.
        minimise: whether less is better.
        measure: the name of what is ranked.
        unit: what the blocks are.
        alpha: the level of the tests.

    Raises:
        UsageError: there are fewer blocks or runs.
    """
    blocks, runs = scores.shape
    if blocks < 2 or runs < 3:
        raise UsageError(f"Friedman's test needs 2 {unit} and 3 runs; there are {blocks} and {runs}")
    values = scores.to_numpy(float) if minimise else -scores.to_numpy(float)
    means = pd.Series(stats.rankdata(values, axis=1).mean(axis=0), index=scores.columns).sort_values(kind="stable")
    if (values == values[:, :1]).all():  # SciPy divides zero by zero
        statistic, p = 0.0, 1.0
    else:
        statistic, p = (float(each) for each in stats.friedmanchisquare(*values.T))
    unexplained = blocks * (runs - 1) - statistic
    f = (blocks - 1) * statistic / unexplained if unexplained > 1e-9 else math.inf
    error = math.sqrt(runs * (runs + 1) / (6 * blocks))
    distances = np.abs(means.to_numpy()[:, None] - means.to_numpy())
    # Nemenyi's q is the studentized range over the square root of 2, with infinitely many degrees of freedom.
    nemenyi = stats.studentized_range.sf(distances / error * math.sqrt(2), runs, np.inf)
    quantile = float(stats.studentized_range.ppf(1 - alpha, runs, np.inf)) / math.sqrt(2)
    return Ranking(
        measure=measure, unit=unit, blocks=blocks, ranks=means, statistic=statistic, p=p, f_statistic=f,
        f_p=float(stats.f.sf(f, runs - 1, (runs - 1) * (blocks - 1))), critical_difference=quantile * error,
        pairwise=pd.DataFrame(nemenyi, index=means.index, columns=means.index), alpha=alpha,
    )  # fmt: skip


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "under 0.001"
