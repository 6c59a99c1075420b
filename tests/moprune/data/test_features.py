"""Features somebody has extracted, as a data set: the same as their tensors in memory."""

import numpy as np
import pytest
import torch

from moprune.data import FeatureInputs, Split, Task, TensorInputs, open_features
from moprune.data.features import stored_features
from moprune.data.inputs import JoinedInputs
from moprune.errors import UsageError


def made(folder, count=60, width=5, classes=3, seed=0, kind=np.float32):
    random = np.random.default_rng(seed)
    features, labels = random.normal(size=(count, width)).astype(kind), np.arange(count) % classes
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "features.npy", features)
    np.save(folder / "labels.npy", labels)
    return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_a_folder_is_its_arrays_as_float32(tmp_path, kind):
    features, labels = made(tmp_path, kind=kind)
    source = open_features(tmp_path)
    assert source.classes == ("0", "1", "2")
    split = source.subset("all")
    assert torch.equal(split.labels, labels)
    assert torch.equal(torch.stack(list(split.inputs)), features)
    assert split.digest() == Split(TensorInputs(features), labels).digest()
    assert split.inputs.item_digest(-1) == TensorInputs(features).item_digest(len(features) - 1)


def test_subsets_lie_in_folders_and_classes_may_have_names(tmp_path):
    made(tmp_path / "train", classes=2)
    made(tmp_path / "test", classes=3)
    (tmp_path / "classes.txt").write_text("cat\ndog\n\ncow\n")
    source = open_features(tmp_path)
    assert source.classes == ("cat", "dog", "cow")
    assert {name: len(split) for name, split in source.subsets.items()} == {"train": 60, "test": 60}


def test_a_task_of_features_is_that_of_their_tensors(tmp_path):
    """Splits, classes held out, and pools from another folder: the same rows, read from the files."""
    features, labels = made(tmp_path / "own", classes=4)
    strange, _ = made(tmp_path / "other", count=9, seed=1)
    pool = str(tmp_path / "other")
    task = Task.from_source(open_features(tmp_path / "own"), ood_search=["3"], ood_test=[pool], seed=5)
    kept = labels != 3
    expected = Task.from_tensors(features[kept], labels[kept], seed=5)
    for name in ("train", "search", "select", "test"):
        assert task.split(name).digest() == expected.split(name).digest(), name
    held = [tuple(row.tolist()) for split in ("search", "select") for row in task.ood[split]["3"]]
    assert sorted(held) == sorted(map(tuple, features[~kept].tolist()))
    assert {tuple(row.tolist()) for row in task.ood["test"][pool]} <= set(map(tuple, strange.tolist()))
    joined = stored_features(task.published().train.inputs)
    assert torch.equal(joined.matrix(), torch.stack(list(task.published().train.inputs)))


def test_inputs_of_another_kind_are_no_features():
    with pytest.raises(UsageError, match="items of TensorInputs are not features from a file"):
        stored_features(JoinedInputs((TensorInputs(torch.zeros(2, 3)),)))


def saved(**arrays):
    def spoil(folder):
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)

    return spoil


def archived(folder):
    np.savez(folder / "archive.npz", x=np.zeros(3))
    (folder / "archive.npz").replace(folder / "features.npy")


BROKEN = {
    "no features": (lambda f: (f / "features.npy").unlink(), "no features.npy in folder"),
    "no labels": (lambda f: (f / "labels.npy").unlink(), r"labels.npy is missing"),
    "pickle": (saved(features=np.array([object()] * 60)), "without pickled objects"),
    "text": (lambda f: (f / "features.npy").write_text("hello"), "cannot read .*features.npy"),
    "empty": (lambda f: (f / "labels.npy").write_bytes(b""), "cannot read .*labels.npy"),
    "archive": (archived, "is an archive"),
    "no rows": (saved(features=np.zeros((0, 5), np.float32), labels=np.zeros(0, int)), "labels.npy is empty"),
    "vector": (saved(features=np.zeros(60, np.float32)), r"holds float32 of shape \(60,\); features are"),
    "doubles": (saved(features=np.zeros((60, 5))), "holds float64 of shape"),
    "big-endian": (saved(features=np.zeros((60, 5), ">f4")), "little-endian"),
    "columns": (saved(features=np.asfortranarray(np.zeros((60, 5), np.float32))), "lies column by column"),
    "float labels": (saved(labels=np.zeros(60)), r"labels are integers \(n,\), from 0"),
    "table of labels": (saved(labels=np.zeros((60, 1), int)), "labels are integers"),
    "negative": (saved(labels=np.arange(60) % 3 - 1), "has label -1; classes are numbered from 0"),
    "too few": (saved(labels=np.arange(59) % 3), "60 rows of features.npy have 59 labels"),
    "nameless": (lambda f: (f / "classes.txt").write_text("a\nb\n"), "names 2 classes and there is a label 2"),
    "not text": (lambda f: (f / "classes.txt").write_bytes(b"\xff\xfe\xff"), "one name a line, UTF-8"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_used_is_said_in_one_line(tmp_path, case):
    made(tmp_path)
    spoil, message = BROKEN[case]
    spoil(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        open_features(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_is_told(tmp_path):
    made(tmp_path)
    whole = (tmp_path / "features.npy").read_bytes()
    (tmp_path / "features.npy").write_bytes(whole[:-1])
    with pytest.raises(UsageError, match=r"features\.npy"):
        open_features(tmp_path)


def test_subsets_of_different_widths_are_refused(tmp_path):
    made(tmp_path / "train", width=5)
    made(tmp_path / "test", width=6)
    with pytest.raises(UsageError, match=r"features of widths \[5, 6\]"):
        open_features(tmp_path)


def test_nothing_is_read_to_open_and_divide(tmp_path):
    """A matrix of zeros of 32 GB, which takes no room on disk, is opened and divided."""
    made(tmp_path, count=4000)
    with (tmp_path / "features.npy").open("wb") as file:
        shape = {"descr": "<f4", "fortran_order": False, "shape": (4000, 2**21)}
        np.lib.format.write_array_header_1_0(file, shape)
        file.truncate(file.tell() + 4000 * 2**23)
    task = Task.from_source(open_features(tmp_path), ood_search=[], seed=1)
    assert isinstance(task.train.inputs, FeatureInputs)
    assert task.train.inputs[3].shape == (2**21,)
