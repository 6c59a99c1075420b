import numpy as np
import pandas as pd
import pytest

from analysis import plots
from moprune.errors import UsageError
from moprune.objectives import objective

OBJECTIVES = [objective(name) for name in ("error", "active_fraction", "ood_auroc", "nll")]


def points(seeds, count):
    generator = np.random.default_rng(seeds * count)
    rows = seeds * count
    values = {f"{o.name}_{split}": generator.random(rows) for o in OBJECTIVES for split in ("search", "test")}
    seed = np.repeat(np.arange(1, seeds + 1), count)
    return pd.DataFrame({"solution": [f"{s}-{i}" for i, s in enumerate(seed)], "seed": seed, **values})


@pytest.mark.parametrize(("count", "panels"), [(1, 1), (2, 1), (3, 3), (4, 6)])
def test_each_member_is_tied_to_where_it_ended(tmp_path, count, panels):
    members = points(1, 8)
    figure = plots.search_to_test(members, OBJECTIVES[:count], chosen=["1-3"], title="T")
    assert len(figure.axes) == panels
    lines = figure.axes[0].collections[0].get_segments()
    assert len(lines) == 8
    assert lines[2][0][1] == pytest.approx(members["error_search"][2])
    assert lines[2][1][1] == pytest.approx(members["error_test"][2])
    plots.save(figure, tmp_path / "a.png")


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("count", "panels"), [(2, 1), (4, 6)])
def test_attainment_has_a_band_where_there_are_seeds(tmp_path, seeds, count, panels):
    sources = {"search": points(seeds, 9), "random masks": points(seeds, 7), "unpruned": points(seeds, 1)}
    figure = plots.attainment(sources, OBJECTIVES[:count])
    assert len(figure.axes) == panels
    for axes in figure.axes:
        assert len(axes.lines) == 2
        assert len(axes.patches) == (2 if seeds > 1 else 0)
    plots.save(figure, tmp_path / "a.png")


def test_attainment_of_equal_points_and_of_one_objective():
    same = points(2, 1).assign(error_test=0.2, active_fraction_test=0.4)
    low, high = plots.attainment({"search": same}, OBJECTIVES[:2]).axes[0].get_xlim()
    assert low < 0.4 < high
    with pytest.raises(UsageError, match="needs two objectives"):
        plots.attainment({"search": same}, OBJECTIVES[:1])


@pytest.mark.parametrize("picture", [plots.hypervolume_history, plots.operator_success])
@pytest.mark.parametrize("seeds", [1, 3])
def test_histories_have_a_line_a_source_and_a_band_over_seeds(tmp_path, picture, seeds):
    table = pd.DataFrame({"evaluations": [10, 20], "hypervolume": [0.1, 0.3], "entered": [0.5, 0.2], "front": [3, 4]})
    figure = picture({"search": [table] * seeds, "random masks": [table] * seeds}, title="T")
    axes = figure.axes[0]
    assert axes.get_xlabel() == "evaluations"
    assert len(axes.lines) == 2
    assert len(axes.collections) == (2 if seeds > 1 else 0)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(texts) == 2
    assert all(("3 seeds" in text) == (seeds > 1) for text in texts)
    plots.save(figure, tmp_path / "a.png")
