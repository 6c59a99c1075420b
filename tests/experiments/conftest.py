import sys

import pytest

from experiments.main import main

INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started pytest may have it ignored
from experiments.main import main
sys.exit(main())
"""


@pytest.fixture(scope="session")
def interruptible():
    """The words of the command line as a process that Ctrl-C reaches, wherever the tests run."""
    return [sys.executable, "-c", INTERRUPTIBLE]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keeps networks and features of these tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOPRUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


SMALL = {
    "search.n_eval": "80",
    "search.pop_size": "20",
    "pruning.hidden": "[8]",
    "pruning.training.epochs": "3",
}


@pytest.fixture
def small():
    """Overrides that make the quickstart a run of a second."""
    return _sets(SMALL)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, cache):
    """The folder of a finished quickstart of three seeds; not to be written to."""
    folder = tmp_path_factory.mktemp("finished") / "tiny"
    assert main(["run", "quickstart", "--out", str(folder), "--seeds", "1,2,3", *_sets(SMALL)]) == 0
    return folder


def _sets(settings):
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
