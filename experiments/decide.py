"""Members of a finished run that a person asks for: the knee, or who satisfies some wishes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from analysis.decisions import CHOICE_SPLITS, Decision, knee, prefer
from analysis.indicators import merged
from experiments.result import Result
from moprune.errors import UsageError, not_one_of
from moprune.objectives import Objective

Decided = tuple[str, str, Decision, pd.Series]
"""A front's name, ``knee`` or ``wish``, the decision, and the member's row."""


@dataclass(frozen=True)
class Choice:
    """What a person wants to know about which member to take.

    Attributes:
        result: the run.
        split: where members are merged and chosen: ``select`` or ``search``.
        wishes: by objective or reported measure, what is good enough, natural units.
        knee: whether the knee is asked for.
        merged: whether all seeds make one front.

    Raises:
        UsageError: the split is not one to choose on.
    """

    result: Result
    split: str = "select"
    wishes: Mapping[str, float] = field(default_factory=dict)
    knee: bool = False
    merged: bool = False

    def __post_init__(self) -> None:
        if self.split == "test":
            raise UsageError("members are never chosen on test; choose on select, then read their test result")
        if self.split not in CHOICE_SPLITS:
            raise not_one_of("split", self.split, CHOICE_SPLITS)

    @property
    def criteria(self) -> tuple[Objective, ...]:
        """The objectives, and what was reported beside them where a wish is for it."""
        return (*self.result.objectives, *(each for each in self.result.reported if each.name in self.wishes))

    def fronts(self) -> dict[str, pd.DataFrame]:
        """Returns the fronts to choose from: each seed's by its number, or one of all seeds."""
        front = self.result.front
        if self.merged:
            return {"all": merged(front, self.result.objectives, self.split)}
        return {str(seed): front[front["seed"] == seed] for seed in self.result.config.seeds}

    def decisions(self) -> list[Decided]:
        """Returns the decisions asked for, front by front."""
        found: list[Decided] = []
        for name, front in self.fronts().items():
            made = {}
            if self.knee:
                made["knee"] = knee(front, self.result.objectives, self.split)
            if self.wishes:
                made["wish"] = prefer(front, self.criteria, self.wishes, self.split)
            for rule, decision in made.items():
                found.append((name, rule, decision, front[front["solution"] == decision.solution].iloc[0]))
        return found
