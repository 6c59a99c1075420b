"""The two ways SA-SHADE-tri-ensin can be run, switch by switch."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from moprune.errors import UsageError


@dataclass(frozen=True)
class Profile:
    """Parameters and switches of :class:`SASHADETriEnSin`; change one with ``dataclasses.replace``.

    Attributes:
        F: scale factor that sinusoids swing around and the memory of scale factors starts from, in (0, 1].
        CR: crossover rate that its memory starts from, in [0, 1].
        frequency: of the decreasing sinusoid, and what the memory of frequencies starts from ("faithful": both 0.5, at
            which the first is a constant; see :func:`sinusoids.decreasing`), > 0.
        memory: slots of each memory, >= 1.
        learning: generations looked back over to choose between the sinusoids, >= 1.
        period: generations after which the sinusoids start anew, >= 2, as the publication did on each new subset of the
            data; None for the whole budget.
        redrawn: whether each period has a subset of the data of its own, on which members are scored again, where the
            problem offers ``subsets``.
        sinusoids: whether scale factors follow sinusoids in the first half of a period.
        history: whether the memories of F, CR and frequency learn; otherwise they keep what they start from.
        adaptation: whether the probabilities of the strategies follow their success.
        trigonometric: first probability of the trigonometric strategy, in [0, 1]; 0 leaves it out.
        trigonometric_cap: its largest probability, in [0, 1].
        centred: whether its weights are made of losses above the best member's, rather than of losses as they are;
            those of members with nearly the same loss are nearly their mean.
        at_least_one: whether a trial takes at least one block from its donor.
        p_best: share of the best that "best" is drawn from, two at least; None for the single best.
        archive: whether the second difference of strategies 3 and 4 is that of JADE, ``x_r1 - x_r2`` with r2 from the
            population or an archive of replaced parents, rather than ``x_r1 - x_i``, which only contracts.
        cauchy: whether scale factors are drawn from Cauchy(M, 0.1) as in SHADE rather than N(M, 0.05).
        diversity_floor: distance that members keep, in first mean distances between members, >= 0; see
            :func:`diversity.keep_apart`.
    """

    F: float = 0.6
    CR: float = 0.8
    frequency: float = 0.5
    memory: int = 5
    learning: int = 5
    period: int | None = 10
    redrawn: bool = True
    sinusoids: bool = True
    history: bool = True
    adaptation: bool = True
    trigonometric: float = 0.2
    trigonometric_cap: float = 0.8
    centred: bool = False
    at_least_one: bool = False
    p_best: float | None = None
    archive: bool = False
    cauchy: bool = False
    diversity_floor: float = 0.0

    def __post_init__(self) -> None:
        whole = self.memory >= 1 and self.learning >= 1 and (self.period is None or self.period >= 2)
        shares = (self.CR, self.trigonometric, self.trigonometric_cap, self.p_best or 0)
        positive = 0 < self.F <= 1 and self.frequency > 0 and self.diversity_floor >= 0
        if self.redrawn and self.period is None:
            raise UsageError("a profile redraws subsets once a period: give it a period, or set redrawn=False")
        if not (whole and positive and all(0 <= share <= 1 for share in shares)):
            raise UsageError(
                "a profile needs F in (0, 1], CR, trigonometric, trigonometric_cap and p_best in [0, 1], frequency "
                f"> 0, memory and learning >= 1, period >= 2 or None and diversity_floor >= 0, not {self}"
            )


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "faithful": Profile(),
        "sound": Profile(
            period=None,
            redrawn=False,
            sinusoids=False,  # the ranking in docs/algorithms.md
            centred=True,
            at_least_one=True,
            p_best=0.11,
            archive=True,
            cauchy=True,
            diversity_floor=0.01,
        ),
    }
)
"""``faithful`` is the algorithm as published, faults of its code apart; ``sound`` repairs what weakens it."""
