"""The two ways BioTune's evolutionary algorithm can be run, switch by switch."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from moprune.errors import UsageError


@dataclass(frozen=True)
class Profile:
    """Parameters and switches of :class:`BioTune`; change one with ``dataclasses.replace``.

    Attributes:
        elites: best members that are probed and survive, >= 1.
        reach: largest step of a probe, in widths of the box, > 0.
        folds: subsets of the data that generations are scored on in turn, generation g on ``g mod folds``, where the
            problem offers ``subsets``, >= 1; None for all of the data.
        rescored: whether elites are scored again on the fold of a new generation. The published code compares the loss
            they have from another fold, which favours those that were lucky on an easy one.
        shrinking: whether a parent that its child beats mates no more in this generation. Then each child depends on
            the loss of the one before, and children are asked for one at a time; otherwise they are one batch.
        early: whether extinction factors hold from the first population on. As published they are first computed at the
            end of the first generation, whose children do not mutate and stay between their parents.
        ranked: whether extinction factors follow ranks alone, rather than ranks and losses: one very bad member makes
            the losses of all others nearly equal, and their children nearly stop mutating.
        momentum: whether a mixture of parents is also moved by a random share of how each of them left the mixture that
            it came from. The paper's figure shows a momentum in crossover; its code computes one and does not add it.
            How it is added here is not taken from either.
    """

    elites: int = 3
    reach: float = 0.25
    folds: int | None = 2
    rescored: bool = True
    shrinking: bool = True
    early: bool = False
    ranked: bool = False
    momentum: bool = False

    def __post_init__(self) -> None:
        if self.elites < 1 or not self.reach > 0 or (self.folds is not None and self.folds < 1):
            raise UsageError(f"a profile needs elites >= 1, reach > 0 and folds >= 1 or None, not {self}")

    def evaluations(self, generations: int, pop_size: int = 10, *, subsets: bool = False) -> int:
        """Returns what a search of whole generations costs; as published 140 for ten generations of ten members.

        Args:
            generations: after the first population, >= 0.
            pop_size: members.
            subsets: whether the problem offers subsets.
        """
        changes = max(0, generations - 1) if subsets and self.rescored and (self.folds or 1) > 1 else 0
        return pop_size + generations * (pop_size + self.elites) + changes * self.elites


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {"faithful": Profile(), "sound": Profile(folds=None, shrinking=False, early=True, ranked=True)}
)
"""``faithful`` is the algorithm as published, faults of its code apart; ``sound`` repairs what weakens it, and asks for
all children of a generation at once."""
