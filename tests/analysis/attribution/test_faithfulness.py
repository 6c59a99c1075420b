import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control

from analysis.attribution.faithfulness import blurred, faithfulness
from analysis.attribution.images import Maps, enlarged
from analysis.statistics import holm
from moprune.errors import UsageError

SIDE = 16


@pytest.fixture(scope="module")
def known():
    """Images with a bright 4 x 4 block at a random place, a network that sees only whether one is there, true maps."""
    random = torch.Generator().manual_seed(0)
    cells = torch.zeros(24, 4, 4)
    places = torch.randint(16, (24,), generator=random)
    cells.flatten(1)[torch.arange(24), places] = 1.0
    images = 0.1 * torch.rand(24, 1, SIDE, SIDE, generator=random)
    images += 4 * torch.nn.functional.interpolate(cells[:, None], size=(SIDE, SIDE))

    def logits(batch):
        brightest = torch.nn.functional.avg_pool2d(batch, 4).flatten(1).amax(1)
        return torch.stack([torch.zeros_like(brightest), 4 * (brightest - 2)], 1)

    return logits, images, Maps(enlarged(cells, (SIDE, SIDE)), cells, torch.ones(24, dtype=torch.int64))


def test_a_true_map_beats_both_controls(known):
    result = faithfulness(*known)
    assert result.better().all()
    assert (result.table["wins"] > 0.8).all()
    assert (result.table["low"] > 0).all()


def test_a_reversed_map_loses(known):
    logits, images, maps = known
    reversed_maps = dataclasses.replace(maps, values=1 - maps.values, cells=1 - maps.cells)
    table = faithfulness(logits, images, reversed_maps).table
    assert (table["gain"] < 0).all()
    assert (table["p_holm"] < 0.05).all()


def test_random_maps_are_not_told_from_their_controls(known):
    logits, images, maps = known
    cells = torch.rand(maps.cells.shape, generator=torch.Generator().manual_seed(1))
    result = faithfulness(logits, images, dataclasses.replace(maps, values=enlarged(cells, (SIDE, SIDE)), cells=cells))
    assert not result.better().any()


def test_constant_maps_and_images_say_nothing(known):
    logits, _, maps = known
    flat = dataclasses.replace(maps, values=torch.zeros_like(maps.values), cells=torch.zeros_like(maps.cells))
    result = faithfulness(logits, torch.ones(24, 1, SIDE, SIDE), flat)
    assert (result.table["p"] == 1).all()
    assert (result.table["gain"] == 0).all()


def test_curves_begin_and_end_at_the_image_and_its_blur(known):
    logits, images, maps = known
    result = faithfulness(logits, images, maps, steps=4)
    whole = logits(images).softmax(1)[:, 1].numpy()
    gone = logits(blurred(images)).softmax(1)[:, 1].numpy()
    for (mode, _), curve in result.curves.items():
        first, last = (whole, gone) if mode == "deletion" else (gone, whole)
        np.testing.assert_allclose(curve[:, 0], first, atol=1e-6)
        np.testing.assert_allclose(curve[:, -1], last, atol=1e-6)
    assert result.fractions.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_the_same_twice_and_no_global_state(known):
    before = torch.random.get_rng_state()
    assert faithfulness(*known).table.equals(faithfulness(*known).table)
    assert torch.equal(before, torch.random.get_rng_state())


def test_progress_reaches_its_end(known):
    seen = []
    faithfulness(*known, steps=2, draws=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_one_image_is_refused(known):
    logits, images, maps = known
    with pytest.raises(UsageError, match="at least 2"):
        faithfulness(logits, images[:1], Maps(maps.values[:1], maps.cells[:1], maps.targets[:1]))


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 32, 20), (1, 1, 1, 1)])
def test_a_blur_keeps_shape_range_and_constants(shape):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    out = blurred(images)
    assert out.shape == images.shape
    assert out.min() >= images.min() - 1e-6
    assert out.max() <= images.max() + 1e-6
    torch.testing.assert_close(blurred(torch.full(shape, 0.7)), torch.full(shape, 0.7))


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.5])), [0.04, 0.09, 0.09, 0.5])
    p = np.random.default_rng(0).random(9)
    assert (holm(p) >= false_discovery_control(p) - 1e-12).all()
