"""Our operators for bits, against pymoo's and by counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.core.duplicate import DefaultDuplicateElimination
from pymoo.core.population import Population

from moprune.algorithms import DensitySampling, PackedDuplicateElimination
from moprune.testing import toy_problem


def bits(seed, n, length):
    return np.random.default_rng(seed).random((n, length)) < 0.5


@given(st.integers(0, 999), st.integers(0, 25), st.lists(st.integers(0, 12), max_size=2), st.integers(1, 12))
def test_duplicates_are_those_pymoo_finds(seed, n, others, length):
    pop = Population.new("X", bits(seed, n, length))
    rest = [Population.new("X", bits(seed + 1 + i, m, length)) for i, m in enumerate(others)]
    ours, theirs = (
        [i.X.tolist() for i in kind.do(pop, *rest)]
        for kind in (PackedDuplicateElimination(), DefaultDuplicateElimination())
    )
    assert ours == theirs


def test_lengths_that_differ_only_in_padding_bits():
    X = np.zeros((2, 9), dtype=bool)
    X[1, 8] = True
    assert len(PackedDuplicateElimination().do(Population.new("X", X))) == 2


def test_floats_are_compared_as_floats():
    X = np.array([[0.1, 0.2], [0.1, 0.3], [0.1, 0.2]])
    assert len(PackedDuplicateElimination().do(Population.new("X", X))) == 2


def test_every_density_is_sampled_alike():
    X = DensitySampling()._do(toy_problem(1000), 3000, random_state=np.random.default_rng(0))
    assert X.dtype == bool
    assert X.shape == (3000, 1000)
    assert X.mean(0) == pytest.approx(0.5, abs=0.06)  # no place is preferred
    assert np.histogram(X.sum(1), 10, (0, 1000))[0] == pytest.approx(300, abs=70)


@pytest.mark.parametrize("include", [False, True])
def test_no_mask_comes_twice_so_that_a_population_has_the_size_asked_for(include):
    for seed in range(30):
        X = DensitySampling(include)._do(toy_problem(60), 100, random_state=np.random.default_rng(seed))
        assert len(np.unique(X, axis=0)) == len(X) == 100


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_short_genome_gives_every_mask_it_has(length):
    X = DensitySampling()._do(toy_problem(length), 100, random_state=np.random.default_rng(0))
    assert len(X) == len(np.unique(X, axis=0)) == 2**length


def test_the_unpruned_network_comes_first_when_asked_for():
    problem = toy_problem(20)
    plain, with_all = (
        DensitySampling(include)._do(problem, 10, random_state=np.random.default_rng(1)) for include in (False, True)
    )
    assert with_all[0].all()
    assert not plain[0].all()
    assert (plain[:9] == with_all[1:]).all()
