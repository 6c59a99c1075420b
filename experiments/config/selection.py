"""What an experiment file may say of the selection of layers: the units, what is trained of them, and how."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from experiments.config.base import Count, Section, Share, known
from moprune.population.tuning import TuningRecipe
from moprune.population.tuning.recipe import OPTIMISERS, STATISTICS

GENOMES: Mapping[str, tuple[str, ...]] = MappingProxyType({"graded": ("ranks", "log_rates"), "importances": ()})
"""What genomes of a fine-tuning may be, and the keys that say more of each; see problems.selection.genomes."""


class RecipeConfig(Section):
    """How a candidate is trained; see moprune.population.tuning.TuningRecipe."""

    optimiser: str = Field(TuningRecipe.optimiser, description=f"of every candidate: {', '.join(OPTIMISERS)}")
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        TuningRecipe.learning_rate, description="base rate; a genome multiplies it, unit by unit"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        TuningRecipe.weight_decay, description="of all that is trained; apart from the gradient with adamw"
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(TuningRecipe.momentum, description="of sgd")
    epochs: Count = Field(TuningRecipe.epochs, description="passes over the training images, at most")
    batch_size: Annotated[int, Field(ge=2)] = Field(TuningRecipe.batch_size, description="images a step, at most")
    horizon: Count | None = Field(
        TuningRecipe.horizon, description="epochs after which the cosine would be zero; by default those trained"
    )
    patience: Count | None = Field(
        TuningRecipe.patience,
        description="epochs without better accuracy on search to stop after, the best one kept; by default all are "
        "trained and the last kept",
    )
    statistics: str = Field(
        TuningRecipe.statistics,
        description=f"normalisation layers that use and update statistics of batches: {', '.join(STATISTICS)}; frozen: "
        "none, tuned: those whose parameters are trained",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of convolutions and products in training; weights and optimiser are in float32"
    )

    @field_validator("optimiser")
    @classmethod
    def _optimiser(cls, value: str) -> str:
        return known("optimiser", value, OPTIMISERS)

    @field_validator("statistics")
    @classmethod
    def _statistics(cls, value: str) -> str:
        return known("statistics", value, STATISTICS)


class RungConfig(Section):
    """A cheaper way to score a candidate, for algorithms that promote the better ones."""

    epochs: Share = Field(description="share of the recipe's epochs, at least one")
    images: Share = Field(description="share of the training images, class by class")


class SelectionConfig(Section):
    """Which units there are, what a genome says of them, and how candidates are trained and scored."""

    granularity: Literal["stage", "block"] = Field("stage", description="what is tuned or frozen as one")
    parts: Literal["whole", "split"] = Field(
        "whole", description="split: weights, normalisation and biases of each are units of their own"
    )
    units: dict[str, tuple[str, ...]] | None = Field(
        None, description="your own units instead: names with the parameters of each, as in refinement.parameters"
    )
    genome: str = Field("graded", description=f"what a genome says of units: {', '.join(GENOMES)}")
    ranks: tuple[Count, ...] | None = Field(
        None, description="of graded: ranks at which a unit may be changed, rising; by default [4]"
    )
    log_rates: tuple[float, float] | None = Field(
        None, description="of graded: least and greatest log10 of a unit's factor of the base rate; by default [-2, 1]"
    )
    head: Literal["kept", "new"] = Field(
        "new", description="whether the classifier is drawn anew; kept: the network knows these classes, in this order"
    )
    seeds: Count = Field(1, description="training seeds of a full evaluation; its values are means over them")
    folds: Annotated[int, Field(ge=2)] | None = Field(
        None, description="of train and search, for algorithms that score generations on them in turn (biotune)"
    )
    rungs: tuple[RungConfig, ...] = Field((), description="of nsga2_promoting: cheaper scores, the cheapest first")
    recipe: RecipeConfig = RecipeConfig()
    batch_size: Count = Field(500, description="images scored at once")

    @field_validator("genome")
    @classmethod
    def _genome(cls, value: str) -> str:
        return known("genome", value, GENOMES)

    @field_validator("ranks")
    @classmethod
    def _rising(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and list(value) != sorted(set(value)):
            raise ValueError("give different ranks in rising order")
        return value

    @field_validator("log_rates")
    @classmethod
    def _range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError("give the least and the greatest log10 of a factor, such as [-2, 1]")
        return value

    @field_validator("units")
    @classmethod
    def _some(cls, value: dict[str, tuple[str, ...]] | None) -> dict[str, tuple[str, ...]] | None:
        if value is not None and not (value and all(value.values())):
            raise ValueError("name each unit with its parameters, such as early: [conv1.*, bn1.*]")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "SelectionConfig":
        every = {name for names in GENOMES.values() for name in names}
        for name in sorted(every - set(GENOMES[self.genome])):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} says nothing of genome {self.genome}; remove it")
        return self

    def options(self) -> dict[str, object]:
        """Returns the keys of the genome that are given, by name."""
        return {name: getattr(self, name) for name in GENOMES[self.genome] if getattr(self, name) is not None}
