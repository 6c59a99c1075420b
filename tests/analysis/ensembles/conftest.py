import numpy as np
import pytest
import torch

from analysis.members import Members, predict
from moprune.data import Task
from moprune.objectives import Outcome
from moprune.population import Training
from problems.pruning import PruningProblem


@pytest.fixture(scope="session")
def problem(tmp_path_factory):
    """Pruning of both layers of a small head on the features of a network of random weights."""
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(240, 1, 4, 4, generator=generator), torch.arange(240) % 3
    images += labels[:, None, None, None] * torch.linspace(0, 0.3, 4)
    pools = {
        "search": {"noise": torch.rand(40, 1, 4, 4, generator=generator)},
        "test": {"bright": torch.rand(40, 1, 4, 4, generator=generator) + 1, "dark": torch.zeros(20, 1, 4, 4)},
    }
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 12), torch.nn.ReLU(), torch.nn.Linear(12, 5))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return PruningProblem(
        Task.from_tensors(images, labels, ood=pools), network, hidden=[8], encoding="units",
        training=Training(epochs=4), seed=3, device="cpu", cache=tmp_path_factory.mktemp("features"),
    )  # fmt: skip


@pytest.fixture(scope="session")
def pool(problem):
    """Seven random masks with their predictions."""
    genomes = np.random.default_rng(1).random((7, problem.n_var)) < 0.6
    return predict(problem, [f"3-{i}" for i in range(7)], genomes)


@pytest.fixture
def invented():
    """Makes members whose predictions are drawn at random, better than chance."""

    def make(k=6, n=50, classes=3, seed=0, problem=None):
        generator = torch.Generator().manual_seed(seed)
        outcomes = {}
        for split in ("select", "test"):
            labels = torch.randint(classes, (n,), generator=generator)
            hint = torch.nn.functional.one_hot(labels, classes).float()
            outcomes[split] = tuple(
                Outcome(
                    torch.randn(n, classes, generator=generator) + hint, labels,
                    {"pool": torch.randn(30, classes, generator=generator)}, {"active_units": float(i + 1)},
                )
                for i in range(k)
            )  # fmt: skip
        return Members(problem, tuple(f"1-{i}" for i in range(k)), np.eye(k, dtype=bool), outcomes)

    return make
