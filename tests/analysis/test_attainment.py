import numpy as np
import pandas as pd
import pytest

from analysis.attainment import LEVELS, attainment, surfaces
from analysis.plots import outline
from moprune.objectives import objective


def attained(F, point):
    return bool((point >= F).all(axis=1).any())


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 7])
def test_surfaces_bound_what_so_many_seeds_attain(seeds):
    generator = np.random.default_rng(seeds)
    # A coarse grid, so that coordinates coincide.
    fronts = [generator.integers(0, 8, (generator.integers(1, 9), 2)) / 8 for _ in range(seeds)]
    least = {"best": 1, "median": -(-seeds // 2), "worst": seeds}
    found = surfaces(fronts)
    assert list(found) == list(LEVELS)
    for point in np.stack(np.meshgrid(np.arange(-1, 10), np.arange(-1, 10)), axis=-1).reshape(-1, 2) / 8 + 1 / 32:
        count = sum(attained(F, point) for F in fronts)
        for level, corners in found.items():
            assert attained(corners, point) == (count >= least[level]), (level, point)
    for corners in found.values():
        assert (np.diff(corners[:, 0]) > 0).all()
        assert (np.diff(corners[:, 1]) < 0).all()


def test_one_seed_is_its_own_best_median_and_worst():
    found = surfaces([np.array([[0.1, 0.9], [0.5, 0.5], [0.6, 0.6]])])
    for corners in found.values():
        assert corners.tolist() == [[0.1, 0.9], [0.5, 0.5]]


def test_natural_units_of_an_objective_to_be_maximised():
    cost, auroc = objective("active_fraction"), objective("ood_auroc")
    front = pd.DataFrame(
        {"seed": [1, 1, 2], "active_fraction_test": [0.2, 0.4, 0.3], "ood_auroc_test": [0.7, 0.9, 0.8]}
    )
    table = attainment(front, cost, auroc, "test").set_index("level")
    assert table.loc["best"].to_numpy() == pytest.approx(np.array([[0.2, 0.7], [0.3, 0.8], [0.4, 0.9]]))
    # Both seeds reach 0.7 at 0.3 and 0.8 at 0.4.
    assert table.loc["worst"].to_numpy() == pytest.approx(np.array([[0.3, 0.7], [0.4, 0.8]]))
    line = outline(table.loc["worst"], cost, auroc, (0.2, 1.0), (0.5, 0.9))
    expected = [[0.3, 0.5], [0.3, 0.7], [0.4, 0.7], [0.4, 0.8], [1.0, 0.8]]
    assert line == pytest.approx(np.array(expected))
