import pandas as pd
import pytest
from PIL import Image

from analysis import plots
from moprune.objectives import objective

FRONT = pd.DataFrame(
    {
        "solution": ["1-1", "1-2"],
        "error_test": [0.1, 0.2],
        "active_fraction_test": [0.5, 0.1],
        "ood_auroc_test": [0.9, 0.8],
    }
)
OBJECTIVES = [objective("error"), objective("active_fraction"), objective("ood_auroc")]


def test_each_pair_of_objectives_has_a_panel_with_units_and_every_point():
    figure = plots.front(FRONT, OBJECTIVES, controls={"unpruned": FRONT[:1]}, chosen=["1-2"])
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert "[" in axes.get_xlabel()
        assert "is better" in axes.get_ylabel()
        assert [len(points.get_offsets()) for points in axes.collections] == [2, 1, 1]
    assert figure.axes[0].get_xlabel().startswith("active fraction")  # cost is horizontal
    ring = figure.axes[0].collections[2]
    assert ring.get_offsets().tolist() == [[0.1, 0.2]]


def test_one_objective_and_two_can_be_drawn_too():
    assert len(plots.front(FRONT, OBJECTIVES[:1]).axes) == 1
    assert len(plots.front(FRONT, OBJECTIVES[:2]).axes) == 1


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_saved_pictures_are_whole_and_the_same_each_time(tmp_path, suffix):
    for name in ("a", "b"):
        plots.save(plots.front(FRONT, OBJECTIVES), tmp_path / f"{name}{suffix}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]
    if suffix == ".png":
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
        with Image.open(tmp_path / "a.png") as picture:
            assert min(picture.size) > 500


def test_useless_extremes_do_not_squeeze_the_axes_and_are_counted():
    error = [*(0.01 * i for i in range(30)), 5.0]
    many = pd.DataFrame({"solution": [str(i) for i in range(31)], "nll_test": error, "active_fraction_test": 0.5})
    objectives = [objective("nll"), objective("active_fraction")]
    low, high = plots.view(many, objectives[0], "test")
    assert (low, high) == (0.0, pytest.approx(0.285, abs=0.01))
    assert plots.view(many, objectives[0], "test", [many[30:]]) == (0.0, 5.0)  # what must be seen is
    assert plots.view(many[:30], objectives[0], "test") == (0.0, pytest.approx(0.29))  # nothing to be gained
    squeezed = plots.front(many, objectives).axes[0]
    assert squeezed.get_ylim()[1] < 0.5
    assert "1 of 31 points" in squeezed.get_title(loc="right")
    assert plots.front(many, objectives, whole=True).axes[0].get_ylim()[1] > 5


def test_the_staircase_holds_the_undominated_in_two_objectives():
    x, y = plots.staircase(FRONT, OBJECTIVES[0], OBJECTIVES[2], "test")
    assert (x.tolist(), y.tolist()) == ([0.1], [0.9])
    x, _ = plots.staircase(FRONT, OBJECTIVES[1], OBJECTIVES[0], "test")
    assert x.tolist() == [0.1, 0.5]


def test_a_single_objective_is_a_column_of_points_a_source():
    axes = plots.front(FRONT, OBJECTIVES[:1], controls={"unpruned": FRONT[:1]}, chosen=["1-1"]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["front of the search", "unpruned"]
    assert [len(points.get_offsets()) for points in axes.collections] == [2, 1, 1]
