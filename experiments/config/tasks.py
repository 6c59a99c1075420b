"""What an experiment file may say of its task: a section for each kind."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from experiments.config.base import Count, Section, known
from moprune.networks.heads import ACTIVATIONS
from moprune.networks.selection import KINDS
from moprune.population import MODES, STRATEGIES, Training
from moprune.population.recipes import AUGMENTS
from problems.pruning import ENCODINGS


class TrainingConfig(Section):
    """How a head is trained; see moprune.population.Training."""

    epochs: Annotated[int, Field(ge=0, description="passes over the training split at most")] = Training.epochs
    batch_size: Count = Field(Training.batch_size, description="images a step")
    learning_rate: Annotated[float, Field(gt=0, description="of SGD")] = Training.learning_rate
    momentum: Annotated[float, Field(ge=0, lt=1, description="of SGD")] = Training.momentum
    nesterov: bool = Field(Training.nesterov, description="whether the momentum looks ahead")
    decay: Annotated[float, Field(ge=0, description="of the learning rate, a step")] = Training.decay
    weight_decay: Annotated[float, Field(ge=0, description="decoupled")] = Training.weight_decay
    patience: Count | None = Field(Training.patience, description="epochs without a lower training loss to stop at")
    min_delta: Annotated[float, Field(ge=0, description="improvement that counts")] = Training.min_delta
    restore_best: bool = Field(Training.restore_best, description="keep the weights of the least training loss")


class PruningConfig(Section):
    """The head and what is pruned in it."""

    encoding: str = Field("features", description=f"what a bit switches: {', '.join(ENCODINGS)}")
    hidden: tuple[Count, ...] = Field((512,), description="widths of the hidden layers before pruning")
    activation: str = Field("relu", description=f"of the hidden layers: {', '.join(ACTIVATIONS)}")
    hidden_bias: bool = Field(False, description="whether hidden layers have a bias")
    members: Count = Field(8, description="small heads that make up a head; 1 for a plain one")
    readers: Count = Field(2, description="members that read each feature")
    mode: str = Field("full", description=f"training during the search: {', '.join(MODES)}")
    folds: Count = Field(4, description="of the search split, each scored by heads trained on the others; 1: none")
    refit: bool = Field(True, description="whether later splits are scored by heads trained on the earlier ones too")
    repeats: Count = Field(1, description="initial weights each candidate is trained from")
    training: TrainingConfig = TrainingConfig()
    strategy: str = Field("auto", description=f"how the population is trained: {', '.join(STRATEGIES)}")
    chunk: Count | None = Field(None, description="candidates trained at once; by default what memory allows")
    memory_limit: Annotated[
        float, Field(gt=0, description="GiB of features, of all splits and pools, that memory holds; more stay on disk")
    ] = 2.0

    @field_validator("encoding")
    @classmethod
    def _encoding(cls, value: str) -> str:
        return known("encoding", value, ENCODINGS)

    @field_validator("activation")
    @classmethod
    def _activation(cls, value: str) -> str:
        return known("activation", value, ACTIVATIONS)

    @field_validator("mode")
    @classmethod
    def _mode(cls, value: str) -> str:
        return known("mode", value, MODES)

    @field_validator("strategy")
    @classmethod
    def _strategy(cls, value: str) -> str:
        return known("strategy", value, STRATEGIES)


class MembersConfig(Section):
    """Fine-tuned copies of the network: what coefficients mix, and what a first population begins with."""

    count: Annotated[int, Field(ge=0, description="how many; 0 for none")] = 0
    kind: Literal["grid", "random", "checkpoints"] = Field(
        "grid", description="of recipes drawn for each member, or the last epochs of one run"
    )
    epochs: Count = Field(3, description="of fine-tuning at most, by backpropagation on the training split")
    base_rate: Annotated[float, Field(gt=0, description="the middle of the learning rates")] = 0.01
    batch_size: Count = Field(128, description="images a step")
    augment: str = Field("none", description=f"of half the members: {', '.join(AUGMENTS)}")

    @field_validator("augment")
    @classmethod
    def _augment(cls, value: str) -> str:
        return known("augmentation", value, AUGMENTS)


GENOMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "weights": ("parameters", "delta"),
        "scales": ("parameters", "per", "spread"),
        "mixing": ("per", "low", "high"),
        "random_subspace": ("parameters", "dimension", "spread"),
        "low_rank_subspace": ("parameters", "dimension", "spread"),
    }
)
"""What the variables of refinement may be, and the keys that say more of each."""


STARTS = ("network", "uniform_soup", "best_member")
"""What refinement may start from: the pre-trained network, the mean of its members, or that of least search loss."""


class RefinementConfig(Section):
    """The weights that are searched, and how candidates are scored."""

    start: str = Field("network", description=f"what is refined: {', '.join(STARTS)}")
    genome: str = Field("weights", description=f"what a variable is: {', '.join(GENOMES)}")
    parameters: tuple[str, ...] | None = Field(
        None, description=f"which: {', '.join(KINDS)}, or names with wildcards; by default all"
    )
    delta: Annotated[float, Field(gt=0)] | None = Field(
        None, description="of weights: half the side of the box around them; by default unbounded"
    )
    per: str | None = Field(
        None, description="scales: one pair for each tensor or filter; mixing: for each network, stage or layer"
    )
    spread: Annotated[float, Field(gt=0)] | None = Field(None, description="of scales and subspaces: half the box")
    dimension: Count | None = Field(None, description="of a subspace")
    low: float | None = Field(None, description="of mixing: least coefficient")
    high: float | None = Field(None, description="of mixing: greatest coefficient")
    members: MembersConfig = MembersConfig()
    reestimate: bool = Field(False, description="whether normalisation statistics are re-estimated for a candidate")
    images_a_subset: Count | None = Field(
        None, description="for algorithms that redraw the images they score on; by default the whole split"
    )
    batch_size: Count = Field(500, description="images scored at once")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of the search's forward passes; select and test are always scored in float32"
    )
    publication: Literal["sa_shade", "metaheuristics"] | None = Field(
        None, description="of profile paper: which publication's protocol and settings (default sa_shade)"
    )

    @field_validator("start")
    @classmethod
    def _start(cls, value: str) -> str:
        return known("start", value, STARTS)

    @field_validator("genome")
    @classmethod
    def _genome(cls, value: str) -> str:
        return known("genome", value, GENOMES)

    @model_validator(mode="after")
    def _fits(self) -> "RefinementConfig":
        every = {name for names in GENOMES.values() for name in names}
        for name in sorted(every - set(GENOMES[self.genome])):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} says nothing of genome {self.genome}; remove it")
        if "subspace" in self.genome and self.dimension is None:
            raise ValueError(f"genome {self.genome} needs a dimension; give how many variables it shall have")
        for what, needed in (
            ("genome mixing", self.genome == "mixing"),
            (f"start {self.start}", self.start != "network"),
        ):
            if needed and self.members.count == 0:
                raise ValueError(f"{what} needs members; give members.count")
        if self.genome == "mixing" and self.start != "network":
            raise ValueError("genome mixing starts from the network itself; leave start out")
        return self

    def options(self) -> dict[str, object]:
        """Returns the keys of the genome that are given, by name."""
        return {name: getattr(self, name) for name in GENOMES[self.genome] if getattr(self, name) is not None}
