"""Feature vectors in files, against NumPy's own indexing of the same arrays."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moprune.data import rows
from moprune.data.rows import FileMatrix, StoredFeatures
from moprune.errors import UsageError


def written(folder, array, name="m", before=b"head"):
    path = folder / name
    path.write_bytes(before + array.tobytes())
    return FileMatrix(path, len(before), *array.shape, array.dtype.name)


def numbers(count, width, seed=0, kind=np.float32):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(kind)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two files, of different types, and their rows one below the other."""
    arrays = numbers(11, 3), numbers(5, 3, seed=1, kind=np.float16)
    files = tuple(written(tmp_path_factory.mktemp("rows"), array, f"{i}") for i, array in enumerate(arrays))
    return files, np.concatenate([array.astype(np.float32) for array in arrays])


@given(st.lists(st.integers(0, 15)), st.data())
def test_rows_are_those_numpy_takes(two, chosen, data):
    files, array = two
    stored = StoredFeatures(files, torch.tensor(chosen, dtype=torch.int64))
    assert stored.shape == (len(chosen), 3)
    assert (stored.matrix().numpy() == array[chosen]).all()
    places = data.draw(st.lists(st.integers(0, len(chosen) - 1)) if chosen else st.just([]))
    expected = array[chosen][places]
    places = torch.tensor(places, dtype=torch.int64)
    assert (stored.index_select(0, places).numpy() == expected).all()
    assert (stored.subset(places).matrix().numpy() == expected).all()


@given(st.lists(st.lists(st.integers(0, 10), min_size=1), min_size=1, max_size=3), st.booleans())
def test_joined_rows_follow_each_other_whatever_the_files(two, parts, backwards):
    files, array = two
    order = np.concatenate([array[11:], array[:11]]) if backwards else array
    files = files[::-1] if backwards else files
    pieces = [StoredFeatures(files, torch.tensor(part)) for part in parts]
    own = StoredFeatures.of(two[0][0])
    joined = StoredFeatures.joined([*pieces, own])
    assert len(set(joined.files)) == len(joined.files) == 2
    expected = np.concatenate([*(order[part] for part in parts), array[:11]])
    assert (joined.matrix().numpy() == expected).all()


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 600, 767, 768, 1100])
@pytest.mark.parametrize(
    ("block_bytes", "size"), [(1, 1), (12 * 7, 7), (12 * 255, 255), (12 * 300, 256), (10**6, None)]
)
def test_blocks_are_all_rows_in_order_and_none_is_short(two, monkeypatch, count, block_bytes, size):
    monkeypatch.setattr(rows, "BLOCK_BYTES", block_bytes)
    files, array = two
    chosen = torch.arange(count) % 16
    blocks = list(StoredFeatures(files, chosen).blocks())
    assert (torch.cat(blocks).numpy() == array[chosen]).all()
    *others, last = [len(block) for block in blocks]
    if size is None or count <= size:
        assert (others, last) == ([], count)
    else:
        assert set(others) <= {size}
        assert size <= last < 2 * size


def test_a_file_far_larger_than_memory_is_opened_and_read_where_it_is_wanted(tmp_path):
    path = tmp_path / "sparse"
    last = np.arange(1024, dtype=np.float32)
    with path.open("wb") as file:
        file.seek(4096 * (2**28 - 1))  # a terabyte of nothing
        file.write(last.tobytes())
    file = FileMatrix(path, 0, 2**28, 1024)
    found = file.read(torch.tensor([0, 2**28 - 1]))
    assert (found.numpy() == [np.zeros(1024), last]).all()


def test_it_can_be_pickled(two):
    stored = StoredFeatures(two[0], torch.tensor([3, 12]))
    assert torch.equal(pickle.loads(pickle.dumps(stored)).matrix(), stored.matrix())  # noqa: S301


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_row(tmp_path, bad):
    array = numbers(6, 2)
    array[4, 1] = bad
    file = written(tmp_path, array)
    assert file.read(torch.tensor([5, 3])).shape == (2, 2)
    with pytest.raises(UsageError, match=r"row 4 of .*m has values that are not finite"):
        file.read(torch.tensor([5, 4, 3]))


def test_values_whose_sum_overflows_are_taken(tmp_path):
    array = np.full((3, 2), np.finfo(np.float32).max)
    assert (written(tmp_path, array).read(torch.arange(3)).numpy() == array).all()


def test_a_file_that_is_missing_or_short_is_told(tmp_path):
    file = written(tmp_path, numbers(6, 2))
    with pytest.raises(UsageError, match="ends before its 7 rows of 2"):
        FileMatrix(file.path, file.offset, 7, 2)
    with file.path.open("rb+") as raw:
        raw.truncate(file.offset + 5 * 8 + 7)
    assert file.read(torch.arange(5)).shape == (5, 2)
    with pytest.raises(UsageError, match="became shorter"):
        file.read(torch.tensor([5]))
    file.path.unlink()
    with pytest.raises(UsageError, match=r"cannot read .*m: No such file"):
        file.read(torch.tensor([0]))
    with pytest.raises(UsageError, match=r"cannot read .*m: No such file"):
        FileMatrix(file.path, 0, 1, 1)


def test_files_of_different_widths_do_not_go_together(tmp_path):
    files = [StoredFeatures.of(written(tmp_path, numbers(2, width), f"{width}")) for width in (2, 3)]
    with pytest.raises(UsageError, match=r"features of widths \[2, 3\]"):
        StoredFeatures.joined(files)


@settings(max_examples=20)
@given(st.integers(0, 4), st.integers(1, 3))
def test_no_rows_are_a_matrix_too(tmp_path_factory, count, width):
    stored = StoredFeatures.of(written(tmp_path_factory.mktemp("few"), numbers(count, width)))
    assert stored.matrix().shape == (count, width)
    assert stored.nbytes == 4 * count * width
