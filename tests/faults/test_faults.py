"""The short version: a few of each fault that the command can do, and what it counts."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.process import Ended
from tests.faults.table import FAILED, REFUSED, SAME, Trial, as_csv, as_markdown

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_nothing_is_lost_and_nothing_is_silently_other(tmp_path):
    """Damage, of which there are hundreds of cases, is left to the long version and the tests of log and run folder."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--kills", "2", "--each", "1", "--task", "pruning",
         "--kind", "kills,disk,inside", "--out", str(tmp_path / "R")],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    with (tmp_path / "R/faults.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["tried"]) for row in rows) >= 13
    assert sum(int(row["tried"]) for row in rows if row["fault"].startswith("SIGKILL")) == 2
    for row in rows:
        assert row[FAILED] == "0"
        assert int(row["tried"]) == int(row[SAME]) + int(row[REFUSED])


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "something").touch()
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--out", str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "not empty" in done.stderr


TRIALS = [
    Trial("a", "fire", SAME),
    Trial("a", "fire", FAILED, "burnt"),
    Trial("a", "water", REFUSED),
    Trial("b", "fire", SAME),
]


def test_the_table_counts_each_task_and_fault():
    assert as_csv(TRIALS).splitlines() == [
        "fault,task,tried,same bytes,one clear line,failed", "fire,a,2,1,0,1", "water,a,1,0,1,0", "fire,b,1,1,0,0",
    ]  # fmt: skip
    assert as_markdown(TRIALS).splitlines()[-1] == "- a, fire: burnt"
    assert "| fire | a | 2 | 1 | 0 | 1 |" in as_markdown(TRIALS)


@pytest.mark.parametrize(
    ("status", "err", "refused"),
    [
        (1, "working\nmoprune: error: /x/log.sqlite is damaged\n", True),
        (2, "moprune: error: /x/log.sqlite is damaged\n", True),
        (0, "moprune: error: /x/log.sqlite is damaged\n", False),
        (1, "moprune: error: something is wrong\n", False),
        (1, "moprune: internal error: ValueError: /x/log.sqlite\n", False),
        (1, "Traceback (most recent call last):\nmoprune: error: /x/log.sqlite\n", False),
        (1, "moprune: error: /x/log.sqlite\nmoprune: error: and more\n", False),
    ],
)
def test_only_one_line_that_names_the_file_is_clear(status, err, refused):
    assert Ended(status, "", err).refuses("log.sqlite") is refused
