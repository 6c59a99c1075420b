"""``package.module:function`` runs where the person named it, and never because somebody's run folder does."""

import shutil
import sys

import pytest

from experiments import factories
from experiments.main import main
from moprune.errors import UsageError

FACTORY = """
import pathlib
pathlib.Path({mark!r}).touch()
from moprune.networks import pretrained_digits
def build():
    return pretrained_digits()
"""
COMMANDS = (
    ("verify",), ("explain",), ("ensemble",), ("report", "--full"), ("export", "--format", "state-dict"),
)  # fmt: skip


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOPRUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def theirs(finished_run, tmp_path, monkeypatch, own_cache):
    """A run folder from elsewhere whose experiment names a module that can be imported here, and what that leaves."""
    folder, mark = shutil.copytree(finished_run, tmp_path / "theirs"), tmp_path / "imported"
    (folder / "SHA256SUMS").unlink()
    written = (folder / "experiment.yaml").read_text()
    (folder / "experiment.yaml").write_text(written.replace("arch: digits", "arch: of_theirs:build"))
    (tmp_path / "of_theirs.py").write_text(FACTORY.format(mark=str(mark)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "of_theirs", raising=False)
    return folder, mark


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_folder_from_elsewhere_runs_nothing(theirs, capsys, command):
    folder, mark = theirs
    assert main([command[0], str(folder), *command[1:]]) == 2
    (line,) = (each for each in capsys.readouterr().err.splitlines() if each.startswith("moprune: error"))
    assert "moprune trust of_theirs:build" in line
    assert not mark.exists()


@pytest.mark.parametrize("command", [("show",), ("report",), ("plot",), ("export", "--format", "csv")], ids=" ".join)
def test_what_needs_no_network_needs_no_trust(theirs, command):
    folder, mark = theirs
    assert main([command[0], str(folder), *command[1:]]) == 0
    assert not mark.exists()


def test_it_runs_once_the_person_says_so(theirs, capsys):
    folder, mark = theirs
    assert main(["trust", "of_theirs:build"]) == 0
    main(["verify", str(folder)])  # whose network is another than that of the run, so that it is not verified
    assert mark.exists()
    assert "moprune trust" not in capsys.readouterr().err


def test_what_a_command_names_is_named(theirs, tmp_path, small):
    _, mark = theirs
    out = tmp_path / "mine"
    own = ("--set", "network.arch=of_theirs:build", "--set", "network.preprocess={mode: L}")
    assert main(["run", "quickstart", "--out", str(out), *small, *own]) == 0
    assert mark.exists()
    assert main(["verify", str(out)]) == 0


@pytest.mark.parametrize("arch", ["digits", "a:b\nc:d", "a b:c", "", ":", "a:b:c"])
def test_what_is_no_factory_is_not_trusted(own_cache, tmp_path, arch):
    with pytest.raises(UsageError, match="is no factory"):
        factories.trust(arch)
    factories.named(arch)
    assert not (tmp_path / "cache").exists()


def test_factories_are_remembered_beside_each_other(own_cache, tmp_path):
    for arch in ("b:x", "a:x"):
        factories.named(arch)
        factories.check(arch, tmp_path)
    with pytest.raises(UsageError, match="moprune trust c:x"):
        factories.check("c:x", tmp_path)


def test_a_cache_that_cannot_be_written_stops_no_run(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOPRUNE_CACHE", str(tmp_path / "file"))
    factories.named("a:b")
    with pytest.raises(UsageError, match="moprune trust a:b"):
        factories.check("a:b", tmp_path)
