"""The pruning problem that OOD scoring and attribution are measured on: digits, of which the network knows five."""

import numpy as np
import torch
from numpy.typing import NDArray

from moprune.data import SplitPlan, Task, open_digits
from moprune.networks import pretrained_digits
from moprune.objectives import Objective
from moprune.population import Training
from moprune.seeding import numpy_generator
from problems.pruning import PruningProblem

POOL = "9"
"""The digit that stands for what is out of distribution."""

_SHARES = {"train": 0.3, "search": 0.3, "select": 0.2, "test": 0.2}


def pruning_problem(
    objectives: list[str | Objective], *, hidden: int, epochs: int, seed: int, device: torch.device
) -> PruningProblem:
    """Returns the problem of pruning the features of the network of digits 0 to 4 for digits 5 to 8.

    Args:
        objectives: what is scored.
        hidden: units of the head's hidden layer.
        epochs: that heads are trained; 0 to score them as they start.
        seed: the run seed.
        device: where the work is done.
    """
    source, _ = open_digits().without([str(digit) for digit in range(5)])
    plan = {split: SplitPlan("all", share) for split, share in _SHARES.items()}
    task = Task.from_source(source, plan=plan, ood_search=[POOL], ood_test=["photographs"], seed=seed, name="digits")
    return PruningProblem(
        task, pretrained_digits(), objectives=objectives, hidden=(hidden,), training=Training(epochs=epochs),
        seed=seed, device=device,
    )  # fmt: skip


def genomes(problem: PruningProblem, candidates: int, seed: int) -> NDArray[np.bool_]:
    """Returns random genomes ``(candidates, n_var)`` of densities U(0, 1), each with one bit on at least."""
    random = numpy_generator(seed, "benchmark genomes")
    drawn = random.random((candidates, problem.n_var)) < random.random((candidates, 1))
    drawn[:, 0] = True  # a head of no unit at all measures nothing
    return drawn
