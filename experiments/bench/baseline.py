"""Comparing the ratios of a run with those of an earlier one: has moprune become slower?

Rates depend on the machine and on what else it does; ratios of ways measured in turns far less.
"""

from dataclasses import dataclass

from experiments.bench.report import Report
from experiments.bench.rows import Row
from experiments.bench.timing import Spread
from moprune.errors import UsageError

TOLERANCE = 0.25
"""By what share a ratio may fall before that counts."""


@dataclass(frozen=True)
class Comparison:
    """One ratio in both runs.

    Attributes:
        row: its row's name.
        way: that moprune is compared with.
        before: the ratio of the baseline.
        now: the ratio of this run.
        slower: whether it fell by more than the tolerance, and beyond the spread of both.
    """

    row: str
    way: str
    before: Spread
    now: Spread
    slower: bool

    def __str__(self) -> str:
        change = self.now.median / self.before.median - 1
        said = "REGRESSION" if self.slower else "ok"
        return f"{self.row} over {self.way}: {self.before.median:.3g} -> {self.now.median:.3g} ({change:+.0%}) {said}"


def compare(run: Report, baseline: Report, tolerance: float = TOLERANCE) -> list[Comparison]:
    """Compares every ratio that is in both runs.

    Args:
        run: this run; each of its rows is in the baseline.
        baseline: the earlier one; may have more.
        tolerance: share by which a ratio may fall, in [0, 1).

    Raises:
        UsageError: a row that the baseline has not, or of other sizes; a tolerance out of range.
    """
    check_tolerance(tolerance)
    earlier = {row.name: row for row in baseline.rows}
    found = []
    for row in run.rows:
        if row.name not in earlier:
            raise UsageError(
                f"the baseline has no {row.name!r} but {', '.join(earlier)}; make it again with the same kinds"
            )
        before = earlier[row.name]
        _check_sizes(row, before)
        for way in row.ways.keys() & before.ways.keys():
            old, new = before.ways[way].ratio, row.ways[way].ratio
            found.append(Comparison(row.name, way, old, new, is_slower(old, new, tolerance)))
    return sorted(found, key=lambda each: (list(earlier).index(each.row), each.way))


def is_slower(before: Spread, now: Spread, tolerance: float) -> bool:
    """Returns whether a ratio fell by more than the tolerance, and the ranges of both do not meet."""
    return now.median < (1 - tolerance) * before.median and now.most < before.least


def check_tolerance(tolerance: float) -> None:
    """Refuses a tolerance that is none."""
    if not 0 <= tolerance < 1:
        raise UsageError(f"a tolerance of {tolerance} is no share; give 0 to below 1, such as {TOLERANCE}")


def _check_sizes(row: Row, before: Row) -> None:
    if row.sizes != before.sizes:
        names = [name for name in {**before.sizes, **row.sizes} if row.sizes.get(name) != before.sizes.get(name)]
        differ = ", ".join(f"{name} {before.sizes.get(name)} and {row.sizes.get(name)}" for name in names)
        raise UsageError(
            f"{row.name}: baseline and run differ in sizes ({differ}); ratios compare at equal sizes alone"
        )
