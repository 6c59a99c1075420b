"""The files of a finished run guard each other: what is changed is named."""

import shutil
import subprocess

import pytest

from experiments.main import main
from experiments.run_folder import RunFolder
from moprune.errors import MopruneError

GUARDED = ("experiment.yaml", "environment.json", "front.csv", "controls.csv", "summary.json")


@pytest.fixture
def folder(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_the_digests_are_those_of_sha256sum(finished_run):
    done = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"],
        cwd=finished_run,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name}: OK" for name in GUARDED]


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize("command", ["show", "report"])
def test_a_changed_file_is_named_by_every_command(folder, capsys, name, command):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1  # a digit or a letter becomes another
    (folder / name).write_bytes(data)
    assert main([command, str(folder)]) in (1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert str(folder / name) in lines[0]


def test_a_file_that_is_gone_or_digests_that_are_garbage_are_named(folder):
    (folder / "controls.csv").unlink()
    with pytest.raises(MopruneError, match=r"controls\.csv"):
        RunFolder(folder).check_digests()
    for content in (b"", b"no digests", b"\xff\xfe"):
        (folder / "SHA256SUMS").write_bytes(content)
        with pytest.raises(MopruneError, match="SHA256SUMS"):
            RunFolder(folder).check_digests()


def test_a_run_from_before_there_were_digests_is_shown(folder, capsys):
    (folder / "SHA256SUMS").unlink()
    assert main(["show", str(folder)]) == 0


def test_results_are_written_anew_from_the_log_as_the_line_says(folder, finished_run, small, capsys):
    (folder / "front.csv").write_bytes(b"damaged")
    command = ["run", "quickstart", "--out", str(folder), "--seeds", "1,2,3", *small]
    assert main(command) == 1
    assert "delete summary.json there and run the same command again" in capsys.readouterr().err
    (folder / "summary.json").unlink()
    assert main(command) == 0
    assert (folder / "front.csv").read_bytes() == (finished_run / "front.csv").read_bytes()
    RunFolder(folder).check_digests()


def test_an_experiment_that_cannot_be_read_is_named(folder, capsys):
    path = folder / "experiment.yaml"
    path.write_text(path.read_text()[:-40] + "\n  a: [")
    assert main(["show", str(folder)]) == 2
    assert f"{path} is damaged" in capsys.readouterr().err


def test_memory_that_runs_out_in_torch_is_one_line(monkeypatch, capsys, tmp_path):
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), RuntimeError("other")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr("experiments.runner.run_experiment", fail)
        assert main(["run", "quickstart", "--out", str(tmp_path / "run")]) == 1
        said = capsys.readouterr().err
        assert ("moprune: error: out of memory" in said) is (str(error) != "other")
