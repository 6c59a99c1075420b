"""Greedy forward selection, against the same written out on tables of losses."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems.selection.controls import points
from problems.selection.controls.subtuning import EPSILON, greedy

NAMES = ["a", "b", "c", "d"]
SETS = [frozenset(some) for size in range(5) for some in combinations(NAMES, size)]
LOSSES = st.lists(st.integers(0, 100), min_size=len(SETS), max_size=len(SETS))


def brute_force(table, tries):
    """The rule as it is told: rounds of (set, how many were tried)."""
    rounds, chosen, best = [(frozenset(), 1)], frozenset(), table[frozenset()]
    left = tries - 1
    while len(chosen) < len(NAMES) and left >= len(NAMES) - len(chosen):
        open_ = [name for name in NAMES if name not in chosen]
        left -= len(open_)
        added = open_[int(np.argmin([table[chosen | {name}] for name in open_]))]
        chosen = chosen | {added}
        rounds.append((chosen, len(open_)))
        if table[chosen] > best + EPSILON:
            break
        best = min(best, table[chosen])
    return rounds


@given(LOSSES, st.integers(1, 12))
def test_greedy_choice_is_that_of_the_rule(losses, tries):
    table = {some: loss / 200 for some, loss in zip(SETS, losses, strict=True)}
    seen = []

    def score(sets):
        seen.extend(sets)
        return [table[frozenset(each)] for each in sets]

    rounds = list(greedy(NAMES, score, tries))
    assert [(frozenset(chosen), count) for chosen, count in rounds] == brute_force(table, tries)
    assert sum(count for _, count in rounds) == len(seen) <= tries
    assert len(set(map(frozenset, seen))) == len(seen)


def test_no_tries_no_rounds():
    assert list(greedy(NAMES, lambda sets: [math.nan] * len(sets), 0)) == []


def test_rounds_keep_the_best_addition(make_setting):
    setting = make_setting(candidates=9)
    found = points("subtuning", setting)
    single = {each.name: each for each in points("single_units", setting)}
    # Three units before the head: a round of one, of three, of two, of one, and the next rate begins.
    assert [round(point.images / setting.cost()) for point in found][:2] == [1, 3]
    losses = dict(zip(single, setting.problem.losses([each.fitted for each in single.values()]), strict=True))
    of_one = {name.replace(" alone", ""): loss for name, loss in losses.items() if name.endswith("at 1")}
    assert of_one[found[1].name] == min(of_one.values())
    assert setting.problem.losses([found[1].fitted]) == [min(of_one.values())]


@pytest.mark.parametrize("candidates", [1, 3, 4, 8])
def test_rounds_that_cannot_be_paid_are_not_begun(make_setting, candidates):
    setting = make_setting(candidates=candidates)
    found = points("subtuning", setting)
    spent = sum(point.images for point in found)
    assert spent <= setting.budget
    assert found[0].name == "head at 1"
    # With too few for a round of three the heads of other rates are tried.
    assert (len(found) == candidates) == (candidates <= 3)
