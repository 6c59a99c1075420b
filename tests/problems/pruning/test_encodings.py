"""Encodings: which bit switches which unit."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moprune.errors import UsageError
from moprune.networks.heads import Connections, HeadSpec, TrainedHead, initial_weights
from problems.pruning import ENCODINGS, Encoding

SPEC = HeadSpec(4, (3, 2), 5)


@pytest.mark.parametrize(
    ("name", "layers", "length", "first", "last"),
    [
        ("features", (0,), 4, "feature 0", "feature 3"),
        ("neurons", (1, 2), 5, "hidden 1 neuron 0", "hidden 2 neuron 1"),
        ("first", (1,), 3, "hidden 1 neuron 0", "hidden 1 neuron 2"),
        ("second", (2,), 2, "hidden 2 neuron 0", "hidden 2 neuron 1"),
        ("units", (0, 1, 2), 9, "feature 0", "hidden 2 neuron 1"),
        ("edges", (1,), 12, "connection feature 0 -> neuron 0", "connection feature 3 -> neuron 2"),
        ("edges_second", (2,), 6, "connection neuron 0 -> neuron 0", "connection neuron 2 -> neuron 1"),
    ],
)
def test_each_encoding_covers_its_layers(name, layers, length, first, last):
    encoding = Encoding.of(name, SPEC)
    assert (encoding.layers, encoding.length) == (layers, length)
    names = encoding.unit_names()
    assert (len(names), names[0], names[-1]) == (length, first, last)
    assert len(set(names)) == length


@given(st.sampled_from(sorted(ENCODINGS)), st.data())
def test_masks_and_genome_are_inverse(name, data):
    encoding = Encoding.of(name, SPEC)
    genome = np.array(data.draw(st.lists(st.booleans(), min_size=encoding.length, max_size=encoding.length)))
    masks = encoding.masks(genome)
    assert tuple(len(mask) for mask in masks) == SPEC.units
    covered = () if encoding.edges else encoding.layers
    assert all(mask.all() for layer, mask in enumerate(masks) if layer not in covered)
    assert (encoding.genome(masks) == genome).all()
    on = [masks.on] if isinstance(masks, Connections) else [masks[layer] for layer in covered]
    assert sum(int(mask.sum()) for mask in on) == genome.sum()


def test_a_bit_switches_the_unit_it_is_named_after():
    encoding = Encoding.of("units", SPEC)
    for bit, name in enumerate(encoding.unit_names()):
        genome = np.ones(encoding.length, dtype=bool)
        genome[bit] = False
        off = [(layer, int(i)) for layer, mask in enumerate(encoding.masks(genome)) for i in torch.where(~mask)[0]]
        ((layer, unit),) = off
        assert name == (f"feature {unit}" if layer == 0 else f"hidden {layer} neuron {unit}")


def test_masks_do_not_follow_a_genome_that_changes_later():
    genome = np.ones(4, dtype=bool)
    masks = Encoding.of("features", SPEC).masks(genome)
    genome[:] = False
    assert masks[0].all()
    genome.flags.writeable = False
    assert not Encoding.of("features", SPEC).masks(genome[::-1])[0].any()


@pytest.mark.parametrize(
    ("name", "hidden", "message"),
    [
        ("feature", (3,), "did you mean 'features'"),
        ("neurons", (), "needs a hidden layer"),
        ("first", (), "needs a hidden layer"),
        ("second", (3,), "needs a hidden layer"),
        ("edges_second", (3,), "needs a hidden layer"),
        ("edges_second", (), "needs a hidden layer"),
    ],
)
def test_encodings_without_units_are_refused(name, hidden, message):
    with pytest.raises(UsageError, match=message):
        Encoding.of(name, HeadSpec(4, hidden, 2))


def test_all_units_of_a_linear_head_are_its_features():
    assert Encoding.of("units", HeadSpec(4, (), 2)).layers == (0,)


@pytest.mark.parametrize(
    ("name", "hidden", "matrix", "ends"),
    [
        ("edges", (), 0, ("feature", "class")),
        ("edges", (3,), 0, ("feature", "neuron")),
        ("edges", (3, 2), 0, ("feature", "neuron")),
        ("edges_second", (3, 2), 1, ("neuron", "neuron")),
        ("edges_second", (3, 2, 4), 1, ("neuron", "neuron")),
    ],
)
def test_a_bit_switches_the_connection_it_is_named_after(name, hidden, matrix, ends):
    spec = HeadSpec(4, hidden, 5)
    encoding, start = Encoding.of(name, spec), initial_weights(spec, 0)
    assert encoding.length == start.matrices[matrix].numel()
    for bit, unit in enumerate(encoding.unit_names()):
        genome = np.ones(encoding.length, dtype=bool)
        genome[bit] = False
        masks = encoding.masks(genome)
        cut = start.compact(masks).matrices
        ((layer, row, column),) = [
            (i, *place) for i, m in enumerate(cut) for place in (m != start.matrices[i]).nonzero().tolist()
        ]
        assert layer == matrix
        assert cut[layer][row, column] == 0
        assert unit == f"connection {ends[0]} {row} -> {ends[1]} {column}"
        head = TrainedHead.of(spec, masks, start.compact(masks), 0)
        assert head.parameters() == spec.parameters() - 1


def test_a_population_is_decoded_one_by_one_when_asked_for():
    class Counted(Encoding):
        decoded = 0

        def masks(self, genome):
            type(self).decoded += 1
            return super().masks(genome)

    genomes = np.random.default_rng(0).random((5, 12)) < 0.5
    encoding = Counted(SPEC, (1,), edges=True)
    population = encoding.population(genomes)
    assert (len(population), len(population[1:4]), encoding.decoded) == (5, 3, 0)
    assert (population[1:4][2].on.numpy().reshape(-1) == genomes[3]).all()
    assert (population[-1].on.numpy().reshape(-1) == genomes[-1]).all()
    assert encoding.decoded == 2
    assert [m.on.numpy().reshape(-1).tolist() for m in population] == genomes.tolist()
    with pytest.raises(IndexError):
        population[5]


@pytest.mark.parametrize("name", sorted(ENCODINGS))
def test_random_masks_have_densities_from_0_to_1(name):
    encoding = Encoding.of(name, HeadSpec(40, (30, 20), 5))
    generator = torch.Generator().manual_seed(0)
    genomes = [encoding.genome(encoding.draw(generator)) for _ in range(400)]
    densities = np.array([genome.mean() for genome in genomes])
    assert np.histogram(densities, bins=4, range=(0, 1))[0].min() > 60  # 100 expected, standard deviation 9
    again = encoding.genome(encoding.draw(torch.Generator().manual_seed(0)))
    assert (again == genomes[0]).all()
