"""What candidates predict on each split: what ensembles and comparisons are made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from moprune.errors import UsageError
from moprune.objectives import Outcome
from moprune.problem import Genomes, SearchProblem


@dataclass(frozen=True)
class Members:
    """Some candidates of one run seed with their predictions.

    Attributes:
        problem: the problem they solve.
        solutions: their ids, k of them.
        genomes: ``(k, n_var)``.
        outcomes: by split, each member's outcome; of several repeats the logits are those of the first.
    """

    problem: SearchProblem
    solutions: tuple[str, ...]
    genomes: Genomes
    outcomes: Mapping[str, tuple[Outcome, ...]]

    def __len__(self) -> int:
        return len(self.solutions)

    def logits(self, split: str) -> Tensor:
        """Returns the members' logits on a split, ``(k, n, C)``."""
        return torch.stack([outcome.logits for outcome in self.outcomes[split]])

    def labels(self, split: str) -> Tensor:
        """Returns the classes of a split's images, ``(n,)``."""
        return self.outcomes[split][0].labels

    def ood_logits(self, split: str) -> dict[str, Tensor]:
        """Returns the members' logits on each OOD pool of a split, name -> ``(k, m, C)``."""
        pools = self.outcomes[split][0].ood_logits
        return {pool: torch.stack([o.ood_logits[pool] for o in self.outcomes[split]]) for pool in pools}

    def costs(self) -> pd.DataFrame:
        """Returns what each member costs (``active_fraction``, ``head_parameters``, ...), a row a member."""
        split = next(iter(self.outcomes))
        return pd.DataFrame([dict(outcome.costs) for outcome in self.outcomes[split]], index=list(self.solutions))

    def subset(self, places: Sequence[int]) -> "Members":
        """Returns the members at some places, in that order; a place may come twice."""
        return Members(
            self.problem,
            tuple(self.solutions[i] for i in places),
            self.genomes[np.asarray(places, dtype=int)],
            {split: tuple(outcomes[i] for i in places) for split, outcomes in self.outcomes.items()},
        )


def predict(
    problem: SearchProblem,
    solutions: Sequence[str],
    genomes: Genomes,
    splits: Sequence[str] = ("select", "test"),
    progress: Callable[[int, int], None] | None = None,
) -> Members:
    """Trains the candidates again and returns them with their predictions; those that failed are left out.

    Args:
        problem: the problem they solve.
        solutions: their ids, k of them.
        genomes: ``(k, n_var)``.
        splits: the splits to predict on.
        progress: called with (candidates done, k) after each.

    Raises:
        UsageError: no candidate is given, or all failed.
    """
    kept = []
    for i, each in enumerate(problem.outcomes(problem.checked(genomes), splits)):
        if all(each[split] for split in splits):
            kept.append((i, {split: each[split][0] for split in splits}))
        if progress is not None:
            progress(i + 1, len(solutions))
    if not kept:
        raise UsageError("no member is left to predict: none was given, or the training of all diverged")
    return Members(
        problem,
        tuple(solutions[i] for i, _ in kept),
        genomes[[i for i, _ in kept]],
        {split: tuple(outcomes[split] for _, outcomes in kept) for split in splits},
    )
