"""A network of two linear layers, and an independent NumPy account of what it computes."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from moprune.data import Task
from problems.refinement import RefinementProblem
from problems.refinement.genomes import Weights


def _images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    return torch.rand(count, 1, 2, 2, generator=generator) + 0.3 * torch.eye(4)[labels].view(-1, 1, 2, 2), labels


@pytest.fixture(scope="session")
def problem():
    inputs, labels = _images(180, 1)
    task = Task.from_tensors(inputs, labels, test=_images(60, 2), seed=0)
    generator = torch.Generator().manual_seed(3)
    layers = OrderedDict(flat=nn.Flatten(), one=nn.Linear(4, 5), two=nn.Linear(5, 3))
    network = nn.Sequential(layers).requires_grad_(False)
    for parameter in network.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    network.two.bias.zero_()
    return RefinementProblem(
        task, network, Weights(network, ["all"]), objectives=["nll", "macro_f1"], device="cpu", batch_size=16, seed=4
    )


@pytest.fixture(scope="session")
def found(problem):
    """A better genome: gradient descent on the training images, with some weights left as they were."""
    network = problem.network(problem.genotype.start).requires_grad_(True)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5)
    train = problem.task.train
    inputs = torch.stack([train.inputs[i] for i in range(len(train))])
    for _ in range(30):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(inputs), train.labels).backward()
        optimiser.step()
    state = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    state["one.weight"][2] = problem.genotype.base["one.weight"][2]
    return problem.genotype.genome(state)


@pytest.fixture(scope="session")
def by_hand(problem):
    """Returns the loss on a split of weights (28 + 15,) flat: four arrays in the network's order."""

    def loss(flat, split="select"):
        given = problem.task.split(split)
        inputs = np.stack([given.inputs[i].numpy().ravel() for i in range(len(given))]).astype(np.float64)
        one, bias, two, other = np.split(np.asarray(flat, np.float64), np.cumsum([20, 5, 15]))
        logits = (inputs @ one.reshape(5, 4).T + bias) @ two.reshape(3, 5).T + other
        own = logits[np.arange(len(inputs)), given.labels.numpy()]
        return float((np.log(np.exp(logits).sum(1)) - own).mean())

    return loss
