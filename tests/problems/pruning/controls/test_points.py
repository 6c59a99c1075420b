"""Every control's points: complete, repeatable, on the right axis; and the errors of those that do not fit."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moprune.errors import UsageError
from moprune.networks.heads import HeadSpec
from moprune.population import Training, TrainingSet
from problems.pruning.controls import CONTROLS, Point, active_fraction, geometric_sizes, points, suitable
from problems.pruning.encodings import ENCODINGS, Encoding
from problems.pruning.rankings import fitted

SIZES = {"features": (1, 3, 10), "neurons": (2, 8), "units": (4, 18), "edges": (1, 30, 80)}
CASES = [
    (encoding, name) for encoding in SIZES for name in suitable(Encoding.of(encoding, HeadSpec(10, (8,), 3)))
]  # fmt: skip


def same(a, b):
    """Whether two heads are the same bit for bit."""
    tensors = [[h.kept, *h.weights.matrices, *(x for x in h.weights.biases if x is not None)] for h in (a, b)]
    return len(tensors[0]) == len(tensors[1]) and all(map(torch.equal, *tensors))


@pytest.mark.parametrize(("encoding", "name"), CASES)
def test_a_control_makes_points_of_the_search_space_and_always_the_same(encoding, name, make_setting):
    setting = make_setting(encoding, sizes=SIZES[encoding])
    made, again = points(name, setting), points(name, setting)
    assert made
    assert [p.name for p in made] == [p.name for p in again]
    assert len({p.name for p in made}) == len(made)
    other = TrainingSet(setting.data.features[:41], setting.data.labels[:41])
    for first, second in zip(made, again, strict=True):
        if first.fit is None:
            assert first.genome.shape == (setting.encoding.length,)
            assert first.genome.dtype == bool
            assert first.genome.any()
            assert (first.genome == second.genome).all()
        else:
            head = first.fit(other)
            assert same(head, pickle.loads(pickle.dumps(second.fit))(other))  # noqa: S301
            assert (head.spec.features, head.spec.classes) == (10, 3)
            assert head.logits(setting.data.features).isfinite().all()
            assert not head.failed
            assert 0 <= active_fraction(setting.encoding, head) <= 1


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_recipes_work_where_gradients_are_off(name, make_setting):
    setting = make_setting()
    recipes = [point.fit for point in points(name, setting) if point.fit is not None][:2]
    with torch.inference_mode():
        features = setting.data.features.clone()  # an inference tensor, as cached features may be
        for recipe in recipes:
            inside = recipe(TrainingSet(features, setting.data.labels.clone()))
            assert same(inside, recipe(setting.data))


def test_which_controls_suit_which_encoding():
    everywhere = {
        "unpruned", "width_grid", "random_matched", "magnitude", "magnitude_one_shot", "magnitude_weights",
        "polynomial_decay", "logistic_regression",
    }  # fmt: skip
    of_features = {"anova", "mutual_information", "lasso"}
    spec = HeadSpec(10, (8, 6), 3)
    more = {"features": of_features | {"group_lasso"}, "units": set(), "edges": set(), "edges_second": set()}
    for name in ENCODINGS:
        assert set(suitable(Encoding.of(name, spec))) == everywhere | more.get(name, {"group_lasso"})
    linear = Encoding.of("features", HeadSpec(10, (), 3))
    assert set(suitable(linear)) == everywhere - {"width_grid"} | more["features"]


def test_unknown_and_unsuitable_controls_are_refused(make_setting):
    with pytest.raises(UsageError, match="did you mean 'lasso'"):
        points("lasoo", make_setting())
    with pytest.raises(UsageError, match=r"'anova' does not suit .* choose from: unpruned"):
        points("anova", make_setting("neurons", sizes=(1,)))


@pytest.mark.parametrize("sizes", [(), (0,), (3, 11)])
def test_sizes_outside_the_genome_are_refused(sizes, make_setting):
    with pytest.raises(UsageError, match=r"sizes of controls must be in 1\.\.10"):
        make_setting(sizes=sizes)


@given(st.integers(1, 3000), st.integers(1, 12))
def test_geometric_sizes_run_from_a_hundredth_to_all(length, count):
    sizes = geometric_sizes(length, count)
    assert sizes == tuple(sorted(set(sizes)))
    assert len(sizes) <= count
    assert sizes[0] == (max(1, round(length / 100)))
    assert count == 1 or sizes[-1] == length


def test_geometric_sizes_are_evenly_spaced_in_ratio():
    assert geometric_sizes(1600, 5) == (16, 51, 160, 506, 1600)


def test_a_point_is_a_genome_or_a_recipe():
    genome = np.ones(3, dtype=bool)
    for given_ in ({}, {"genome": genome, "fit": lambda data: None}):
        with pytest.raises(UsageError, match="either a genome or a recipe"):
            Point("p", **given_)


@pytest.mark.parametrize("encoding", sorted(SIZES))
def test_the_active_fraction_of_a_candidates_head_is_that_of_its_genome(encoding, make_setting):
    setting = make_setting(encoding, sizes=SIZES[encoding])
    generator = np.random.default_rng(0)
    for _ in range(5):
        genome = generator.random(setting.encoding.length) < 0.6
        spec = setting.encoding.spec
        head = fitted(spec, setting.encoding.masks(genome), setting.data, setting.training, 0)
        assert active_fraction(setting.encoding, head) == pytest.approx(genome.mean())
        diverged = fitted(spec, setting.encoding.masks(genome), setting.data, Training(5, learning_rate=1e30), 0)
        assert diverged.failed
        assert active_fraction(setting.encoding, diverged) == active_fraction(setting.encoding, head)


def test_a_linear_head_has_features_and_no_neurons(make_setting):
    setting = make_setting()
    (point,) = points("logistic_regression", setting)
    head = point.fit(setting.data)
    spec = setting.encoding.spec
    # The constant feature has no coefficient.
    shares = {
        name: active_fraction(Encoding.of(name, spec), head) for name in ("features", "neurons", "units", "edges")
    }
    assert shares == {"features": 0.9, "neurons": 0.0, "units": 0.5, "edges": 0.0}
    linear = Encoding.of("edges", replace(spec, hidden=()))
    assert active_fraction(linear, head) == pytest.approx(27 / 30)
