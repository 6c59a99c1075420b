"""What a control is: fine-tunings chosen by something else than the search, from what the search may look at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from moprune.errors import UsageError
from moprune.networks.selection import KINDS, State
from moprune.networks.units import Unit
from moprune.population.batches import preprocessed
from moprune.population.tuning import Labelled
from problems.selection.anchors import body
from problems.selection.problem import SelectionProblem
from problems.selection.scoring import Fitted

RATES = (1.0, 0.1, 10.0, 0.3, 3.0, 0.03, 0.01)
"""Factors of the base rate, in the order that each control tries them while its budget lasts."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What a control may use: the train and the search split, never those that choose and report.

    Attributes:
        problem: what is searched: its network, recipe, training seeds and scoring are the control's too.
        budget: forward-image equivalents that all points of a control may cost together: a forward pass of an image is
            1, training on one is 3.
        seed: of what a control draws.
    """

    problem: SelectionProblem
    budget: float
    seed: int = 0

    @property
    def units(self) -> tuple[Unit, ...]:
        """The network's units."""
        return self.problem.units

    @cached_property
    def train(self) -> Labelled:
        """The train split, on the device."""
        task, device = self.problem.task, self.problem.device
        inputs = preprocessed(task.train.inputs, self.problem.scorer.preprocess)
        return Labelled(inputs.to(device), task.train.labels.to(device))

    @cached_property
    def seeds(self) -> list[int]:
        """The training seeds, S >= 1."""
        return [self.problem.training_seed(number) for number in range(self.problem.seeds)]

    @cached_property
    def starts(self) -> list[State]:
        """What each training seed starts with other than the network's, a new head or nothing."""
        return [self.problem.head_start(number) for number in range(self.problem.seeds)]

    def cost(self, training: float | None = None) -> float:
        """Returns the forward-image equivalents of a candidate: training it from all seeds, and scoring it on search.

        Args:
            training: those of one training; None for the recipe's of all epochs.
        """
        task, recipe = self.problem.task, self.problem.recipe
        if training is None:
            watched = 0 if recipe.patience is None else recipe.epochs * len(task.search)
            training = recipe.images(len(task.train)) + watched
        return self.problem.seeds * (training + self.problem.scorer.images("search"))

    @property
    def affordable(self) -> int:
        """How many candidates tuned for all epochs the budget pays for, >= 1; see :meth:`pays_for`."""
        return self.pays_for(self.cost())

    def pays_for(self, cost: float) -> int:
        """Returns how many candidates of some cost the budget pays for, >= 1.

        Raises:
            UsageError: it pays for none.
        """
        if (count := int(self.budget // cost)) == 0:
            raise UsageError(
                f"controls: the search spent {self.budget:g} forward-image equivalents, one candidate takes {cost:g}; "
                "give the search more evaluations"
            )
        return count


@dataclass(frozen=True, eq=False)
class Point:
    """One point of a control.

    Attributes:
        name: what tells it from the control's other points.
        fitted: the trained networks, one a training seed, and what was trained.
        images: forward-image equivalents spent on it, and on what was tried since the point before it.
    """

    name: str
    fitted: Fitted
    images: float


@dataclass(frozen=True)
class Control:
    """A way to choose what is fine-tuned, and how, that the search has to beat.

    Attributes:
        description: one line.
        points: makes its points, none of which is marked: choosing among them is the caller's.
        suits: whether it has any in a setting.
    """

    description: str
    points: Callable[[Setting], list[Point]]
    suits: Callable[[Setting], bool]


def always(_: Setting) -> bool:
    """Suits every setting."""
    return True


def has_body(setting: Setting) -> bool:
    """Suits networks with units before the head."""
    return bool(body(setting.units))


def has_norms(setting: Setting) -> bool:
    """Suits networks with parameters in normalisation layers."""
    return bool(KINDS["norms"](setting.problem.base))


def has_stages(setting: Setting) -> bool:
    """Suits recipes of epochs enough to train one thing after another, and networks with units before the head."""
    return has_body(setting) and setting.problem.recipe.epochs >= 2


def fitted(states: Sequence[State | None], names: Sequence[str], ranks: Mapping[str, int] | None = None) -> Fitted:
    """Returns networks of all training seeds as the problem scores them; those of which any diverged have failed.

    Args:
        states: one a training seed; None where it diverged.
        names: the parameters that were trained whole.
        ranks: name -> rank of the others.
    """
    groups = tuple((state,) for state in states if state is not None)
    return Fitted(groups if len(groups) == len(states) else (), tuple(names), ranks or {})
