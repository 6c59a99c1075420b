"""Mean ranks on a line, with bars over those that cannot be told apart (Demšar 2006, figure 1)."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import COLOURS, styled
from analysis.statistics import Ranking
from moprune.errors import UsageError

# In units of the vertical axis, which is one line of text high.
_BAR = 0.45
_FIRST_NAME = 0.9


def critical_difference(rankings: Sequence[Ranking]) -> Figure:
    """Draws each ranking as a line from rank 1 (best, left) with the runs' mean ranks and the critical difference.

    Thick bars join runs that do not differ by Nemenyi's test.

    Args:
        rankings: a panel each, from top to bottom; at least one.
    """
    if not rankings:
        raise UsageError("there is no ranking to draw")
    heights = [_height(ranking) for ranking in rankings]
    with styled():
        figure = Figure(figsize=(6.4, 0.24 * sum(heights)), layout="constrained")
        panels = figure.subplots(len(rankings), 1, squeeze=False, height_ratios=heights)
        for axes, ranking, height in zip(panels[:, 0], rankings, heights, strict=True):
            _draw(axes, ranking, height)
    return figure


def _height(ranking: Ranking) -> float:
    return 5.2 + _BAR * len(ranking.groups()) + (len(ranking.ranks) + 1) // 2


def _draw(axes: Axes, ranking: Ranking, height: float) -> None:
    runs, groups = len(ranking.ranks), ranking.groups()
    axes.set_axis_off()
    axes.set_xlim(1 - 0.45 * (runs - 1), runs + 0.45 * (runs - 1))
    axes.set_ylim(height - 4.2, -4.2)
    axes.set_title(f"{ranking.measure}: mean rank over {ranking.blocks} {ranking.unit} (1 is best)", loc="left")
    axes.plot([1, runs], [0, 0], color="black", linewidth=1)
    for tick in range(1, runs + 1):
        axes.plot([tick, tick], [0, -0.35], color="black", linewidth=1)
        axes.text(tick, -0.5, str(tick), ha="center", va="bottom")
    _draw_ruler(axes, ranking)
    for i, group in enumerate(groups):
        y = _BAR * (i + 1)
        ends = [ranking.ranks[group[0]] - 0.02 * runs, ranking.ranks[group[-1]] + 0.02 * runs]
        axes.plot(ends, [y, y], color=COLOURS[0], linewidth=3.5, solid_capstyle="round")
    first = _FIRST_NAME + _BAR * len(groups)
    left = (runs + 1) // 2
    for i, (name, rank) in enumerate(ranking.ranks.items()):
        # The better half is named on the left, the other on the right, from the middle outwards downwards.
        on_left = i < left
        y = first + (i if on_left else runs - 1 - i)
        end = 1 - 0.06 * (runs - 1) if on_left else runs + 0.06 * (runs - 1)
        axes.plot([rank, rank, end], [0, y, y], color="black", linewidth=0.8)
        side = "right" if on_left else "left"
        axes.text(
            end + (-0.02 if on_left else 0.02) * runs, y, f"{name}  {rank:.2f}" if on_left else f"{rank:.2f}  {name}",
            ha=side, va="center",
        )  # fmt: skip


def _draw_ruler(axes: Axes, ranking: Ranking) -> None:
    length = ranking.critical_difference
    y = -2.3
    axes.plot([1, 1 + length], [y, y], color=COLOURS[5], linewidth=1.5)
    for x in (1, 1 + length):
        axes.plot([x, x], [y - 0.2, y + 0.2], color=COLOURS[5], linewidth=1.5)
    text = f"critical difference {length:.2f} (Nemenyi, alpha {ranking.alpha:g})"
    axes.text(1, y - 0.3, text, ha="left", va="bottom")
