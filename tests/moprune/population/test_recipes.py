"""Recipes: their ranges, and the laws of drawing them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moprune.errors import UsageError
from moprune.population.recipes import Recipe, draw_recipes


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"weight_decay": -1.0}, {"momentum": 1.0}, {"mixup": -0.1},
        {"label_smoothing": 1.0}, {"epochs": 0}, {"batch_size": 0}, {"augment": "flip"}, {"schedule": "linear"},
    ],
)  # fmt: skip
def test_recipes_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError):
        Recipe(**wrong)


@given(
    kind=st.sampled_from(["grid", "random"]), count=st.integers(1, 30), seed=st.integers(0, 2**40),
    rate=st.floats(1e-6, 1), epochs=st.integers(1, 20), mixup=st.booleans(),
    augment=st.sampled_from(["none", "flip_crop"]),
)  # fmt: skip
def test_drawn_recipes_are_different_small_in_rate_and_stable_in_their_number(
    kind, count, seed, rate, epochs, mixup, augment
):
    options = {"base_rate": rate, "epochs": epochs, "kind": kind, "mixup": mixup, "augment": augment}
    wanted = min(count, 24)  # cells of the smallest grid
    recipes = draw_recipes(wanted, seed, **options)
    assert len(set(recipes)) == wanted
    assert draw_recipes(1, seed, **options) == recipes[:1]
    for recipe in recipes:
        assert rate / 2 <= recipe.learning_rate <= rate * 2
        assert math.ceil(epochs / 2) <= recipe.epochs <= epochs
        assert recipe.augment in ("none", augment)
        assert mixup or recipe.mixup == 0


def test_the_grid_is_drawn_without_replacement_to_its_last_cell():
    recipes = draw_recipes(96, 0, epochs=1)
    assert len(set(recipes)) == 96
    assert {recipe.learning_rate for recipe in recipes} == {0.005, 0.01, 0.02}
    with pytest.raises(UsageError, match="96 cells, not 97"):
        draw_recipes(97, 0, epochs=1)


@pytest.mark.parametrize(("options", "message"), [({"kind": "sobol"}, "sobol"), ({"count": 0}, "count is 0")])
def test_draws_that_cannot_be_made_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        draw_recipes(**{"count": 3, "seed": 0, **options})


def test_cost_is_three_forward_passes_an_image_and_epoch():
    assert Recipe(epochs=4).images(100) == 1200
