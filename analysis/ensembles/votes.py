"""Ensembles of front members: one module whose prediction is the mean of its members' probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moprune.errors import UsageError


class SoftVote(nn.Module):
    """Averages the class probabilities of its members and returns their logarithm.

    Args:
        members: modules from the same input to logits ``(n, C)``, at least one.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise UsageError("an ensemble needs at least one member")
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Returns log-probabilities ``(n, C)``."""
        return soft_vote([member(x) for member in self.members])


def soft_vote(logits: Sequence[Tensor]) -> Tensor:
    """Returns the logarithm of the members' mean probabilities, ``(n, C)``, in the type of the logits."""
    stacked = torch.stack([each.double().log_softmax(-1) for each in logits])
    return (stacked.logsumexp(0) - torch.log(torch.tensor(float(len(logits))))).to(logits[0].dtype)
