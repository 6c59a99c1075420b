import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moprune.data import Split, TensorInputs, limit, stratified
from moprune.errors import UsageError

labellings = st.lists(st.integers(0, 4), min_size=1, max_size=150).map(torch.tensor)
percentages = st.lists(st.integers(1, 40), min_size=1, max_size=5).filter(lambda parts: sum(parts) <= 100)


def reference(count, hundredths):
    """Largest remainder in whole numbers: the textbook's, with the part that is left over last."""
    weights = [*hundredths, 100 - sum(hundredths)]
    sizes = [count * weight // 100 for weight in weights]
    order = sorted(range(len(weights)), key=lambda part: -(count * weights[part] % 100))
    for part in order[: count - sum(sizes)]:
        sizes[part] += 1
    return sizes


@settings(max_examples=60, deadline=None)
@given(labels=labellings, hundredths=percentages, seed=st.integers(0, 5))
def test_parts_are_disjoint_sorted_and_apportioned_by_class(labels, hundredths, seed):
    parts = stratified(labels, [part / 100 for part in hundredths], seed, "test")
    together = [index for part in parts for index in part]
    assert len(together) == len(set(together))
    assert set(together) <= set(range(len(labels)))
    assert all(part == sorted(part) for part in parts)
    for label, count in Counter(labels.tolist()).items():
        sizes = [sum(int(labels[index]) == label for index in part) for part in parts]
        expected = reference(count, hundredths)[:-1]
        if all(expected):
            assert sizes == expected
        elif count >= len(parts):
            assert min(sizes) >= 1
        if sum(hundredths) == 100:
            assert sum(sizes) == count
    assert parts == stratified(labels, [part / 100 for part in hundredths], seed, "test")


def test_shares_that_floats_cannot_hold_divide_exactly():
    labels = torch.arange(2).repeat_interleave(100)
    assert [len(part) for part in stratified(labels, [0.29, 0.57, 0.14], 0, "x")] == [58, 114, 28]
    assert [len(part) for part in stratified(labels[:99] * 0, [1 / 3] * 3, 0, "x")] == [33, 33, 33]


def test_seed_and_purpose_decide_and_the_draw_is_random():
    labels = torch.zeros(400, dtype=torch.int64)
    first = stratified(labels, [0.5], 0, "a")[0]
    assert first != stratified(labels, [0.5], 1, "a")[0]
    assert first != stratified(labels, [0.5], 0, "b")[0]
    assert 60 < sum(index < 200 for index in first) < 140  # neither the first half nor the last


@pytest.mark.parametrize("shares", [[], [0.0, 0.5], [-0.1], [0.6, 0.6]])
def test_shares_that_do_not_fit_are_refused(shares):
    with pytest.raises(UsageError, match="sum to 1 at most"):
        stratified(torch.zeros(4, dtype=torch.int64), shares, 0, "train")


@settings(max_examples=60, deadline=None)
@given(labels=labellings, count=st.integers(1, 160), seed=st.integers(0, 3))
def test_a_limit_keeps_class_shares(labels, count, seed):
    present = Counter(labels.tolist())
    if count < min(len(present), len(labels)):
        with pytest.raises(UsageError, match="raise it"):
            limit(labels, count, seed)
        return
    chosen = limit(labels, count, seed)
    assert len(chosen) == min(count, len(labels))
    assert chosen == sorted(set(chosen)) == limit(labels, count, seed)
    kept = Counter(labels[chosen].tolist())
    assert set(kept) == set(present)
    quotas = {label: len(chosen) * size / len(labels) for label, size in present.items()}
    if min(quotas.values()) >= 1:
        assert all(math.floor(quotas[label]) <= kept[label] <= math.ceil(quotas[label]) for label in kept)


def test_a_split_checks_its_labels():
    inputs = TensorInputs(torch.zeros(3, 2))
    for labels in (torch.zeros(3), torch.zeros(3, 1, dtype=torch.int64)):
        with pytest.raises(UsageError, match="not class numbers"):
            Split(inputs, labels)
    with pytest.raises(UsageError, match="3 inputs have 2 labels"):
        Split(inputs, torch.tensor([0, 1]))
    small = Split(inputs, torch.tensor([0, 1, 1], dtype=torch.uint8))
    assert small.labels.dtype == torch.int64
    assert small.subset([2, 0]).labels.tolist() == [1, 0]
    assert small.digest() == Split(inputs, torch.tensor([0, 1, 1])).digest()
    assert small.digest() != Split(inputs, torch.tensor([0, 1, 0])).digest()
