"""A small problem that all controls are tried on, and plain fine-tuning as torch does it."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from moprune.data import Task
from moprune.networks import DigitsNet, units
from moprune.population.tuning import TuningRecipe
from moprune.seeding import torch_generator
from problems.selection import Graded
from problems.selection.controls import Setting
from problems.selection.problem import SelectionProblem


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    return torch.rand(count, 1, 8, 8, generator=generator) + labels.view(-1, 1, 1, 1) * 0.2, labels


def make_network():
    network = DigitsNet(3, width=4, seed=1)
    network.train()
    with torch.no_grad():
        network(images(60, 3)[0])  # statistics that are not those of a fresh network
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def task():
    return Task.from_tensors(*images(120, 1), test=images(30, 2), seed=0)


@pytest.fixture
def make_setting(task):
    """Returns settings whose budget pays for some candidates."""

    def make(candidates=6, genotype=None, epochs=2, recipe=None, data=task, **options):
        network = make_network()
        genotype = genotype or Graded(network, units(network, "block"), ranks=(1, 2))
        recipe = TuningRecipe(
            **{"epochs": epochs, "batch_size": 16, "learning_rate": 0.01, "statistics": "frozen", **(recipe or {})}
        )
        problem = SelectionProblem(data, network, genotype, recipe=recipe, device="cpu", **options)
        setting = Setting(problem, 1, seed=7)
        return Setting(problem, candidates * setting.cost(), seed=7)

    return make


@pytest.fixture
def plainly():
    """Returns a plain training loop: batch normalisation as in evaluation, one rate a parameter, last epoch kept."""

    def train(network, data, recipe, rates, start, seed, epochs=None, penalty=None, first=0):
        tuned = copy.deepcopy(network)
        tuned.load_state_dict(start, strict=False)
        parameters = {name: each.requires_grad_() for name, each in tuned.named_parameters() if name in rates}
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
        momentum = {"momentum": recipe.momentum} if recipe.optimiser == "sgd" else {}
        groups = [{"params": [each], "factor": rates[name]} for name, each in parameters.items()]
        optimiser = kinds[recipe.optimiser](groups, recipe.learning_rate, weight_decay=recipe.weight_decay, **momentum)
        epochs, count = epochs or recipe.epochs, len(data.labels)
        steps = math.ceil(count / recipe.batch_size)
        for epoch in range(first, first + epochs):
            order = torch.randperm(count, generator=torch_generator(seed, "batch order", epoch)).numpy()
            for step, rows in enumerate(np.array_split(order, steps)):
                done = (epoch + step / steps) / epochs if recipe.horizon is None else epoch / recipe.horizon
                for group in optimiser.param_groups:
                    group["lr"] = recipe.learning_rate * group["factor"] * (1 + math.cos(math.pi * done)) / 2
                loss = functional.cross_entropy(tuned(data.inputs[rows]), data.labels[rows])
                if penalty is not None:
                    loss = loss + penalty(parameters)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        return {name: each.detach().clone() for name, each in tuned.state_dict().items()}

    return train
