"""Non-dominated points and hypervolume, against brute force and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from moprune.errors import MopruneError
from moprune.fronts import hypervolume, nondominated
from moprune.objectives import Objective


def goals(count, worst=1.0, minimise=True):
    return [
        Objective(f"o{i}", "", minimise, worst, lambda o: 0.0, scale=worst if minimise else 1.0) for i in range(count)
    ]


grid = st.integers(1, 4).flatmap(
    lambda m: arrays(float, st.tuples(st.integers(0, 25), st.just(m)), elements=st.integers(0, 4).map(lambda v: v / 4))
)


@given(grid)
def test_nondominated_equals_brute_force(F):
    expected = []
    for i, row in enumerate(F):
        dominated = any((other <= row).all() and (other < row).any() for other in F)
        repeated = any((F[j] == row).all() for j in range(i))
        if not dominated and not repeated:
            expected.append(i)
    assert nondominated(F).tolist() == expected


@given(grid)
def test_hypervolume_equals_the_share_of_cells_dominated(F):
    """Points on a grid of quarters dominate whole cells; count those."""
    cells = np.stack(np.meshgrid(*[np.arange(4) / 4] * F.shape[1], indexing="ij"), -1).reshape(-1, F.shape[1])
    dominated = np.array([(cell >= F).all(1).any() for cell in cells])
    assert hypervolume(F, goals(F.shape[1])) == pytest.approx(dominated.mean(), abs=1e-12)


def test_closed_forms():
    assert hypervolume(np.array([[0.25, 0.5]]), goals(2)) == pytest.approx(0.75 * 0.5)
    assert hypervolume(np.array([[0.0, 0.0, 0.0]]), goals(3)) == pytest.approx(1)
    assert hypervolume(np.array([[1.0, 0.0]]), goals(2)) == 0
    steps = np.arange(11) / 10  # a staircase below the diagonal
    assert hypervolume(np.column_stack([steps, 1 - steps]), goals(2)) == pytest.approx(0.45)
    assert hypervolume(np.empty((0, 2)), goals(2)) == 0


def test_objectives_are_divided_by_their_scale():
    points = np.array([[2.5, 5.0]])
    assert hypervolume(points, goals(2, worst=10.0)) == pytest.approx(0.75 * 0.5)
    assert hypervolume(np.array([[0.25, 0.5]]), goals(2, worst=0.0, minimise=False)) == pytest.approx(0.75 * 0.5)


def test_points_beyond_the_worst_do_not_count():
    assert hypervolume(np.array([[1.5, 0.0], [0.5, 0.5]]), goals(2)) == pytest.approx(0.25)
    assert nondominated(np.array([[1.0, 2.0]])).tolist() == [0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_front(value):
    with pytest.raises(MopruneError, match="not finite"):
        nondominated(np.array([[0.0, 1.0], [1.0, value]]))
