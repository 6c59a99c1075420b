import numpy as np
import pandas as pd
import pytest

from analysis import plots
from moprune.objectives import objective

OBJECTIVES = [objective(name) for name in ("nll", "macro_f1")]
LAYERS = ["conv1", "layer1.0.bn1", "linear"]
REFERENCES = {"pretrained": 0.8, "found": 0.4}


def layer_table(retained=0.5):
    rows = [(o.name, test, layer) for o in OBJECTIVES for test in ("reverted", "kept") for layer in LAYERS]
    table = pd.DataFrame(rows, columns=["objective", "test", "layer"])
    return table.assign(value=np.linspace(0.4, 0.8, len(table)), retained=retained, **REFERENCES)


def tensor_table():
    tensors = ["conv1.weight", "layer1.0.bn1.weight", "layer1.0.bn1.bias", "linear.weight", "fixed.weight"]
    return pd.DataFrame(
        {
            "tensor": tensors,
            "layer": [name.rpartition(".")[0] for name in tensors],
            "changed": [3, 2, 2, 4, 0],
            "relative_change": [0.1, 0.2, np.nan, 0.05, 0.0],
        }
    )


def weight_table():
    drawn = [("largest", 1), ("smallest", 1), ("random", 1), ("random", 2), ("random", 3)]
    rows = [(o.name, *each, k, k / 100) for o in OBJECTIVES for each in drawn for k in (1, 10, 100)]
    table = pd.DataFrame(rows, columns=["objective", "order", "draw", "reverted", "share"])
    return table.assign(value=np.random.default_rng(0).random(len(table)), retained=0.5, **REFERENCES)


def points(axes):
    return {str(each.get_label()): np.asarray(each.get_offsets()) for each in axes.collections}


@pytest.mark.parametrize("count", [1, 2])
def test_layers_are_drawn_in_order_with_both_tests_and_both_networks(tmp_path, count):
    table = layer_table()
    figure = plots.layer_reverts(table, tensor_table(), OBJECTIVES[:count], title="T")
    change, *panels = figure.axes
    assert [label.get_text() for label in change.get_yticklabels()] == LAYERS
    assert change.yaxis_inverted()
    assert points(change)["change of weight"].tolist() == [[10, 0], [20, 1], [5, 2]]
    assert len(panels) == count
    for axes, each in zip(panels, OBJECTIVES, strict=False):
        some = table[table["objective"] == each.name]
        reverted, kept = points(axes).values()
        assert reverted[:, 0] == pytest.approx(some["value"][some["test"] == "reverted"].to_numpy())
        assert kept[:, 0] == pytest.approx(some["value"][some["test"] == "kept"].to_numpy())
        assert [line.get_xdata()[0] for line in axes.lines] == [0.8, 0.4]
        assert each.unit in axes.get_xlabel()
        assert len(axes.child_axes) == 1
    plots.save(figure, tmp_path / "a.png")


def test_random_orders_are_a_median_with_their_range(tmp_path):
    table = weight_table()
    figure = plots.weight_reverts(table, OBJECTIVES, title="T")
    for axes, each in zip(figure.axes, OBJECTIVES, strict=True):
        random = table[(table["objective"] == each.name) & (table["order"] == "random")]
        over = random.groupby("reverted")["value"]
        lines = {line.get_label(): line for line in axes.lines}
        curve = lines["at random: median and range of 3 draws"]
        assert curve.get_xdata() == pytest.approx([1, 10, 100])
        assert curve.get_ydata() == pytest.approx(over.median().to_numpy())
        corners = axes.collections[0].get_paths()[0].vertices
        assert corners[:, 1].min() == pytest.approx(over.min().min())
        assert corners[:, 1].max() == pytest.approx(over.max().max())
        assert axes.get_xscale() == "log"
    plots.save(figure, tmp_path / "a.png")


def test_without_a_gain_there_is_no_axis_of_its_share(tmp_path):
    figure = plots.layer_reverts(layer_table(np.nan), tensor_table(), OBJECTIVES[:1])
    assert not figure.axes[1].child_axes
    # Nothing gained and nothing lost: both networks score alike.
    same = weight_table().assign(found=0.8, retained=np.nan)
    figure = plots.weight_reverts(same, OBJECTIVES[:1])
    assert not figure.axes[0].child_axes
    plots.save(figure, tmp_path / "a.png")


def test_the_share_of_the_gain_is_zero_at_the_pretrained_network_and_all_as_found(tmp_path):
    figure = plots.weight_reverts(weight_table(), OBJECTIVES[:1])
    axes = figure.axes[0]
    plots.save(figure, tmp_path / "a.png")
    heights = axes.transData.transform([(1, 0.8), (1, 0.4), (1, 0.6)])[:, 1]
    shares = axes.child_axes[0].transData.transform([(0, 0), (0, 100), (0, 50)])[:, 1]
    assert shares == pytest.approx(heights)
