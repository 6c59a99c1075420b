from itertools import product

import numpy as np
import pytest
import torch

from analysis.ensembles import METHODS, best_k, diverse, ensembles_of, greedy, soft_vote, windows
from moprune import metrics
from moprune.errors import UsageError


@pytest.fixture
def select(invented):
    members = invented(k=5, n=40)
    return members.logits("select"), members.labels("select")


def test_best_k_is_the_order_of_the_errors(select):
    logits, labels = select
    errors = [metrics.error(each, labels) for each in logits]
    assert best_k(logits, labels, 3) == tuple(np.lexsort(([metrics.nll(m, labels) for m in logits], errors))[:3])
    assert len(best_k(logits, labels, 99)) == 5


@pytest.mark.parametrize("measure", ["nll", "error"])
def test_greedy_takes_the_best_addition_at_every_step(select, measure):
    logits, labels = select
    losses = {"nll": metrics.nll, "error": metrics.error}
    tie = {"nll": "error", "error": "nll"}[measure]
    expected = []
    for _ in range(6):
        scored = []
        for i in range(len(logits)):
            vote = soft_vote(logits[[*expected, i]].double())
            scored.append((round(losses[measure](vote, labels), 12), round(losses[tie](vote, labels), 12), i))
        expected.append(min(scored)[-1])
    assert greedy(logits, labels, 6, measure=measure) == tuple(expected)


def test_greedy_of_two_is_close_to_the_best_pair_and_never_worse_than_one(select):
    logits, labels = select
    taken = metrics.nll(soft_vote(logits[list(greedy(logits, labels, 2))].double()), labels)
    pairs = [metrics.nll(soft_vote(logits[list(pair)].double()), labels) for pair in product(range(5), repeat=2)]
    alone = [metrics.nll(each.double(), labels) for each in logits]
    assert min(pairs) <= taken <= min(alone)


def test_greedy_of_identical_members_takes_the_first_only():
    logits = torch.randn(1, 20, 3, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1)
    assert greedy(logits, torch.zeros(20, dtype=torch.int64), 3) == (0, 0, 0)


def test_diverse_is_drep(select):
    logits, labels = select
    predicted = logits.double().softmax(-1).argmax(-1)
    places = list(best_k(logits, labels, 1))
    while len(places) < 4:
        vote = soft_vote(logits[places].double()).argmax(-1)
        rest = sorted(set(range(5)) - set(places), key=lambda i: (int((predicted[i] == vote).sum()), i))
        candidates = rest[: -(-2 * len(rest) // 5)]
        votes = {i: soft_vote(logits[[*places, i]].double()) for i in candidates}
        places.append(min(candidates, key=lambda i: (metrics.error(votes[i], labels), metrics.nll(votes[i], labels))))
    assert diverse(logits, labels, 4) == tuple(places)


def test_diverse_takes_each_member_once(select):
    assert sorted(diverse(*select, 99)) == [0, 1, 2, 3, 4]


def test_windows_are_percentiles():
    found = windows(np.arange(101) / 100)
    assert found["50-60"] == tuple(range(50, 61))
    assert found["85-95"] == tuple(range(85, 96))
    assert len(found) == 8
    assert windows([0.7]) == dict.fromkeys(found, (0,))
    assert windows([0.5, 0.9]) == {}  # all windows lie between them


@pytest.mark.parametrize("rule", [best_k, greedy, diverse])
def test_what_cannot_be_chosen_from_is_refused(rule, select):
    with pytest.raises(UsageError, match="at least 1"):
        rule(*select, 0)
    with pytest.raises(UsageError, match="k >= 1"):
        rule(torch.empty(0, 5, 3), torch.zeros(5, dtype=torch.int64), 1)


def test_unknown_options_are_refused(select):
    with pytest.raises(UsageError, match="did you mean 'error'"):
        greedy(*select, 1, measure="eror")
    with pytest.raises(UsageError, match="share"):
        diverse(*select, 1, among=0)


@pytest.mark.parametrize("seed", range(3))
def test_test_labels_and_logits_change_no_choice(invented, seed):
    members, other = invented(k=8, seed=seed), invented(k=8, seed=seed + 100)
    swapped = type(members)(
        members.problem, members.solutions, members.genomes,
        {"select": members.outcomes["select"], "test": other.outcomes["test"]},
    )  # fmt: skip
    chosen = [[(e.name, e.members.solutions) for e in ensembles_of(m, methods=METHODS)] for m in (members, swapped)]
    assert chosen[0] == chosen[1]
    assert {name for name, _ in chosen[0]} == {*METHODS[:-1], "window_error", "window_auroc"}
