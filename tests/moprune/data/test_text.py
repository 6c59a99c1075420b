import os
import pickle
from pathlib import Path

import pandas as pd
import pytest
import torch

from moprune.data import Task, TensorInputs, open_digits, open_text, texts_of
from moprune.errors import UsageError

TRAIN = "a good film\tpos\na bad film\tneg\ngood , good\tpos\n"
TEST = "good stuff\tpos\nbad\tneg\n"


@pytest.fixture
def folder(tmp_path):
    """Returns a function that writes files by name, text or bytes."""

    def write(**files):
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (tmp_path / f"{name}.tsv").write_bytes(data)
        return tmp_path

    return write


def words(split):
    texts = texts_of(split.inputs)
    return [texts.vocabulary.decode(row) for row in texts.tensor]


def test_sentences_labels_and_subsets(folder):
    source = open_text(folder(train=TRAIN, dev="a film\tneg\nfilm !\tpos\n", test=TEST), length=4)
    assert source.classes == ("neg", "pos")
    assert {name: part.labels.tolist() for name, part in source.subsets.items()} == {
        "train": [1, 0, 1],
        "val": [0, 1],
        "test": [1, 0],
    }
    train = source.subset("train").inputs
    assert train.vocabulary.words == ("good", "a", "film", ",", "bad")
    assert train[2].tolist() == [2, 5, 2, 0]
    assert words(source.subset("test")) == ["good <unknown>", "bad"]  # "stuff" is not in train
    assert words(source.subset("val")) == ["a film", "film <unknown>"]


def test_as_editors_and_spreadsheets_write_it(folder):
    expected = open_text(folder(train=TRAIN, test=TEST)).subset("train").digest()
    for train in (TRAIN.removesuffix("\n"), TRAIN.replace("\n", "\r\n"), "\ufeff" + TRAIN, TRAIN.upper().lower()):
        assert open_text(folder(train=train)).subset("train").digest() == expected


def test_words_and_length_limit_the_numbers(folder):
    path = folder(train=TRAIN, test=TEST)
    inputs = open_text(path, words=1, length=2).subset("train").inputs
    assert inputs.tensor.tolist() == [[1, 2], [1, 1], [2, 1]]
    for setting in ({"words": 0}, {"length": 0}):
        with pytest.raises(UsageError, match="at least 1"):
            open_text(path, **setting)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no train.tsv"),
        ({"train": TRAIN}, "has no test.tsv"),
        ({"train": TRAIN, "test": TEST, "dev": TEST, "val": TEST}, "both dev.tsv and val.tsv; remove one"),
        ({"train": "", "test": TEST}, r"train.tsv is empty"),
        ({"train": TRAIN + "no label\n", "test": TEST}, r"train.tsv, line 4 has 1 columns, not 2; write"),
        ({"train": TRAIN, "test": TEST + "x\tpos\t1\n"}, r"test.tsv, line 3 has 3 columns"),
        ({"train": TRAIN + "\n", "test": TEST}, r"train.tsv, line 4 is empty; remove it"),
        ({"train": "\n" + TRAIN, "test": TEST}, r"train.tsv, line 1 is empty"),
        ({"train": TRAIN + " \t \r\n", "test": TEST}, r"train.tsv, line 4 is empty"),
        ({"train": TRAIN + "\tpos\n", "test": TEST}, r"train.tsv, line 4 has no words before the tab"),
        ({"train": TRAIN + "fine\t\n", "test": TEST}, r"train.tsv, line 4 has no label behind the tab"),
        ({"train": TRAIN.encode() + b"caf\xe9\tpos\n", "test": TEST}, r"line 4: byte 4 is not UTF-8; convert"),
        ({"train": TRAIN.encode("utf-16"), "test": TEST}, r"train.tsv, line 1: byte 1 is not UTF-8"),
        ({"train": TRAIN, "test": TEST + "so so\tmixed\n"}, r"test.tsv, line 3: label 'mixed' .* \(neg, pos\)"),
        ({"train": TRAIN, "test": "good\tpos\n"}, r"test.tsv has no sentence of class 'neg' \(as line 2 of train"),
        ({"train": "sentence\tlabel\n" + TRAIN, "test": TEST}, "class 'label' .as line 1 of .*none a header line"),
        ({"train": "a\tpos\n", "test": TEST}, r"only one label \('pos'\)"),
    ],
)
def test_files_that_cannot_be_used(folder, files, message):
    with pytest.raises(UsageError, match=message) as raised:
        open_text(folder(**files))
    assert "\n" not in str(raised.value)


def test_no_folder(tmp_path):
    with pytest.raises(UsageError, match=r"no folder .*nowhere; give the folder that holds"):
        open_text(tmp_path / "nowhere")


def test_texts_are_tensors_with_a_vocabulary(folder):
    texts = texts_of(open_text(folder(train=TRAIN, test=TEST)).subset("train").inputs)
    assert texts.digest() == TensorInputs(texts.tensor).digest()
    part = texts.subset([2, 0])
    assert torch.equal(part.tensor, texts.tensor[[2, 0]])
    assert part.vocabulary == texts.vocabulary
    again = pickle.loads(pickle.dumps(texts))  # noqa: S301 (our own)
    assert again.digest() == texts.digest()
    assert again.vocabulary == texts.vocabulary
    with pytest.raises(UsageError, match="TensorInputs are no texts"):
        texts_of(open_digits().subset("all").inputs)


def test_a_task_of_sentences():
    folder = os.environ.get("MOPRUNE_DATA")
    if not folder or not (Path(folder) / "sst2").is_dir():
        pytest.skip("set MOPRUNE_DATA to a folder with sst2/{train,dev,test}.tsv to check real sentences")
    source = open_text(Path(folder) / "sst2", words=20_000, length=60)
    for subset, file in (("train", "train"), ("val", "dev"), ("test", "test")):
        table = pd.read_csv(Path(folder) / "sst2" / f"{file}.tsv", sep="\t", header=None, quoting=3)
        assert source.subset(subset).labels.tolist() == table[1].tolist()
        if subset == "train":  # all of its words are known; some are pairs of marks, such as ''
            same = [a == b for a, b in zip(words(source.subset(subset)), table[0], strict=True)]
            assert sum(same) / len(same) > 0.97
    task = Task.from_source(source)
    assert [len(task.split(name)) for name in ("train", "search", "select", "test")] == [6920, 436, 436, 1821]
    assert texts_of(task.search.inputs).vocabulary is texts_of(task.train.inputs).vocabulary
