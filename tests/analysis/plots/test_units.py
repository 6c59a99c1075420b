import numpy as np
import pandas as pd

from analysis import plots

CELLS = {
    ("1-0", "stem"): (0.0, "frozen"), ("1-0", "layer"): (0.0, "frozen"), ("1-0", "head"): (1.0, "full"),
    ("1-7", "stem"): (10.0, "full"), ("1-7", "layer"): (0.1, "norms"), ("1-7", "head"): (0.01, "4"),
}  # fmt: skip


def table(cells=CELLS):
    rows = [
        {"solution": solution, "label": f"{solution}: x", "unit": unit, "rate": rate, "grade": grade}
        for (solution, unit), (rate, grade) in cells.items()
    ]
    return pd.DataFrame(rows)


def test_colours_are_logarithms_of_rates_and_frozen_units_have_none():
    figure = plots.unit_rates(table(), below="member, error", chosen=["1-7"], title="t")
    axes, bar = figure.axes
    (image,) = axes.images
    drawn = image.get_array()
    np.testing.assert_array_equal(drawn.mask, [[True, False], [True, False], [False, False]])
    np.testing.assert_allclose(drawn.compressed(), [1, -1, 0, -2])
    assert image.get_clim() == (-2, 1)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["stem", "layer", "head"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1-0: x", "* 1-7: x"]
    assert "factor of the base rate" in bar.get_ylabel()
    assert axes.get_xlabel() == "member, error"


def test_what_is_not_tuned_in_full_says_so_in_its_cell():
    axes = plots.unit_rates(table(), below="").axes[0]
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {((1, 1), "n"), ((1, 2), "r4")}


def test_rates_that_are_all_alike_or_absent_can_be_drawn(tmp_path):
    alike = {key: (0.5 if rate else 0.0, grade) for key, (rate, grade) in CELLS.items()}
    low, high = plots.unit_rates(table(alike), below="").axes[0].images[0].get_clim()
    assert high - low >= 1
    frozen = dict.fromkeys(CELLS, (0.0, "frozen"))
    plots.save(plots.unit_rates(table(frozen), below=""), tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 0
