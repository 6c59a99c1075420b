"""SNES against its formulas, its invariances, and functions whose minimum is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moprune.seeding import numpy_generator
from problems.refinement.controls import points
from problems.refinement.controls.snes import minimise, utilities_of

FREE = np.full(10, np.inf)


@given(st.integers(4, 200))
def test_utilities_are_those_of_the_paper(size):
    raw = [max(0.0, np.log(size / 2 + 1) - np.log(rank)) for rank in range(1, size + 1)]
    np.testing.assert_allclose(utilities_of(size), [value / sum(raw) - 1 / size for value in raw], atol=1e-12)
    assert utilities_of(size).sum() == pytest.approx(0, abs=1e-9)


def test_two_generations_by_hand():
    """In two dimensions, population 4 + floor(3 ln 2) = 6."""
    seen = []

    def losses(rows):
        seen.append(rows.copy())
        return ((rows - [0.3, -0.2]) ** 2).sum(1)

    minimise(losses, np.zeros(2), np.full(2, -5.0), np.full(2, 5.0), 13, seed=4)
    generator = numpy_generator(4, "snes")
    centre, deviation = np.zeros(2), np.ones(2)
    assert [len(rows) for rows in seen] == [1, 6, 6]
    for rows in seen[1:]:
        samples = generator.standard_normal((6, 2))
        np.testing.assert_allclose(rows, centre + deviation * samples)
        order = sorted(range(6), key=lambda i: ((rows[i] - [0.3, -0.2]) ** 2).sum())
        gradient, spread = np.zeros(2), np.zeros(2)
        for utility, i in zip(utilities_of(6), order, strict=True):
            gradient += utility * samples[i]
            spread += utility * (samples[i] ** 2 - 1)
        centre = centre + deviation * gradient
        deviation = deviation * np.exp(0.5 * (3 + np.log(2)) / (5 * np.sqrt(2)) * spread)


def test_it_finds_the_minimum_of_an_ellipsoid():
    scales = 10.0 ** np.linspace(0, 3, 10)
    box = np.full(10, -5.0), np.full(10, 5.0)
    best, least = minimise(lambda x: ((x - 1) ** 2 * scales).sum(1), np.zeros(10), *box, 8000, seed=0)
    assert least < 1e-6
    np.testing.assert_allclose(best, 1, atol=1e-2)


@given(seed=st.integers(0, 1000))
def test_only_the_order_of_losses_counts(seed):
    def loss(x):
        return ((x - 0.5) ** 2).sum(1)

    box = np.full(3, -1.0), np.full(3, 1.0)
    plain, _ = minimise(loss, np.zeros(3), *box, 100, seed)
    bent, _ = minimise(lambda x: np.exp(3 * loss(x)) - 7, np.zeros(3), *box, 100, seed)
    np.testing.assert_array_equal(plain, bent)


@given(evaluations=st.integers(1, 60), seed=st.integers(0, 100))
def test_the_budget_is_kept_the_bounds_hold_and_the_start_is_never_lost(evaluations, seed):
    rows = []

    def losses(x):
        rows.extend(x)
        return -x.sum(1)

    best, least = minimise(losses, np.full(3, 0.9), np.full(3, -1.0), np.full(3, 1.0), evaluations, seed)
    assert len(rows) == evaluations
    assert np.abs(rows).max() <= 1
    assert least == min(-row.sum() for row in rows) <= -2.7
    assert least == -best.sum()


def test_variables_without_bounds_move_a_little():
    rows = []
    minimise(lambda x: (rows.extend(x), x.sum(1))[1], np.zeros(10), -FREE, FREE, 11, seed=0)
    assert 5e-4 < np.std(rows[1:]) < 2e-3


def test_in_a_network_it_is_no_worse_than_the_start(make_setting, network, loss):
    setting = make_setting(network, budget=60 * 150)
    (point,) = points("snes", setting)
    assert point.images == setting.budget
    assert loss(network, point.states, setting.search) < loss(network, ({},), setting.search) - 0.02
