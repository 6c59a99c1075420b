"""A few inputs for each target, as ``python -m tests.fuzz`` tries many: at most an error in one line comes of one."""

import sys
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moprune.errors import MopruneError, UsageError
from tests.fuzz.oracle import LONGEST_LINE, refused
from tests.fuzz.targets import TARGETS

Edits = list[tuple[float, float, bytes]]
_EDITS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.2), st.binary(max_size=8)), max_size=3)


def edited(data: bytes, edits: Edits) -> bytes:
    """Replaces parts of an input (where and how much, as shares of its length) by other bytes."""
    for start, length, new in edits:
        place = round(start * len(data))
        data = data[:place] + new + data[place + round(length * (len(data) - place)) :]
    return data


@pytest.fixture(autouse=True)
def as_on_the_command_line(monkeypatch, tmp_path_factory):
    """Other libraries' warnings are shown there, not raised; nothing is kept in the user's cache."""
    monkeypatch.setenv("MOPRUNE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", TARGETS)
def test_where_it_begins(name):
    for data in TARGETS[name].beginnings():
        TARGETS[name].read(data)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_refused_is_refused_in_one_clear_line(name):
    target = TARGETS[name]
    beginnings = target.beginnings()

    @settings(max_examples=target.examples, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(range(len(beginnings))), _EDITS)
    def tried(which, edits):
        target.read(edited(beginnings[which], edits))

    tried()


@pytest.mark.parametrize(
    "error",
    [ValueError("x.tar"), UsageError("no name"), UsageError("x.tar" + "a" * LONGEST_LINE * 2), MemoryError("x.tar")],
)
def test_the_oracle_lets_nothing_else_pass(error):
    with pytest.raises((type(error), AssertionError)), refused("x.tar"):
        raise error
    with refused("x.tar"):
        raise MopruneError("x.tar: is not one")


def test_the_engine_is_not_needed_for_it():
    assert "atheris" not in sys.modules
