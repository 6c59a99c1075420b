import pytest
from hypothesis import given
from hypothesis import strategies as st

from moprune.errors import MopruneError, UsageError, printable


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_each_fault_is_one_line_that_can_be_shown(faults):
    lines = str(UsageError(*faults)).split("\n")
    assert len(lines) == len(faults)
    assert all(line.isprintable() for line in lines)


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" ")))
def test_what_can_be_shown_is_shown_as_it_is(text):
    assert str(MopruneError(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\nb", r"a\nb"), ("\x1b[2J", r"\x1b[2J"), ("\u202egnp", r"\u202egnp"), ("\udcff", r"\udcff"), ("é 🐈", "é 🐈")],
)
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown
