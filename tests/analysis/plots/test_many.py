import numpy as np
import pandas as pd
import pytest

from analysis import plots
from moprune.errors import UsageError
from moprune.objectives import objective

OBJECTIVES = [objective(name) for name in ("error", "active_fraction", "ood_auroc", "nll", "ece")]


def points(count, seed=1):
    generator = np.random.default_rng(seed)
    values = {f"{o.name}_{split}": generator.random(count) for o in OBJECTIVES for split in ("search", "test")}
    return pd.DataFrame({"solution": [f"{seed}-{i}" for i in range(count)], "seed": seed, **values})


CONTROLS = {"random masks": points(9, 2), "unpruned": points(1, 3)}


@pytest.mark.parametrize("members", [points(1), points(20)])
@pytest.mark.parametrize("count", [3, 4, 5])
def test_in_space_a_fourth_objective_is_colour(tmp_path, members, count):
    figure = plots.front_3d(members, OBJECTIVES[:count], controls=CONTROLS, chosen=["1-0"], title="T")
    assert len(figure.axes) == (1 if count == 3 else 2)
    axes = figure.axes[0]
    assert "error [share of images]" in axes.get_xlabel()
    assert "OOD AUROC" in axes.get_zlabel()
    assert ("not shown: ece" in figure.get_suptitle()) == (count == 5)
    plots.save(figure, tmp_path / "a.png")


@pytest.mark.parametrize("count", [1, 2])
def test_space_needs_three(count):
    with pytest.raises(UsageError, match="needs three objectives"):
        plots.front_3d(points(3), OBJECTIVES[:count])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_matrix_has_a_panel_for_each_pair_below_the_histograms(tmp_path, count):
    figure = plots.scatter_matrix(points(20), OBJECTIVES[:count], controls=CONTROLS, chosen=["1-0"])
    drawn = [axes for axes in figure.axes if axes.axison]
    assert len(drawn) == count * (count + 1) // 2
    assert sum(len(axes.patches) > 0 for axes in drawn) == count
    plots.save(figure, tmp_path / "a.png")


def test_positions_put_the_better_end_up_in_natural_units():
    frame = pd.DataFrame({"error_test": [0.1, 0.3, 0.2], "ood_auroc_test": [0.5, 0.9, 0.6], "ece_test": [0.2] * 3})
    (heights,), limits = plots.positions([frame], [OBJECTIVES[0], OBJECTIVES[2], OBJECTIVES[4]], "test")
    assert heights == pytest.approx(np.array([[1, 0, 0.5], [0, 1, 0.5], [0.5, 0.25, 0.5]]))
    assert limits[:2] == [(0.3, 0.1), (0.5, 0.9)]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("members", [points(1), points(20)])
def test_parallel_axes_have_a_line_a_member_and_the_baseline_dashed(tmp_path, count, members):
    figure = plots.parallel_coordinates(members, OBJECTIVES[:count], controls=CONTROLS, chosen=["1-0", "absent"])
    axes = figure.axes[0]
    assert len(axes.collections[0].get_segments()) == len(members)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["unpruned", "chosen"]
    assert len(axes.get_xticklabels()) == count
    plots.save(figure, tmp_path / "a.png")
