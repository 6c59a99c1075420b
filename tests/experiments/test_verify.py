"""``moprune verify``: what was logged is found again, what was tampered with is found out."""

import json
import shutil
import sqlite3

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from experiments.finished import opened
from experiments.main import main
from experiments.verification import parse, verify
from moprune import seal
from moprune.contexts import PLAIN, Context
from moprune.errors import MopruneError

REFINED = {
    "controls": "[start,random]", "data.exclude": "['5','6','7','8','9']", "network.arch": "digits",
    "refinement.members.count": "2", "refinement.members.epochs": "1", "refinement.batch_size": "25",
    "search.n_eval": "60",
}  # fmt: skip


@pytest.fixture
def copied(finished_run, tmp_path):
    """A copy of the finished run that may be tampered with."""
    return shutil.copytree(finished_run, tmp_path / "run")


def tamper(folder, change):
    """Changes logged values as somebody would who knows how the log is sealed; ``change(number, values)``, in place."""
    connection = sqlite3.connect(folder / "log.sqlite")
    for number, text in connection.execute('SELECT id, "values" FROM evaluation').fetchall():
        values = json.loads(text)
        change(number, values["natural"])
        connection.execute('UPDATE evaluation SET "values" = ? WHERE id = ?', (json.dumps(values), number))
    seal.write(connection, seal.total_of(connection))
    connection.commit()
    connection.close()


def test_a_finished_run_is_found_again_bit_for_bit(finished_run, capsys):
    assert main(["verify", str(finished_run), "--sample", "12"]) == 0
    out = capsys.readouterr().out
    assert out.count("yes") == 3
    assert "12 of " in out
    assert "front.csv: the members and values that the log gives." in out


def test_bounds_are_in_force_again(tmp_path, capsys):
    folder = tmp_path / "refined"
    sets = [part for key, value in REFINED.items() for part in ("--set", f"{key}={value}")]
    assert main(["run", "sa-shade", "--out", str(folder), *sets]) == 0
    with opened(folder) as run:
        table, _ = run.log.history("search", 1)
        assert table["context"].str.contains("bound=").any()
        assert any(table["provisional"].map(np.any)), "nothing was dropped: the bound is not tried"
        found = verify(run, sample=10**6, seed=0, tolerance=0.0, working=lambda *_: None)
    assert found.sampled == found.logged
    assert all(each.identical and each.largest == 0 for each in found.differences)
    assert found.within(0.0)
    assert main(["verify", str(folder)]) == 0


def test_a_changed_value_is_found_with_its_size(copied, capsys):
    def change(number, natural):
        natural[1] += 0.25 if number % 2 else 1e-9

    tamper(copied, change)
    with opened(copied) as run:
        found = verify(run, sample=40, seed=0, tolerance=1e-6, working=lambda *_: None)
    first, second, third = found.differences
    assert first.identical
    assert third.identical
    assert second.largest == pytest.approx(0.25)
    assert not second.identical
    assert not found.within(1e-6)
    capsys.readouterr()
    assert main(["verify", str(copied), "--sample", "40"]) == 1
    assert "Not verified" in capsys.readouterr().err


def test_a_difference_within_the_tolerance_passes_and_is_not_called_identical(copied, capsys):
    def change(number, natural):
        natural[0] *= 1 + 1e-9

    tamper(copied, change)
    assert main(["verify", str(copied)]) == 0
    assert "no" in capsys.readouterr().out
    assert main(["verify", str(copied), "--tolerance", "1e-12"]) == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda front: front.iloc[1:], "is non-dominated in the log and not in front.csv"),
        (
            lambda front: front.assign(solution=["1-99999", *front["solution"][1:]]),
            "is in front.csv and not in the log",
        ),
        (lambda front: front.assign(brier_search=front["brier_search"] + 1e-3), "has other values in front.csv"),
    ],
)
def test_a_front_that_is_not_the_logs_is_told(copied, capsys, change, fault):
    (copied / "SHA256SUMS").unlink()
    change(pd.read_csv(copied / "front.csv")).to_csv(copied / "front.csv", index=False)
    assert main(["verify", str(copied), "--sample", "1"]) == 1
    assert fault in capsys.readouterr().out


def test_a_dominated_member_is_told(copied, capsys):
    (copied / "SHA256SUMS").unlink()
    front = pd.read_csv(copied / "front.csv")
    with opened(copied) as run:
        history = run.search(1).history()
    worst = history[~history["solution"].isin(front["solution"])].iloc[0]
    values = {column: worst[column] for column in ("solution", "brier_search", "active_fraction_search")}
    extra = front.iloc[:1].assign(**values, ood_auroc_search=worst["ood_auroc_search"])
    pd.concat([front, extra]).to_csv(copied / "front.csv", index=False)
    assert main(["verify", str(copied), "--sample", "1"]) == 1
    assert f"{worst['solution']} is in front.csv and dominated in the log" in capsys.readouterr().out


def test_the_sample_is_drawn_by_its_seed(finished_run):
    drawn = []

    class Noting:
        def __call__(self, *told):
            drawn.append(told)

    with opened(finished_run) as run:
        first, again = (verify(run, sample=7, seed=3, tolerance=0.0, working=Noting()) for _ in range(2))
    assert first == again
    assert first.sampled == 7
    assert drawn[-1] == ("evaluating again", 7, 7, "genomes")


def test_data_that_are_gone_or_others_are_one_line(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{i}.png")
    content = {
        "data": {"source": "folder", "path": str(tmp_path / "images"), "ood": {"search": ["noise"]}},
        "network": {"arch": "cifar_resnet20", "weights": "random", "preprocess": {"resize": 8}},
        "objectives": ["brier", "active_fraction"],
        "pruning": {"hidden": [4], "training": {"epochs": 1}},
        "search": {"n_eval": 8, "pop_size": 4},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    folder = str(tmp_path / "run")
    assert main(["run", str(tmp_path / "mine.yaml"), "--out", folder]) == 0
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images/cat/0.png")
    capsys.readouterr()
    assert main(["verify", folder]) == 2
    assert "data: not what the run" in one_line(capsys)
    shutil.rmtree(tmp_path / "images")
    assert main(["verify", folder]) == 2
    assert str(tmp_path / "images") in one_line(capsys)


def one_line(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("moprune:")]
    assert len(lines) == 1
    return lines[0]


@given(
    st.builds(
        Context,
        bound=st.none() | st.floats(allow_nan=False),
        subset=st.none() | st.integers(0),
        rung=st.none() | st.integers(0),
        seeds=st.none() | st.integers(1),
    )
)
def test_contexts_are_read_back(context):
    assert parse(str(context)) == context


def test_no_context_is_plain_and_an_unknown_one_is_refused():
    assert parse("") == PLAIN
    for text in ("bound", "bound=x", "depth=3", "subset=1.5"):
        with pytest.raises(MopruneError, match="unknown context"):
            parse(text)
