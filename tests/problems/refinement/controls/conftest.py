"""A small task with members that all controls are tried on."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from moprune.population.finetuning import Recipe, finetune
from problems.refinement.controls import Labelled, Setting
from problems.refinement.genomes import Weights
from problems.refinement.members import Members


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def draw(count, seed):
    """Three classes, each around its own corner of four dimensions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    return Labelled(1.5 * torch.eye(4)[labels] + torch.randn(count, 4, generator=generator), labels)


@pytest.fixture
def network():
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        if not name.startswith("1."):
            nn.init.normal_(parameter, std=0.5, generator=generator)
    return network.requires_grad_(False).eval()


@pytest.fixture
def linear():
    network = nn.Sequential(nn.Linear(4, 3))
    nn.init.normal_(network[0].weight, generator=torch.Generator().manual_seed(1))
    nn.init.zeros_(network[0].bias)
    return network.requires_grad_(False).eval()


def loss_of(network, candidate, data):
    """Returns the negative log-likelihood of the mean of probabilities."""
    with torch.no_grad():
        each = [functional_call(network, dict(state), (data.inputs,)).double().softmax(1) for state in candidate]
    return float(functional.nll_loss(torch.stack(each).mean(0).log(), data.labels))


@pytest.fixture
def make_setting():
    def make(network, members=4, budget=20_000, parameters=("all",), **options):
        train, search = draw(90, seed=2), draw(60, seed=3)
        recipes = tuple(Recipe(learning_rate=0.1 * (i % 2 + 1), epochs=4, batch_size=10) for i in range(members))
        # Each on a third of its own, so that they err differently and their mean is worth something.
        states = [finetune(network, *train.some(30, seed=i), each, seed=i)[0] for i, each in enumerate(recipes)]
        names = tuple(f"member {i}" for i in range(members))
        before = {name: 0.9 * each for name, each in network.named_parameters()}
        options = {"recipe": Recipe(learning_rate=0.05, batch_size=30), "seed": 7, "pretrained": before, **options}
        made = Members(tuple(states), recipes, names, 0) if members else None

        def losses(candidates):
            return [loss_of(network, each, search) for each in candidates]

        return Setting(network, train, search, losses, budget, Weights(network, parameters, 0.5), made, **options)

    return make


@pytest.fixture
def loss():
    return loss_of


@pytest.fixture
def predictions():
    def predict(network, state, inputs):
        with torch.no_grad():
            return functional_call(network, dict(state), (inputs,)).numpy().astype(np.float64)

    return predict
