"""Data at the edge of what can be learnt from, through the command line: each has an answer, and no warning."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments.main import main

QUICK = {
    "data.source": "folder",
    "data.exclude": "[]",
    "data.ood.search": "[noise]",
    "data.ood.test": "[photographs]",
    "search.n_eval": "16",
    "search.pop_size": "8",
    "pruning.hidden": "[4]",
    "pruning.folds": "2",
    "pruning.training.epochs": "2",
}


@pytest.fixture
def folder(tmp_path):
    """Makes a folder of grey 8 x 8 images: brightness by class, or the same everywhere."""

    def make(counts, constant=False):
        generator = np.random.default_rng(0)
        for label, (name, count) in enumerate(counts.items()):
            (tmp_path / "images" / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.full((8, 8), 128) if constant else generator.normal(60 + 60 * label, 30, (8, 8))
                image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
                image.save(tmp_path / "images" / name / f"{i}.png")
        return tmp_path / "images"

    return make


def run(images, out, **more):
    sets = {**QUICK, "data.path": images, **more}
    return main(["run", "quickstart", "--out", str(out), *(p for k, v in sets.items() for p in ("--set", f"{k}={v}"))])


def summary(out):
    return json.loads((out / "summary.json").read_text())


def test_constant_features_equal_objectives_and_images_seen_before_the_test(folder, tmp_path, caplog):
    images = folder({"a": 12, "b": 12, "c": 12}, constant=True)
    assert run(images, tmp_path / "out") == 0
    found = summary(tmp_path / "out")
    every = found["images"]["test"]
    sentence = f"{every} of the {every} items of test were seen before it, in train, search, select"
    assert any(sentence in note for note in found["notes"])
    assert sentence in caplog.text  # before the search, too
    # Nothing tells the classes apart: whatever is pruned, one class is right.
    for who in found["seeds"]["1"]["test"].values():
        assert who["error"] == pytest.approx(2 / 3)


def test_images_that_differ_are_not_said_to_be_repeated(folder, tmp_path, caplog):
    assert run(folder({"a": 12, "b": 12}), tmp_path / "out") == 0
    assert not any("seen before" in note for note in summary(tmp_path / "out").get("notes", []))
    assert "seen before" not in caplog.text


def test_a_class_thirty_times_as_frequent(folder, tmp_path):
    images = folder({"many": 120, "few": 4})
    assert run(images, tmp_path / "out", objectives="[macro_error,active_fraction]", reported="[error]") == 0
    found = summary(tmp_path / "out")
    assert found["images"]["test"] >= 31
    # Guessing the frequent class is 3 % of errors and half of each class.
    assert found["seeds"]["1"]["test"]["unpruned"]["macro_error"] <= 0.5


def test_one_image_a_class_in_every_split(folder, tmp_path):
    assert run(folder({"a": 4, "b": 4, "c": 4}), tmp_path / "out") == 0
    assert [summary(tmp_path / "out")["images"][split] for split in ("train", "search", "select", "test")] == [3] * 4


def test_too_few_images_for_the_splits_or_folds_are_named(folder, tmp_path, capsys):
    images = folder({"a": 4, "b": 4, "c": 3})
    assert run(images, tmp_path / "out") == 2
    assert "class 'c' has no images in split" in capsys.readouterr().err
    (images / "c" / "3.png").write_bytes((images / "c" / "2.png").read_bytes())
    assert run(images, tmp_path / "out", **{"pruning.folds": 4}) == 2
    said = capsys.readouterr().err
    assert "4 folds need as many images; split search has 3: give it more, or take fewer folds" in said


def test_images_a_network_does_not_read_are_refused_at_once(folder, tmp_path, capsys):
    own = {"network.arch": "moprune.networks:pretrained_digits", "network.preprocess": "{mode: RGB}"}
    assert run(folder({"a": 4, "b": 4}), tmp_path / "out", **own) == 2
    said = capsys.readouterr().err
    assert "DigitsNet fails on images (3, 8, 8)" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
