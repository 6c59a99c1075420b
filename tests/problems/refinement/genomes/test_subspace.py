import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moprune.errors import UsageError
from problems.refinement.genomes import Subspace, directions, subspace


def jacobian(genotype):
    """What each variable adds to all the weights, (weights, D): unit steps, up to float32 rounding."""
    start = {name: tensor.double() for name, tensor in genotype.weights(genotype.start).items()}
    columns = []
    for unit in np.eye(genotype.n_var):
        state = genotype.weights(unit)
        columns.append([state[name].double() - start[name] for name in genotype.changed])
    return columns


@pytest.mark.parametrize("kind", ["random", "low_rank"])
def test_a_direction_moves_a_tensor_by_its_own_norm(kind, network):
    genotype = Subspace(network, ["all"], 30, kind=kind)
    own = genotype.base
    for column in jacobian(genotype):
        ratios = [float(move.norm() / own[n].norm()) for n, move in zip(genotype.changed, column, strict=True)]
        moving = [ratio for ratio in ratios if ratio > 0]
        np.testing.assert_allclose(moving, 1, rtol=1e-5)
        assert len(moving) == (len(genotype.changed) if kind == "random" else 1)


def test_low_rank_directions_have_rank_one_and_move_the_tensor_they_are_named_after(network):
    genotype = Subspace(network, ["all"], 30, kind="low_rank")
    for name, block, column in zip(genotype.names(), genotype.blocks, jacobian(genotype), strict=True):
        moved = [i for i, move in enumerate(column) if move.any()]
        assert moved == [block]
        assert name.startswith(genotype.changed[block] + " direction ")
        move = column[block]
        if move.ndim > 1:
            assert np.linalg.matrix_rank(move.reshape(len(move), -1).numpy(), tol=1e-4) == 1


def test_a_tensor_of_zeros_moves_by_one():
    network = torch.nn.Linear(3, 4)
    torch.nn.init.zeros_(network.bias)
    for kind in ("random", "low_rank"):
        genotype = Subspace(network, ["bias"], 1, kind=kind)
        assert float(genotype.weights(np.ones(1))["bias"].norm()) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["random", "low_rank"])
def test_least_squares_is_numpys(kind, network):
    genotype = Subspace(network, ["all"], 12, kind=kind, spread=9)
    matrix = np.stack([torch.cat([m.reshape(-1) for m in column]).numpy() for column in jacobian(genotype)], 1)
    generator = np.random.default_rng(0)
    moves = {n: torch.from_numpy(generator.standard_normal(genotype.base[n].shape)) for n in genotype.changed}
    target = {name: genotype.base[name].double() + move for name, move in moves.items()}
    right = np.concatenate([moves[name].reshape(-1).numpy() for name in genotype.changed])
    expected = np.linalg.lstsq(matrix, right, rcond=None)[0]
    np.testing.assert_allclose(genotype.genome(target), expected, rtol=1e-4, atol=1e-5)


def test_directions_drawn_again_are_those_kept(network, monkeypatch):
    genomes = np.random.default_rng(0).uniform(-1, 1, (3, 9))
    monkeypatch.setattr(directions, "_AT_ONCE", 100)  # several draws a tensor, either way
    kept = Subspace(network, ["all"], 9)
    monkeypatch.setattr(subspace, "_KEPT", 1)
    drawn = Subspace(network, ["all"], 9)
    for genome in genomes:
        states = kept.weights(genome), drawn.weights(genome)
        assert all(torch.equal(states[0][name], states[1][name]) for name in kept.changed)
    np.testing.assert_array_equal(drawn.genome(states[0]), kept.genome(states[0]))


@pytest.mark.parametrize("kind", ["random", "low_rank"])
def test_the_seed_decides_the_directions_and_further_ones_do_not_change_the_first(kind, network):
    genome = np.array([0.05, -0.02])
    same = [Subspace(network, ["fc.weight"], 2, kind=kind, seed=3).weights(genome)["fc.weight"] for _ in range(2)]
    other = Subspace(network, ["fc.weight"], 2, kind=kind, seed=4).weights(genome)["fc.weight"]
    assert torch.equal(*same)
    assert not torch.equal(same[0], other)


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8), share=st.floats(0, 1))
def test_variables_are_dealt_in_proportion(sizes, share):
    dimension = max(1, round(share * sum(sizes)))
    counts = subspace._dealt(sizes, dimension)
    assert sum(counts) == dimension
    assert all(count <= size for count, size in zip(counts, sizes, strict=True))
    if dimension >= len(sizes):
        assert min(counts) >= 1
    else:
        assert max(counts) == 1
        assert min((s for s, c in zip(sizes, counts, strict=True) if c), default=0) >= max(
            (s for s, c in zip(sizes, counts, strict=True) if not c), default=0
        )
    for a, i in zip(sizes, counts, strict=True):  # D'Hondt: nobody would rather have another's second variable
        for b, j in zip(sizes, counts, strict=True):
            assert j <= 1 or b / j >= a / (i + 1)


def test_dealing_by_hand():
    assert subspace._dealt([100, 50, 10], 16) == [10, 5, 1]
    assert subspace._dealt([100, 50, 1], 10) == [6, 3, 1]


@pytest.mark.parametrize("dimension", [0, 16])
def test_a_dimension_out_of_range_is_refused(dimension, network):
    with pytest.raises(UsageError, match="give 1 to 15"):
        Subspace(network, ["fc.weight"], dimension)


def test_an_unknown_kind_is_refused(network):
    with pytest.raises(UsageError, match="did you mean 'low_rank'"):
        Subspace(network, ["all"], 2, kind="lowrank")
