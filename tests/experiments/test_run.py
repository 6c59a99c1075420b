"""The command line from end to end on small budgets: run, kill, resume, show, plot."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from experiments.main import main
from moprune.fronts import nondominated

MOPRUNE = [sys.executable, "-m", "experiments.main"]


def run(folder, small, *more):
    return main(["run", "quickstart", "--out", str(folder), *small, *more])


def test_a_run_writes_the_folder_and_repeats_itself(tmp_path, small, capsys):
    assert run(tmp_path / "a", small, "--seeds", "1,2") == 0
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert {
        "experiment.yaml", "environment.json", "log.sqlite", "front.csv", "controls.csv", "summary.json", "figures",
    } <= names  # fmt: skip
    assert {path.name for path in (tmp_path / "a/figures").iterdir()} == {
        "front_search.png", "front_test.png", "search_to_test.png", "hypervolume_history.png",
    }  # fmt: skip
    assert run(tmp_path / "b", small, "--seeds", "1,2") == 0
    assert (tmp_path / "a/front.csv").read_bytes() == (tmp_path / "b/front.csv").read_bytes()

    front = pd.read_csv(tmp_path / "a/front.csv")
    assert set(front["seed"]) == {1, 2}
    agreed = front["solution"].str.startswith("c")  # made of the front, after the search
    assert agreed.any()
    for _, members in front[~agreed].groupby("seed"):
        F = np.column_stack(
            [members["brier_search"], members["active_fraction_search"], 1 - members["ood_auroc_search"]]
        )
        assert len(nondominated(F)) == len(F)
    summary = json.loads((tmp_path / "a/summary.json").read_text())
    assert summary["test_opened"] == 1
    assert summary["seeds"]["1"]["evaluations"] == {"search": 80, "random": 80}
    assert summary["seeds"]["2"]["chosen"] in set(front["solution"])


def test_a_finished_run_is_shown_without_opening_the_test_split_again(tmp_path, small, capsys):
    assert run(tmp_path / "a", small) == 0
    first = capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert run(tmp_path / "a", small) == 0
    assert capsys.readouterr().out == first
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert main(["show", str(tmp_path / "a"), "--all"]) == 0
    assert "* chosen" in capsys.readouterr().out
    assert main(["plot", str(tmp_path / "a"), "--pdf", "--out", str(tmp_path / "pdf")]) == 0
    assert (tmp_path / "pdf/front_test.pdf").read_bytes().startswith(b"%PDF")


def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bytes(tmp_path, small):
    budget = ["--set", "search.n_eval=200", "--set", "pruning.training.epochs=20"]  # short: 4 epochs, in 4 folds
    assert run(tmp_path / "straight", small, *budget) == 0
    command = [*MOPRUNE, "run", "quickstart", "--out", str(tmp_path / "killed"), *small, *budget]
    chance = random.Random(0)
    kills = 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        log = tmp_path / "killed/log.sqlite"
        while process.poll() is None and not log.exists():
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 1.5))
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills, "the run ended before it could be killed once"
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert (tmp_path / "killed/front.csv").read_bytes() == (tmp_path / "straight/front.csv").read_bytes()
    assert (tmp_path / "killed/controls.csv").read_bytes() == (tmp_path / "straight/controls.csv").read_bytes()


def test_ctrl_c_leaves_a_resumable_run_and_says_how(tmp_path, small, interruptible):
    command = [*interruptible, "run", "quickstart", "--out", str(tmp_path / "run"), *small]
    command += ["--set", "search.n_eval=100000", "--set", "search.pop_size=10"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run/log.sqlite"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and _requests(log) > 20):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "resume with" in stderr
    assert "Traceback" not in stderr
    assert _requests(log) > 20


def _requests(log):
    try:
        with sqlite3.connect(f"file:{log}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT COUNT(*) FROM request").fetchone()[0]
    except sqlite3.OperationalError:  # just being made
        return 0


def test_a_folder_of_another_configuration_is_left_alone(tmp_path, small, capsys):
    assert run(tmp_path / "a", small) == 0
    before = (tmp_path / "a/front.csv").read_bytes()
    assert run(tmp_path / "a", small, "--set", "search.n_eval=100") == 2
    assert "differs in: search.n_eval" in capsys.readouterr().err
    assert (tmp_path / "a/front.csv").read_bytes() == before


def test_a_second_process_on_the_same_folder_is_refused(tmp_path, small):
    from moprune.log import EvaluationLog

    with EvaluationLog(tmp_path / "a/log.sqlite"):
        (tmp_path / "a/experiment.yaml").unlink(missing_ok=True)
        done = subprocess.run(
            [*MOPRUNE, "run", "quickstart", "--out", str(tmp_path / "a"), *small],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode in (1, 2)
    assert "moprune: error" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif("MOPRUNE_DATA" not in os.environ, reason="MOPRUNE_DATA names no folder of real data")
def test_real_images_and_weights(tmp_path, capsys):
    data = os.environ["MOPRUNE_DATA"]
    overrides = {
        "data.path": f"{data}/cifar10_jpeg.tar",
        "network.weights": f"{data}/resnet20_cifar10.pth",
        "data.splits.train.limit": "200",
        "data.splits.search.limit": "200",
        "data.splits.select.limit": "200",
        "data.splits.test.limit": "400",
        "search.n_eval": "60",
        "search.pop_size": "20",
    }
    sets = [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]
    assert main(["run", "cifar10-jpeg", "--out", str(tmp_path / "run"), *sets]) == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["seeds"]["1"]["test"]["unpruned"]["error"] < 0.4
