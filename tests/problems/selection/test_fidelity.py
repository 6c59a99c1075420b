"""Cheaper fidelities: shares class by class, and folds that divide each class."""

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moprune.data import Split, TensorInputs
from moprune.errors import UsageError
from problems.selection.fidelity import Rung, check_folds, check_rungs, fold_of

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(torch.tensor)


def split(labels):
    return Split(TensorInputs(torch.zeros(len(labels), 1, 2, 2)), torch.tensor(labels))


@given(LABELS, st.integers(1, 5))
def test_folds_divide_each_class_into_contiguous_parts(labels, folds):
    parts = [fold_of(labels, number, folds).tolist() for number in range(folds)]
    assert sorted(chain(*parts)) == list(range(len(labels)))
    for label in labels.unique().tolist():
        of_class = [[i for i in part if labels[i] == label] for part in parts]
        assert list(chain(*of_class)) == (labels == label).nonzero().flatten().tolist()  # in order, so contiguous
        sizes = [len(each) for each in of_class]
        assert max(sizes) - min(sizes) <= 1
        assert sizes == sorted(sizes, reverse=True)
    assert all(part == sorted(part) for part in parts)
    assert fold_of(labels, folds + 1, folds).tolist() == parts[1 % folds]


def test_a_rung_has_its_share_of_each_class_and_of_the_epochs():
    labels = torch.arange(40) % 4
    chosen = Rung(0.5, 0.3).chosen(labels, seed=1)
    assert torch.bincount(labels[chosen]).tolist() == [3, 3, 3, 3]
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert chosen.tolist() != Rung(0.5, 0.3).chosen(labels, seed=2).tolist()
    assert Rung(0.5, 0.01).chosen(labels, seed=1).shape == (4,)  # one of each at least
    assert Rung(0.5, 1.0).chosen(labels, seed=1).tolist() == list(range(40))
    assert [Rung(0.3).trained(epochs) for epochs in (1, 2, 5, 10)] == [1, 1, 2, 3]


@pytest.mark.parametrize("shares", [(0.0, 1.0), (1.0, 0.0), (1.5, 1.0), (0.5, -1.0), (float("nan"), 1.0)])
def test_shares_are_above_zero_and_at_most_one(shares):
    with pytest.raises(UsageError, match="give a share above 0 and up to 1"):
        Rung(*shares)


@pytest.mark.parametrize(
    "rungs", [[Rung()], [Rung(0.5), Rung(0.5)], [Rung(0.5), Rung(0.2)], [Rung(0.2, 0.5), Rung(0.5, 0.2)]]
)
def test_rungs_rise(rungs):
    with pytest.raises(UsageError, match="give them in rising order, all below 1"):
        check_rungs(rungs)


def test_rungs_that_rise_are_taken():
    check_rungs([])
    check_rungs([Rung(0.2, 0.5), Rung(0.5, 0.5), Rung(1.0, 0.9)])


@pytest.mark.parametrize("folds", [0, 3, -1])
def test_each_class_has_an_image_in_each_fold(folds):
    splits = split([0, 0, 0, 1, 1, 1]), split([0, 0, 1, 1, 1])
    with pytest.raises(UsageError, match=f"folds is {folds}; give 1 to 2"):
        check_folds(folds, *splits)
    check_folds(2, *splits)
    check_folds(None, *splits)
