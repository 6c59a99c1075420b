"""The unpruned head and narrower ones."""

import numpy as np
import pytest

from problems.pruning.controls import points
from problems.pruning.rankings import fitted


def test_the_unpruned_head_has_all_bits_on(make_setting):
    (point,) = points("unpruned", make_setting("units", sizes=(1,)))
    assert point.genome.all()
    assert len(point.genome) == 18


def test_the_width_grid_of_neurons_keeps_the_first_of_each_layer(make_setting):
    setting = make_setting("units", hidden=(20, 5), sizes=(1,))
    for tenth, point in enumerate(points("width_grid", setting), start=1):
        features, first, second = np.split(point.genome, [10, 30])
        assert features.all()
        assert np.flatnonzero(first).tolist() == list(range(2 * tenth))
        assert np.flatnonzero(second).tolist() == list(range(max(1, round(tenth / 2))))


@pytest.mark.parametrize(("encoding", "size"), [("features", 1), ("edges", 1)])
def test_the_width_grid_elsewhere_is_the_same_heads_as_recipes(encoding, size, make_setting):
    setting, neurons = make_setting(encoding, hidden=(20, 5), sizes=(size,)), make_setting("neurons", (20, 5), (1,))
    masked = points("width_grid", neurons)
    for point, twin in zip(points("width_grid", setting), masked, strict=True):
        head = point.fit(setting.data)
        spec = setting.encoding.spec
        expected = fitted(spec, neurons.encoding.masks(twin.genome), setting.data, setting.training, setting.seed)
        assert head.widths == expected.widths
        assert head.widths[0] == 10
        assert (head.logits(setting.data.features) == expected.logits(setting.data.features)).all()
