"""What changed, against sums made by NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.critical import Changes, changes_of
from moprune.errors import UsageError


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_measures_are_numpys(data):
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, max_side=4))
    # Whole numbers, some of them equal: differences and squares are exact.
    start, found = (data.draw(hnp.arrays(np.float32, shape, elements=st.integers(-3, 3))) for _ in range(2))
    changes = Changes({"a.b.weight": torch.tensor(start)}, {"a.b.weight": torch.tensor(found)})
    (whole,) = changes.by_tensor().to_dict("records")
    difference = found.astype(float) - start
    assert (whole["tensor"], whole["layer"]) == ("a.b.weight", "a.b")
    assert (whole["weights"], whole["changed"]) == (start.size, np.count_nonzero(difference))
    assert whole["change"] == pytest.approx(np.sqrt((difference**2).sum()))
    assert whole["largest_change"] == np.abs(difference).max()
    norm = np.sqrt((start.astype(float) ** 2).sum())
    assert whole["relative_change"] == pytest.approx(whole["change"] / norm if norm else np.nan, nan_ok=True)

    filters = changes.by_filter()
    rows = difference.reshape(shape[0] if shape else 1, -1)
    assert filters["filter"].tolist() == list(range(len(rows)))
    assert filters["changed"].tolist() == np.count_nonzero(rows, axis=1).tolist()
    assert filters["change"].to_numpy() == pytest.approx(np.linalg.norm(rows, axis=1))
    assert filters["largest_change"].max() == whole["largest_change"]
    assert filters["weights"].sum() == whole["weights"]
    assert (filters["change"] ** 2).sum() == pytest.approx(whole["change"] ** 2)


def test_a_genome_and_its_state_are_the_same_changes_in_the_networks_order(problem, found):
    state = problem.genotype.weights(found)
    one, two = changes_of(problem, found), changes_of(problem, dict(reversed(state.items())))
    assert one.by_filter().equals(two.by_filter())
    assert list(one.start) == ["one.weight", "one.bias", "two.weight", "two.bias"]
    table = one.by_tensor().set_index("tensor")
    start, after = (torch.from_numpy(genome[:20]).view(5, 4) for genome in (problem.genotype.start, found))
    assert table.loc["one.weight", "changed"] == 16  # one filter was left alone
    assert table.loc["one.weight", "change"] == pytest.approx(float((after - start).norm()))
    assert np.isnan(table.loc["two.bias", "relative_change"])  # of zeros
    assert one.by_filter().query("tensor == 'one.weight' and changed == 0")["filter"].tolist() == [2]


def test_layers_are_those_that_changed():
    zeros = {name: torch.zeros(2) for name in ("scale", "a.weight", "a.bias", "b.0.weight", "b.1.weight")}
    ones = {name: torch.ones(2) for name in ("scale", "a.bias", "b.1.weight")}
    assert Changes(zeros, zeros | ones).layers == {"scale": ("scale",), "a": ("a.bias",), "b.1": ("b.1.weight",)}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "nothing differs"),
        ({"one.bias": None}, "nothing differs"),
        ({"one.bais": torch.zeros(5)}, "no floating-point tensor 'one.bais'"),
        ({"one.bias": torch.zeros(4)}, r"is \(4,\) where the network has \(5,\)"),
        ({"one.bias": torch.full((5,), torch.nan)}, "not finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(problem, state, message):
    same = {name: problem.genotype.base[name] if tensor is None else tensor for name, tensor in state.items()}
    with pytest.raises(UsageError, match=message):
        changes_of(problem, same)
