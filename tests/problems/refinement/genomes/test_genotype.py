"""What holds of every kind of genome."""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from moprune.errors import UsageError
from moprune.networks import state_of
from problems.refinement.genomes import Mixing, Scales, Subspace, Weights

KINDS = {
    "box": lambda n, m: Weights(n, ["all"], delta=0.5),
    "free": lambda n, m: Weights(n, ["head", "norms"], delta=None),
    "tensors": lambda n, m: Scales(n, ["all"], per="tensor", spread=0.5),
    "filters": lambda n, m: Scales(n, ["all"], per="filter", spread=0.5),
    "network": lambda n, m: Mixing(n, m, per="network"),
    "stages": lambda n, m: Mixing(n, m, per="stage", low=-1, high=2),
    "layers": lambda n, m: Mixing(n, [*m[:2], {"fc.bias": m[2]["fc.bias"]}], per="layer"),
    "random": lambda n, m: Subspace(n, ["all"], 7, kind="random"),
    "low rank": lambda n, m: Subspace(n, ["all"], 40, kind="low_rank", spread=2),
    "few": lambda n, m: Subspace(n, ["all"], 3, kind="low_rank"),
}


@pytest.fixture(scope="module")
def genotypes(network, members):
    return {name: make(network, members) for name, make in KINDS.items()}


@pytest.fixture(params=KINDS)
def genotype(genotypes, request):
    return genotypes[request.param]


def drawn(genotype, seed):
    """A random genome within the bounds, of numbers that float32 can hold."""
    low, high = np.maximum(genotype.lower, -3), np.minimum(genotype.upper, 3)
    values = np.random.default_rng(seed).uniform(low, high).astype(np.float32).astype(np.float64)
    return np.clip(values, low, high)


def test_shapes_and_bounds(genotype):
    shape = (genotype.n_var,)
    assert genotype.start.shape == genotype.lower.shape == genotype.upper.shape == shape
    assert genotype.start.dtype == genotype.lower.dtype == genotype.upper.dtype == np.float64
    assert (genotype.lower < genotype.upper).all()
    assert ((genotype.lower <= genotype.start) & (genotype.start <= genotype.upper)).all()
    assert len(set(genotype.names())) == genotype.n_var
    if genotype.blocks is not None:
        assert genotype.blocks.shape == shape
        assert genotype.blocks.dtype == np.int64
        assert set(genotype.blocks) == set(range(genotype.blocks.max() + 1))


def test_the_start_is_the_network_and_comes_back(genotype, network):
    state = genotype.weights(genotype.start)
    own = network.state_dict()
    assert tuple(state) == genotype.changed
    assert all(torch.equal(state[name], own[name]) and state[name].dtype == torch.float32 for name in state)
    assert np.array_equal(genotype.genome(state), genotype.start)
    assert np.array_equal(genotype.genome({}), genotype.start)
    assert np.array_equal(genotype.genome(state_of(network)), genotype.start)


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 10**6))
@example(kind="layers", seed=0)
def test_round_trip(kind, seed, genotypes):
    genotype = genotypes[kind]
    genome = drawn(genotype, seed)
    state = genotype.weights(genome)
    found = genotype.genome(state)
    if isinstance(genotype, Weights):
        assert np.array_equal(found, genome)
    else:
        # The third member of "layers" is the network but for its last bias: its other shares change nothing.
        told = [i for i in range(len(genome)) if kind != "layers" or i % 3 < 2 or i == len(genome) - 1]
        np.testing.assert_allclose(found[told], genome[told], atol=2e-5)
    again = genotype.weights(found)
    for name in genotype.changed:
        torch.testing.assert_close(again[name], state[name], rtol=1e-6, atol=1e-6)


def test_the_nearest_genome_cannot_be_improved(genotype, network):
    """Least squares: around what genome() finds for a state off the manifold, no step brings the weights nearer."""
    generator = np.random.default_rng(1)
    inside = genotype.weights(genotype.start + 0.1 * (drawn(genotype, 5) - genotype.start))
    state = {n: t.double() + 1e-3 * torch.from_numpy(generator.standard_normal(t.shape)) for n, t in inside.items()}

    def distance(genome):
        weights = genotype.weights(genome)
        return sum(float((weights[n].double() - state[n]).square().sum()) for n in genotype.changed)

    found = genotype.genome(state)
    assert ((genotype.lower <= found) & (found <= genotype.upper)).all()
    for _ in range(20):
        step = 1e-2 * generator.standard_normal(genotype.n_var)
        assert distance(np.clip(found + step, genotype.lower, genotype.upper)) >= distance(found)


def test_states_far_outside_are_cut_at_the_bounds(genotype, network):
    far = genotype.genome({name: 50 * tensor for name, tensor in state_of(network).items()})
    assert ((genotype.lower <= far) & (far <= genotype.upper)).all()


def test_states_run_in_the_network_and_do_not_touch_it(genotype, network):
    before = state_of(network)
    state = genotype.weights(drawn(genotype, 3))
    x = torch.ones(2, 2, 6, 6)
    with torch.no_grad():
        assert not torch.equal(functional_call(network, state, (x,)), network(x))
    for tensor in state.values():
        tensor.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in state_of(network).items())
    assert np.array_equal(genotype.genome(genotype.weights(genotype.start)), genotype.start)
    assert all(torch.equal(t, before[n]) for n, t in genotype.weights(genotype.start).items())


def test_descriptions_are_json_and_tell_genotypes_apart(genotypes):
    texts = {name: json.dumps(genotype.describe(), sort_keys=True) for name, genotype in genotypes.items()}
    assert len(set(texts.values())) == len(texts)
    assert all(json.loads(text)["changed"] == list(genotypes[name].changed) for name, text in texts.items())


def test_other_weights_are_another_description(members):
    def described(value):
        network = nn.Linear(2, 2)
        nn.init.constant_(network.weight, value)
        nn.init.constant_(network.bias, 0.5)
        return Weights(network, ["all"]).describe()

    assert described(1.0) == described(1.0)
    assert described(1.0) != described(2.0)


def test_it_can_be_pickled(genotype):
    genome = drawn(genotype, 4)
    copied = pickle.loads(pickle.dumps(genotype))  # noqa: S301
    assert copied.describe() == genotype.describe()
    state = genotype.weights(genome)
    assert all(torch.equal(tensor, state[name]) for name, tensor in copied.weights(genome).items())


def test_a_genome_of_another_length_or_a_tensor_of_another_shape_is_refused(genotype):
    with pytest.raises(UsageError, match=f"has {genotype.n_var} variables"):
        genotype.weights(np.zeros(genotype.n_var + 1))
    with pytest.raises(UsageError, match="give the same network"):
        genotype.genome({genotype.changed[0]: torch.zeros(1, 99)})


@pytest.mark.parametrize("spoil", [lambda n: n.double(), lambda n: n.half(), lambda n: n.weight.data.fill_(torch.nan)])
def test_a_network_that_is_not_float32_or_not_finite_is_refused(spoil):
    network = nn.Linear(2, 2)
    spoil(network)
    with pytest.raises(UsageError, match="not float32 and finite"):
        Weights(network, ["all"])


@pytest.mark.parametrize("spread", [0, -1, float("inf"), float("nan")])
def test_a_spread_that_is_none_is_refused(spread, network):
    for make in (lambda: Scales(network, ["all"], spread=spread), lambda: Subspace(network, ["all"], 2, spread=spread)):
        with pytest.raises(UsageError, match="spread is"):
            make()
