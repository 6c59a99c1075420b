import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import plots
from analysis.attribution import images as attribution_images
from analysis.attribution.faithfulness import Faithfulness
from experiments import explanation
from experiments.explanation import explain_run
from experiments.explanation_text import effect_sentence, faithfulness_sentence, frequency_sentence
from experiments.finished import opened
from experiments.main import main


@pytest.fixture
def no_pictures(monkeypatch):
    """Pictures are made but not drawn, which takes longest."""

    def save(figure, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    monkeypatch.setattr(plots, "save", save)


def explain(*arguments):
    return main(["explain", *map(str, arguments)])


def files(folder):
    return {path.name for path in folder.iterdir()}


def test_tables_pictures_and_plain_words(finished_run, tmp_path, capsys):
    assert explain(finished_run, "--images", 12, "--out", tmp_path / "a") == 0
    shown = capsys.readouterr()
    said = " ".join(shown.out.split())
    assert "ancestry and influence cannot be told apart" in said
    assert "random masks, which inherit nothing" in said
    assert "12 images of the select split" in said
    assert "maps of 12 images" in shown.err
    assert max(map(len, shown.out.splitlines()[:-1])) <= 80
    tables = {"agreement.csv", "faithfulness.csv", "frequency.csv", "frequency_by_seed.csv", "neurons.csv"}
    pictures = {f"{n}.png" for n in ("effects", "faithfulness", "frequency", "maps", "unit_maps")}
    pictures |= {"importance_ablation.png", "importance_conductance.png"}
    assert files(tmp_path / "a") == tables | pictures | {"findings.txt"}
    assert "ancestry" in (tmp_path / "a" / "findings.txt").read_text()
    neurons = pd.read_csv(tmp_path / "a" / "neurons.csv")
    assert set(neurons["class"]) == {"all", "5", "6", "7", "8"}
    assert neurons["completeness"].max() < 0.05


def test_the_same_twice(finished_run):
    with opened(finished_run) as run:
        first, second = (explain_run(run, images=8) for _ in range(2))
    assert first.sentences == second.sentences
    for name, table in first.tables.items():
        pd.testing.assert_frame_equal(table, second.tables[name], check_exact=True)


def test_own_images_and_another_member(finished_run, tmp_path, capsys, no_pictures):
    solution = pd.read_csv(finished_run / "front.csv")["solution"].iloc[-1]
    (tmp_path / "own").mkdir()
    for i in range(2):
        Image.new("L", (8, 8), 100 * i + 20).save(tmp_path / "own" / f"{i}.png")
    out = tmp_path / "out"
    assert explain(finished_run, "--images", tmp_path / "own", "--solution", solution, "--out", out, "--pdf") == 0
    assert f"Do the maps of {solution}" in capsys.readouterr().out
    assert "maps.pdf" in files(out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--solution", "1-99999"], "no solution"),
        (["--images", "0"], "--images"),
        (["--images", "nowhere"], "check the path"),
        (["--layer", "conv33"], "conv3"),
    ],
)
def test_what_cannot_be_used_is_one_line(finished_run, tmp_path, capsys, arguments, message):
    assert explain(finished_run, "--out", tmp_path / "out", *arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "rror" in line]
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_run_without_convolution_still_explains_its_units(finished_run, tmp_path, capsys, monkeypatch, no_pictures):
    def refuse(*_, **__):
        raise attribution_images.NoMapsError("Plain runs no convolution")

    monkeypatch.setattr(explanation, "Explained", refuse)
    assert explain(finished_run, "--out", tmp_path) == 0
    assert "No maps of images: Plain runs no convolution." in " ".join(capsys.readouterr().out.split())
    assert "neurons.csv" in files(tmp_path)
    assert "maps.png" not in files(tmp_path)


def test_a_run_of_hidden_neurons_without_controls_and_of_one_seed(tmp_path, small, capsys, no_pictures):
    run = tmp_path / "run"
    settings = ["--set", "pruning.encoding=neurons", "--set", "controls=[unpruned]", "--seeds", "1"]
    assert main(["run", "quickstart", "--out", str(run), *small, *settings]) == 0
    capsys.readouterr()
    assert explain(run, "--images", 8) == 0
    assert "Only hidden neurons were searched" in " ".join(capsys.readouterr().out.split())
    assert "effects.png" not in files(run / "explain")
    front = pd.read_csv(run / "front.csv")
    for empty in front.loc[front["active_fraction_search"] == 0, "solution"]:  # where the search came upon it
        assert explain(run, "--images", 8, "--solution", empty) == 2
        assert "nothing reaches the classes" in capsys.readouterr().err
    assert "effect" not in pd.read_csv(run / "explain" / "frequency.csv").columns


def units(**columns):
    return pd.DataFrame({"unit": ["feature 0", "feature 1"], "frequency": [0.9, 0.1], "expected": 0.5, **columns})


@pytest.mark.parametrize(
    ("q", "words"),
    [
        ([0.01, 0.02], "2 recur over 6 independent seeds .* 0 kept more and 1 kept less"),
        ([0.01, 0.9], "1 recur .* 0 kept more often"),
        ([0.5, 0.9], "None of 2 features recurs"),
    ],
)
def test_what_is_said_of_frequencies(q, words):
    assert re.search(words, frequency_sentence(units(q=q), 6, True))


@pytest.mark.parametrize(
    ("q", "words"), [([0.01, 0.9], "feature 0, does so too"), ([0.9, 0.01], "does not show there")]
)
def test_what_is_said_of_effects(q, words):
    assert words in effect_sentence(units(effect=[-0.1, 0.02], effect_q=q), 100)


@pytest.mark.parametrize(
    ("p", "gain", "words"),
    [
        ([0.01, 0.01, 0.01, 0.01], 0.1, "The maps mean something"),
        ([0.01, 0.3, 0.01, 0.01], 0.1, "is not shown"),
        ([0.3, 0.3, 0.01, 0.3], 0.1, "in insertion only"),
        ([0.3, 0.3, 0.3, 0.3], 0.1, "Nothing can be concluded"),
        ([0.01, 0.01, 0.01, 0.01], -0.1, "Nothing can be concluded"),
    ],
)
def test_what_is_said_of_maps(p, gain, words):
    rows = [(mode, control) for mode in ("deletion", "insertion") for control in ("shuffled", "other")]
    table = pd.DataFrame(rows, columns=["mode", "control"]).assign(p_holm=p, gain=gain)
    assert words in faithfulness_sentence(Faithfulness(table, {}, np.zeros(1)), "9 images")
