"""Every bad input: one clear line, the right exit status, no traceback, nothing left that a later run would trust."""

import os
import tarfile

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from experiments.main import main

FACTORY = """
import torch
from torch import nn

def broken():
    return nn.Sequential(nn.Flatten(), Nan(), nn.Linear(192, 2))

class Nan(nn.Module):
    def forward(self, x):
        return x * float("nan")
"""


@pytest.fixture
def images(tmp_path):
    """A folder with two classes of twelve images."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def experiment(tmp_path, images):
    """Writes an experiment on the folder with changes, and returns its path."""

    def write(**changes):
        content = {
            "data": {"source": "folder", "path": str(images), "ood": {"search": ["noise"], "test": ["photographs"]}},
            "network": {"arch": "cifar_resnet20", "weights": "random", "preprocess": {"resize": 8}},
            "pruning": {"hidden": [4], "training": {"epochs": 1}},
            "search": {"n_eval": 8, "pop_size": 4},
        }
        for key, value in changes.items():
            content[key] = {**content[key], **value} if isinstance(value, dict) else value
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "mine.yaml"

    return write


def fails(capsys, path, out, *more):
    """Runs, and returns the exit status and the lines of standard error."""
    status = main(["run", str(path), "--out", str(out), *more])
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("moprune: error")]
    assert "Traceback" not in captured.err
    assert "internal error" not in captured.err
    assert not (out / "summary.json").exists()
    return status, lines


def test_the_folder_works_when_nothing_is_wrong(experiment, tmp_path, capsys):
    assert main(["run", str(experiment()), "--out", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("fault", [{"data": {"path": "nowhere"}}, {"search": {"algorithm": "gde3"}}], ids=str)
def test_a_fault_does_not_spoil_the_folder_for_the_mended_run(experiment, tmp_path, capsys, fault):
    out = tmp_path / "run"
    assert fails(capsys, experiment(**fault), out)[0] == 2
    assert main(["run", str(experiment()), "--out", str(out)]) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"path": "no/such/folder"}}, ["no/such/folder"]),
        ({"data": {"path": None}}, ["data.path"]),
        ({"data": {"ood": {"search": ["nois"], "test": ["photographs"]}}}, ["nois", "noise"]),
        ({"data": {"ood": {"search": [], "test": []}}}, ["OOD pools", "drop the objective"]),
        ({"data": {"ood": {"search": ["noise"], "test": ["noise"]}}}, ["noise"]),
        ({"data": {"exclude": ["cow"]}}, ["cow", "cat"]),
        ({"data": {"exclude": ["cat"]}}, ["class"]),
        ({"network": {"arch": "resnet999"}}, ["resnet999"]),
        ({"network": {"arch": "no_such_package:net", "weights": None}}, ["no_such_package"]),
        ({"network": {"weights": "missing.pth"}}, ["missing.pth"]),
        ({"network": {"features": "layer9"}}, ["layer9"]),
        ({"network": {"preprocess": None}}, ["network.preprocess"]),
        ({"network": {"preprocess": {"resize": 4, "crop": 8}}}, ["crop"]),
        ({"pruning": {"encoding": "second", "hidden": [4]}}, ["second", "hidden"]),
        ({"search": {"algorithm": "gde3"}}, ["gde3", "nsga2"]),
        ({"device": "warp"}, ["warp"]),
    ],
)  # fmt: skip
def test_data_network_and_settings_that_cannot_be_used(experiment, tmp_path, capsys, changes, words):
    status, lines = fails(capsys, experiment(**changes), tmp_path / "run")
    assert status == 2
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines


def test_an_empty_class_a_lone_class_and_a_corrupt_image(experiment, images, tmp_path, capsys):
    (images / "cow").mkdir()
    status, lines = fails(capsys, experiment(), tmp_path / "run")
    assert status == 2
    assert "cow" in lines[0]
    (images / "cow").rmdir()

    (images / "cat/3.png").write_bytes((images / "cat/3.png").read_bytes()[:40])
    status, lines = fails(capsys, experiment(), tmp_path / "run")
    assert status == 2
    assert "cat/3.png" in lines[0]

    for path in (images / "cat").iterdir():
        path.unlink()
    (images / "cat").rmdir()
    status, lines = fails(capsys, experiment(), tmp_path / "run")
    assert status == 2
    assert "class" in lines[0]


def test_a_tar_that_is_none(experiment, tmp_path, capsys):
    (tmp_path / "x.tar").write_bytes(b"nothing of the kind")
    status, lines = fails(capsys, experiment(data={"source": "tar", "path": str(tmp_path / "x.tar")}), tmp_path / "run")
    assert status == 2
    assert "x.tar" in lines[0]


def test_a_tar_as_good_as_its_folder(experiment, images, tmp_path, capsys):
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(images, "images")
    path = experiment(data={"source": "tar", "path": str(tmp_path / "images.tar")})
    assert main(["run", str(path), "--out", str(tmp_path / "tar")]) == 0
    assert main(["run", str(experiment()), "--out", str(tmp_path / "folder")]) == 0
    assert (tmp_path / "tar/front.csv").read_bytes() == (tmp_path / "folder/front.csv").read_bytes()


def test_a_state_dict_that_does_not_fit_and_one_that_hides_objects(experiment, tmp_path, capsys):
    torch.save({"conv9.weight": torch.zeros(1)}, tmp_path / "wrong.pth")
    status, lines = fails(capsys, experiment(network={"weights": str(tmp_path / "wrong.pth")}), tmp_path / "run")
    assert status == 2
    assert "wrong.pth" in lines[0]
    torch.save(torch.nn.Linear(2, 2), tmp_path / "objects.pth")
    status, lines = fails(capsys, experiment(network={"weights": str(tmp_path / "objects.pth")}), tmp_path / "run")
    assert status == 2
    assert "objects.pth" in lines[0]


def test_features_that_are_not_finite(experiment, tmp_path, capsys, monkeypatch):
    (tmp_path / "nets_of_mine.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    path = experiment(network={"arch": "nets_of_mine:broken", "weights": None})
    status, lines = fails(capsys, path, tmp_path / "run")
    assert status == 2
    assert "finite" in lines[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {source: digits}\nnetwork: {arch: digits}\nsearch:\n  n_evals: 5\n", ["bad.yaml:4", "n_eval?"]),
        ("data: {source: digits}\nnetwork: {arch: digits}\nseed: 5\n", ["bad.yaml:3", "seeds"]),
        ("data: {source: digits}\n", ["network", "missing"]),
        ("data: {source: digits}\ndata: {source: digits}\n", ["bad.yaml:2", "twice", "line 1"]),
        ("data: [\n", ["bad.yaml", "YAML"]),
        ("- just\n- a list\n", ["bad.yaml", "mapping"]),
        ("", ["bad.yaml", "mapping"]),
        ("data: !!python/object/apply:os.system ['true']\n", ["bad.yaml", "YAML"]),
        (
            "data: {source: digits}\nnetwork: {arch: digits}\nobjectives:\n  - error\n  - speed\n",
            ["bad.yaml:5", "speed"],
        ),
        (
            "data: {source: digits}\nnetwork: {arch: digits}\nobjectives: [{name: ood_auroc, detector: x}]\n",
            ["bad.yaml:3", "energy"],
        ),
        ("data: {source: digits}\nnetwork: {arch: digits}\nobjectives: [error, error]\n", ["bad.yaml:3", "twice"]),
    ],
)
def test_faults_of_the_file_are_named_with_their_line(tmp_path, capsys, text, words):
    (tmp_path / "bad.yaml").write_text(text)
    status, lines = fails(capsys, tmp_path / "bad.yaml", tmp_path / "run")
    assert status == 2
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "override", ["search.n_evals=3", "n_eval", "search.n_eval=many", "search.n_eval=[", "seeds.x=1"]
)
def test_overrides_that_say_nothing_useful(tmp_path, capsys, override):
    status, lines = fails(capsys, "quickstart", tmp_path / "run", "--set", override)
    assert status == 2
    assert override in lines[0]


def test_unknown_experiments_folders_and_commands(tmp_path, capsys):
    assert main(["run", "quickstrat"]) == 2
    assert "did you mean 'quickstart'" in capsys.readouterr().err
    assert main(["show", str(tmp_path)]) == 2
    assert "no run folder" in capsys.readouterr().err
    assert main(["fly"]) == 2


def test_an_output_that_cannot_be_written(experiment, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    status, lines = fails(capsys, experiment(), tmp_path / "file" / "run")
    assert status == 1
    assert "cannot write" in lines[0]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_a_full_disk(tmp_path, small, capsys, monkeypatch):
    from moprune import files

    def full(path, text):
        with open("/dev/full", "w") as file:  # noqa: PTH123
            file.write(text * 100000)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(files.Path, "write_text", lambda self, text, encoding: full(self, text))
        status, lines = fails(capsys, "quickstart", out, *small)
    assert status == 1
    assert "No space left" in lines[0]
    assert main(["run", "quickstart", "--out", str(out), *small]) == 0


def test_a_damaged_log_is_named(tmp_path, small, capsys):
    out = tmp_path / "run"
    assert main(["run", "quickstart", "--out", str(out), *small]) == 0
    (out / "summary.json").unlink()
    (out / "log.sqlite").write_bytes(b"garbage" * 1000)
    status, lines = fails(capsys, "quickstart", out, *small)
    assert status == 1
    assert "log.sqlite" in lines[0]


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ValueError, match="not known"):
        main(["run", "quickstart", "--set", "search.algorithm=x", "--debug"])
