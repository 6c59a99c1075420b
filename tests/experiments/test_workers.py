"""Runs with workers and sweeps from the command line, on a Ray of several nodes; front and log are always the same."""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from experiments.bench.large import write_features
from experiments.main import main

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'moprune[ray]'")

pytestmark = [pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning")]

TASKS = {
    # Plain tiny heads in stacks of 16: what is computed depends on who else is in the stack.
    "pruning": ["quickstart", "search.n_eval=40", "search.pop_size=20", "pruning.hidden=[8]", "pruning.members=1",
                "pruning.training.epochs=3", "controls=[random]"],
    "refinement": ["sa-shade", "data.exclude=['5','6','7','8','9']", "network.arch=digits", "search.n_eval=20",
                   "refinement.members.count=2", "refinement.members.epochs=1", "controls=[random]"],
    "selection": ["mo-selection", "data.splits.train.limit=60", "selection.seeds=2", "selection.recipe.epochs=2",
                  "search.pop_size=8", "search.n_offsprings=6", "search.n_eval=20", "controls=[random]"],
}  # fmt: skip
PRUNING = TASKS["pruning"]


@pytest.fixture(scope="module")
def cluster():
    """A Ray of three nodes, which every command of these tests uses."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": {"worker_niceness": 0}})
        for _ in range(2):
            nodes.add_node(num_cpus=5)
        ray.init(nodes.address, log_to_driver=False, logging_level="ERROR")
        yield nodes
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(scope="module")
def executors(cluster):
    from moprune.distributed import RayExecutor

    with contextlib.ExitStack() as stack:
        yield {workers: stack.enter_context(RayExecutor(workers)) for workers in (1, 2, 4)}


def words(task, *more):
    name, *settings = task
    return [name, *(part for each in settings for part in ("--set", each)), *more]


def logged(folder):
    """Everything that was evaluated, in order, but for the time it took."""
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'log.sqlite'}?mode=ro", uri=True)) as connection:
        return connection.execute(
            'SELECT stage, seed, position, context, genome_sha256, "values" FROM request '
            "JOIN evaluation ON evaluation.id = evaluation ORDER BY 1, 2, 3"
        ).fetchall()


def assert_same(first, second):
    assert logged(first) == logged(second)
    for name in ("front.csv", "controls.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize("task", TASKS)
def test_results_are_the_same_with_1_2_and_4_workers_and_without(task, executors, tmp_path):
    from experiments.loading import load_experiment
    from experiments.progress import LiveProgress
    from experiments.runner import run_experiment

    name, *settings = TASKS[task]
    config = load_experiment(name, settings)
    run_experiment(config, tmp_path / "0", LiveProgress())
    for workers, executor in executors.items():
        run_experiment(config, tmp_path / str(workers), LiveProgress(), executor)
        assert_same(tmp_path / "0", tmp_path / str(workers))


def test_features_on_disk_are_read_by_each_worker(executors, tmp_path):
    from experiments.config import ExperimentConfig
    from experiments.progress import LiveProgress
    from experiments.runner import run_experiment

    write_features(tmp_path, 600, 8)
    config = ExperimentConfig.model_validate(
        {
            "data": {"source": "features", "path": str(tmp_path)}, "network": {"arch": "features"},
            "pruning": {"memory_limit": 1e-6, "hidden": [8], "mode": "full", "training": {"epochs": 2}},
            "objectives": ["brier", "active_fraction"], "search": {"n_eval": 20, "pop_size": 10},
            "controls": ["random"], "device": "cpu",
        }
    )  # fmt: skip
    run_experiment(config, tmp_path / "0", LiveProgress())
    run_experiment(config, tmp_path / "2", LiveProgress(), executors[2])
    assert_same(tmp_path / "0", tmp_path / "2")


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_driver_goes_on_from_its_log_with_workers_and_without(sign, cluster, tmp_path, interruptible):
    long = ["--set", "search.n_eval=120", "--set", "pruning.training.epochs=20"]
    program = [*interruptible, "run", *words(PRUNING, *long, "--workers", "2")]
    log = tmp_path / "killed/log.sqlite"
    process = subprocess.Popen(
        [*program, "--out", str(tmp_path / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not (log.exists() and requests(log) >= 20):
        time.sleep(0.02)
    process.send_signal(sign)
    stopped = process.wait()
    assert stopped == (130 if sign == signal.SIGINT else -sign), "the run ended before it could be stopped"
    shutil.copytree(tmp_path / "killed", tmp_path / "again")
    assert main(["run", *words(PRUNING, *long), "--out", str(tmp_path / "killed")]) == 0
    assert main(["run", *words(PRUNING, *long, "--workers", "2"), "--out", str(tmp_path / "again")]) == 0
    assert main(["run", *words(PRUNING, *long), "--out", str(tmp_path / "straight")]) == 0
    assert_same(tmp_path / "straight", tmp_path / "killed")
    assert_same(tmp_path / "straight", tmp_path / "again")


def requests(log):
    try:
        with contextlib.closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT COUNT(*) FROM request").fetchone()[0]
    except sqlite3.OperationalError:  # just being made
        return 0


def test_a_sweep_makes_a_run_of_each_combination_that_is_as_it_would_be_alone(cluster, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = ["sweep", *words(PRUNING, "--seeds", "1,2", "--vary", "search.pop_size=10,20", "--workers", "3")]
    assert main([*sweep, "--out", "s"]) == 0
    said = capsys.readouterr()
    folders = [f"quickstart,search.pop_size={size}" for size in (10, 20)]
    assert {path.parent.relative_to("s").as_posix() for path in Path("s").glob("*/*/summary.json")} == {
        f"{folder}/seed-{seed}" for folder in folders for seed in (1, 2)
    }
    assert sorted(line.split()[0] for line in said.err.splitlines()) == ["1/4", "2/4", "3/4", "4/4"]
    assert main(["run", *words(PRUNING, "--seeds", "2"), "--out", "alone"]) == 0
    assert_same(Path("alone"), Path("s") / folders[1] / "seed-2")

    before = {path: path.stat().st_mtime_ns for path in Path("s").rglob("summary.json")}
    assert main([*sweep, "--out", "s"]) == 0
    assert capsys.readouterr().err.count("was finished") == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before

    compare = said.out.splitlines()[-1].split()
    assert compare == [
        "moprune",
        "compare",
        *(f"'s/{folder}'" if "'" in said.out else f"s/{folder}" for folder in folders),
    ]
    assert main(["compare", *(f"s/{folder}" for folder in folders), "--csv", "c.csv"]) == 0
    assert set(pd.read_csv("c.csv")["pairs"]) == {2}  # both seeds of each


def test_a_run_that_fails_stops_no_other_and_is_named(cluster, tmp_path, capsys):
    sweep = ["sweep", *words(PRUNING, "--vary", "pruning.mode=short,warm", "--workers", "2"), "--out", str(tmp_path)]
    sweep += ["--set", "pruning.members=2", "--set", "pruning.hidden=[8]"]  # mode warm needs a plain head
    assert main(sweep) == 1
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("moprune: error: quickstart,pruning.mode=warm/seed-1: mode 'warm' starts from a plain head")
    assert (tmp_path / "quickstart,pruning.mode=short/seed-1/summary.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quickstart", "--ray-address", "auto"], "--ray-address and --gpus-per-worker are about --workers"),
        (["sweep", "quickstart", "--vary", "search.pop_size"], "write key=a,b,c"),
        (["sweep", "quickstart", "--vary", "search.pop_size="], "write key=a,b,c"),
        (["sweep", "quickstart", "--vary", "search.pop_size=20,20"], "name each once"),
        (["sweep", "quickstart", "--vary", "search.popsize=20,30"], "unknown key"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
