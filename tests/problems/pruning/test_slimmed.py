import numpy as np
import pytest
import torch

from moprune.data import SplitPlan, Task, open_digits
from moprune.networks import parameters, pretrained_digits
from moprune.population import Training
from problems.pruning import PruningProblem


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    source, _ = open_digits().without(list("01234"))
    plan = {split: SplitPlan("all", 0.2, 40) for split in ("train", "search", "select", "test")}
    task = Task.from_source(source, plan=plan, name="digits")
    cache = tmp_path_factory.mktemp("cache")
    return PruningProblem(
        task, pretrained_digits(folder=cache), hidden=[8], objectives=["error", "active_fraction"],
        training=Training(epochs=2), cache=cache,
    )  # fmt: skip


def test_the_slimmed_network_is_the_pruned_one_made_smaller(problem):
    genome = np.zeros(problem.n_var, dtype=bool)
    genome[:40] = True  # four features a channel: ten channels of 32 are read
    images = torch.stack([problem.task.test.inputs[i] for i in range(len(problem.task.test))])
    whole, slim = problem.network(genome), problem.slimmed(genome)
    with torch.no_grad():
        torch.testing.assert_close(slim(images), whole(images), rtol=1e-4, atol=1e-4)
    # A channel less of the last convolution is 32 x 3 x 3 weights and two of the normalisation less.
    assert parameters(whole) - parameters(slim) == 22 * (32 * 9 + 2)


def test_the_logits_are_those_that_were_scored(problem):
    genome = np.zeros(problem.n_var, dtype=bool)
    genome[::3] = True
    (outcome,) = next(iter(problem.outcomes(genome[None], ["test"])))["test"]
    images = torch.stack([problem.task.test.inputs[i] for i in range(len(problem.task.test))])
    with torch.no_grad():
        torch.testing.assert_close(problem.slimmed(genome)(images), outcome.logits, rtol=1e-4, atol=1e-4)
