"""Encodings: which bit switches which unit."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moprune.errors import UsageError
from moprune.networks.heads import HeadSpec
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
    assert all(mask.all() for layer, mask in enumerate(masks) if layer not in encoding.layers)
    assert (encoding.genome(masks) == genome).all()
    assert sum(int(masks[layer].sum()) for layer in encoding.layers) == genome.sum()


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
    ],
)
def test_encodings_without_units_are_refused(name, hidden, message):
    with pytest.raises(UsageError, match=message):
        Encoding.of(name, HeadSpec(4, hidden, 2))


def test_all_units_of_a_linear_head_are_its_features():
    assert Encoding.of("units", HeadSpec(4, (), 2)).layers == (0,)
