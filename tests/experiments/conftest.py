import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keeps networks and features of these tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOPRUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def small():
    """Overrides that make the quickstart a run of a second."""
    settings = {
        "search.n_eval": "80",
        "search.pop_size": "20",
        "pruning.hidden": "[8]",
        "pruning.training.epochs": "3",
    }
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
