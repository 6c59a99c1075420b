import pandas as pd
import pytest

from experiments.main import main
from experiments.refinement_explanation import change_sentence, gain_sentences
from moprune.objectives import objective

SMALL = {
    "search.n_eval": "4",
    "search.pop_size": "4",
    "refinement.members.count": "2",
    "refinement.members.epochs": "1",
    "controls": "[]",
}


@pytest.fixture(scope="module")
def refined(tmp_path_factory, cache):
    """The folder of a finished refinement of a few evaluations."""
    folder = tmp_path_factory.mktemp("refined") / "tiny"
    sets = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    assert main(["run", "sa-shade", "--out", str(folder), *sets]) == 0
    return folder


def test_tables_pictures_and_plain_words(refined, tmp_path, capsys):
    assert main(["explain", str(refined), "--out", str(tmp_path / "a")]) == 0
    shown = capsys.readouterr()
    assert max(map(len, shown.out.splitlines()[:-1])) <= 80
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "tensors.csv", "filters.csv", "layers.csv", "weights.csv", "layers.png", "weights.png", "findings.txt"
    }  # fmt: skip
    tensors, filters, layers, weights = (
        pd.read_csv(tmp_path / "a" / f"{name}.csv") for name in ("tensors", "filters", "layers", "weights")
    )
    changed = tensors["changed"].sum()
    assert filters["changed"].sum() == layers[layers["test"] == "kept"]["changed"].sum() == changed
    assert weights["reverted"].max() == changed
    # Both tables are of the same two networks.
    assert layers["found"].unique() == pytest.approx(weights["found"].unique())
    assert f"{changed:,} of" in (tmp_path / "a" / "findings.txt").read_text()
    assert main(["explain", str(refined), "--images", "12"]) == 2
    assert "--images and --layer are for pruned networks" in capsys.readouterr().err


def test_the_pretrained_network_has_nothing_to_explain(refined, capsys):
    assert main(["explain", str(refined), "--solution", "1-0"]) == 2
    assert "nothing differs from the pre-trained network" in capsys.readouterr().err


def tables(largest, random=0.7, *, gained=True):
    layers = pd.DataFrame(
        {
            "layer": ["a", "b"] * 2, "test": ["reverted"] * 2 + ["kept"] * 2, "objective": "nll",
            "pretrained": 0.8, "found": 0.4, "retained": [0.9, 0.2, 0.1, 0.7] if gained else float("nan"),
        }
    )  # fmt: skip
    rows = [("largest", 1, largest), ("smallest", 1, 1.0), ("random", 1, 0.9), ("random", 2, random)]
    weights = pd.DataFrame(
        [(*row[:2], k, k / 50, left) for row in rows for k, left in ((1, 1.0), (5, row[2]), (50, 0.0))],
        columns=["order", "draw", "reverted", "share", "retained"],
    )
    return layers, weights.assign(objective="nll")


def test_sentences_name_what_carries_the_gain():
    first, second = gain_sentences(objective("nll"), *tables(0.3), "select")
    assert "nll was 0.8 and is 0.4. Without the changes of b 20% of that gain is left" in first
    assert "its changes alone have 70%" in first
    assert "largest 10% of the changes 30% of the gain in nll is left, without as many random ones 70% to 90%" in second
    assert "not shown" not in second


def test_sentences_do_not_say_more_than_was_found():
    # Half the gain goes with the largest only when all are taken back, or with as many of any.
    for table in (tables(0.75), tables(0.4, random=0.3)):
        assert "matter by their size is not shown" in gain_sentences(objective("nll"), *table, "select")[1]
    (only,) = gain_sentences(objective("nll"), *tables(0.3, gained=False), "select")
    assert "nothing was gained there" in only


def test_the_tensor_that_changed_most_is_named():
    tensors = pd.DataFrame(
        {
            "tensor": ["a", "b", "c"],
            "weights": 1000,
            "changed": [7, 1000, 0],
            "relative_change": [0.25, float("nan"), 0],
        }
    )
    said = change_sentence(tensors)
    assert said.startswith("2 tensors differ from the pre-trained network, in 1,007 of 3,000 weights; a changed")
    assert said.endswith("by 25.0% of its norm.")
    assert change_sentence(tensors[1:2]).endswith("of 1,000 weights.")
