import pytest


@pytest.fixture(scope="session", autouse=True)
def small_limits():
    """Finds the machine's limits on small matrices: what is tested is not how fast it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.bench.timing.PEAK_SIZE", 64)
        patch.setattr("experiments.bench.timing.COPIED", 1 << 12)
        yield
