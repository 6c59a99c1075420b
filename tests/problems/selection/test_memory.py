"""Memory: a bounded dictionary in which what was not asked for longest gives way."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from problems.selection.memory import Memory

STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), st.booleans()), max_size=40)


@given(STEPS, st.integers(0, 9))
def test_it_holds_what_was_used_last_as_far_as_it_fits(steps, limit):
    memory, used = Memory(limit), []  # (key, value, size), the one used last at the end
    for number, (key, size, reads) in enumerate(steps):
        known = next((each for each in used if each[0] == key), None)
        if reads:
            assert memory.get(key) == (known[1] if known else None)
            if known:
                used = [*(each for each in used if each is not known), known]
            continue
        memory.put(key, number, size)
        used = [*(each for each in used if each is not known), (key, number, size)]
        while sum(each[2] for each in used) > limit:
            used.pop(0)
    assert [memory.get(key) for key in range(6)] == [
        next((value for known, value, _ in used if known == key), None) for key in range(6)
    ]


def test_a_copy_for_another_process_starts_empty():
    memory = Memory(2)
    memory.put("a", 1)
    twin = pickle.loads(pickle.dumps(memory))  # noqa: S301 - made a moment ago, here
    assert (twin.get("a"), twin.limit, memory.get("a")) == (None, 2, 1)


def test_nothing_is_held_where_there_is_no_room():
    memory = Memory(0)
    memory.put("a", 1)
    assert memory.get("a") is None
    memory.limit = 1
    memory.put("a", 1)
    assert memory.get("a") == 1
