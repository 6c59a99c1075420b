"""What the rest of :mod:`experiments` has to know of a kind of task; nothing else asks which kind it is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from pymoo.core.algorithm import Algorithm
from torch import Tensor, nn

from experiments.config import ExperimentConfig
from moprune.data import Task
from moprune.networks.low_rank import Factors
from moprune.problem import Genomes, SearchProblem
from moprune.search import Run

Working = Callable[[str, int, int, str], None]
"""Called with (what is being done, parts done, parts in all, what the parts are) while a problem is prepared."""


def quietly(_what: str, _done: int, _total: int, _unit: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Deliverable:
    """A network that is to be written.

    Attributes:
        network: what is written, on the CPU.
        scored: the network that the search scored; it gives the same logits.
        before: the network without what the search changed, for its costs.
        images: preprocessed items, by which the file is compared with what was scored.
        description: what a program has to know of it, JSON-ready.
        load: reads its weights file again.
        delta: in what it differs from ``before``, to be written beside it; None where it is written whole alone.
    """

    network: nn.Module
    scored: nn.Module
    before: nn.Module
    images: Tensor
    description: Mapping[str, Any]
    load: Callable[[Path], nn.Module]
    delta: Mapping[str, Tensor | Factors] | None = None


class TaskKind(ABC):
    """One experiment as its kind of task sees it.

    Args:
        config: the experiment.

    Attributes:
        random: what the control ``random`` is called in tables and pictures.
        shown: what the names of those :meth:`columns` begin with that are looked at like parameters of a trial.
    """

    random: ClassVar[str]
    shown: ClassVar[str]

    def __init__(self, config: ExperimentConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def optimistic(self) -> bool:
        """Whether members are selected on the test split, as a published method did."""

    @property
    def items(self) -> str:
        """What a split is made of, in words."""
        others = {"text": "texts", "docstrings": "texts", "features": "feature vectors"}
        return others.get(self.config.data.source, "images")

    @abstractmethod
    def problem(self, seed: int, working: Working = quietly) -> SearchProblem:
        """Returns the problem of a run seed; what seeds share is made once.

        Raises:
            UsageError: the data, the network or the settings cannot be used; the message says why.
        """

    def check(self, problem: SearchProblem) -> None:  # noqa: B027 - most kinds learn of it with the problem
        """Refuses controls that this search space does not have, before the work is done.

        Raises:
            UsageError: names the control.
        """

    @abstractmethod
    def digests(self, problem: SearchProblem) -> dict[str, str]:
        """Returns the digests of what a problem is made of: ``data`` and ``network``."""

    @abstractmethod
    def task(self, problem: SearchProblem) -> Task:
        """Returns the data of a problem."""

    def images(self, problem: SearchProblem) -> dict[str, int]:
        """Returns how many images each split and pool has."""
        return self.task(problem).sizes()

    @abstractmethod
    def algorithm(self, problem: SearchProblem) -> Algorithm:
        """Returns the algorithm of the search, not yet run."""

    @abstractmethod
    def random_search(self, problem: SearchProblem) -> Algorithm:
        """Returns what draws candidates blindly, for the control ``random``.

        Raises:
            UsageError: candidates of this search space cannot be drawn so.
        """

    def random_evaluations(self, run: Run) -> int:
        """Returns how many candidates the control ``random`` draws: as many as the search has asked for in the end."""
        return run.log.count("search", run.seed)

    def after(self, run: Run) -> Run | None:  # noqa: ARG002 - most kinds end with the search
        """Returns a stage made of the finished search, whose first member is recommended; None where there is none."""
        return None

    @abstractmethod
    def control(self, name: str, run: Run) -> pd.DataFrame:
        """Returns the points of a control beside a finished search, a row each.

        ``solution`` and what it scores on each split, as :meth:`moprune.problem.SearchProblem.assess` has it; where it
        is counted also ``images``, the forward-image equivalents that making the point took.
        """

    def prepared(self, problem: SearchProblem) -> dict[str, int]:  # noqa: ARG002 - most kinds count nothing
        """Returns the forward-image equivalents spent before the search, by what for."""
        return {}

    def notes(self, run: Run) -> list[str]:  # noqa: ARG002 - most kinds have nothing to warn of
        """Returns what a person should know of a finished search besides what it found, in sentences."""
        return []

    @abstractmethod
    def choose(self, points: pd.DataFrame, images: Mapping[str, int]) -> str:
        """Returns the solution to take of a front or a control, see :func:`analysis.fronts.choose`."""

    @abstractmethod
    def choice(self, names: Sequence[str]) -> str:
        """Returns in words how members are chosen, where those objectives and reports are measured."""

    @abstractmethod
    def columns(self, genomes: Genomes, fingerprint: Mapping[str, Any]) -> pd.DataFrame:
        """Returns numbers that say of each genome, row by row, what people can look at; for exported tables.

        Args:
            genomes: ``(n, n_var)``.
            fingerprint: that of the problem, from the log.
        """

    @abstractmethod
    def deliverable(self, problem: SearchProblem, genome: Genomes, notes: Mapping[str, Any]) -> Deliverable:
        """Returns the network of a genome with all that is needed to write it.

        Args:
            problem: that of the genome's seed.
            genome: ``(n_var,)``.
            notes: what the run knows of the solution, for the description.
        """

    def shift_note(self) -> str:
        """Returns why values on test differ from those on search by more than chance, if so; for people."""
        return ""
