"""What holds of all controls."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from moprune.errors import UsageError
from moprune.networks.selection import state_of
from moprune.population.finetuning import Recipe, finetune
from problems.refinement.controls import CONTROLS, Labelled, Setting, points, suitable
from problems.refinement.genomes import Weights
from problems.refinement.members import Members

BOUNDED = ["gradient", "gradient_search", "swa", "fge", "learned_soup", "snes"]


@pytest.mark.parametrize("name", list(CONTROLS))
def test_points_repeat_themselves_fit_the_network_and_leave_it_alone(make_setting, network, name, loss):
    before, random_state = state_of(network), torch.get_rng_state()
    setting = make_setting(network, budget=60 * 30)
    first, again = points(name, setting), points(name, setting)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[key]) for key, value in state_of(network).items())
    assert not network.training
    assert first
    for point, other in zip(first, again, strict=True):
        assert (point.name, point.images) == (other.name, other.images)
        for state, same in zip(point.states, other.states, strict=True):
            assert all(torch.equal(value, same[key]) for key, value in state.items())
            assert all(
                value.shape == before[key].shape and value.dtype == torch.float32 for key, value in state.items()
            )
        assert 0 < loss(network, point.states, setting.search) < 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(budget=st.integers(280, 4000), name=st.sampled_from(BOUNDED))
def test_the_budget_is_kept(make_setting, network, budget, name):
    for point in points(name, make_setting(network, members=2, budget=budget)):
        assert 0 < point.images <= budget


def test_without_members_their_controls_do_not_suit(make_setting, network):
    setting = make_setting(network, members=0)
    assert set(suitable(setting)) == {
        "pretrained", "start", "gradient", "gradient_search", "swa", "fge", "logistic_regression", "class_balance",
        "snes",
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"'greedy_soup' does not suit.*choose from: pretrained, start, gradient"):
        points("greedy_soup", setting)
    with pytest.raises(UsageError, match="did you mean 'greedy_soup'"):
        points("greedy_soop", setting)
    with pytest.raises(UsageError, match="trains on none"):
        replace(setting, budget=2)


def test_a_network_that_reads_tokens_has_all_controls():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(9, 4)
            self.lstm = nn.LSTM(4, 5, batch_first=True)
            self.linear = nn.Linear(5, 2)

        def forward(self, x):
            return self.linear(self.lstm(self.embedding(x))[1][0][-1])

    network = Words()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    network.requires_grad_(False).eval()
    tokens = torch.randint(9, (60, 6), generator=generator)
    train, search = Labelled(tokens[:40], tokens[:40, -1] % 2), Labelled(tokens[40:], tokens[40:, -1] % 2)
    recipes = (Recipe(0.1, epochs=2, batch_size=10), Recipe(0.2, epochs=2, batch_size=10))
    states = tuple(finetune(network, *train, recipe, seed=0)[0] for recipe in recipes)

    def losses(candidates):
        found = []
        for candidate in candidates:
            each = []
            for state in candidate:
                copied = Words().eval()
                copied.load_state_dict({**network.state_dict(), **state})
                with torch.no_grad():
                    each.append(copied(search.inputs).softmax(1))
            found.append(float(nn.functional.nll_loss(torch.stack(each).mean(0).log(), search.labels)))
        return found

    setting = Setting(
        network, train, search, losses, 2000, Weights(network, ["linear"], 0.1),
        Members(states, recipes, ("one", "two"), 0), recipes[0],
    )  # fmt: skip
    assert suitable(setting) == [name for name in CONTROLS if name != "pretrained"]
    for name in suitable(setting):
        assert points(name, setting)
    uniform, learned = (points(name, setting)[0].states for name in ("uniform_soup", "learned_soup"))
    assert losses([learned])[0] < losses([uniform])[0]
