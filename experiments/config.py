"""What an experiment file may say: every key, its type, its default and its accepted values."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from moprune.algorithms import NAMES as ALGORITHMS
from moprune.errors import not_one_of
from moprune.metrics import DETECTORS
from moprune.networks.heads import ACTIVATIONS
from moprune.objectives import NAMES as OBJECTIVES
from moprune.objectives import Objective, objective
from moprune.population import STRATEGIES, Training
from problems.pruning import ENCODINGS

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Mode = Literal["RGB", "L"]


def _known(what: str, value: str, accepted: Iterable[str]) -> str:
    if value not in (names := list(accepted)):
        raise not_one_of(what, value, names)
    return value


class _Strict(BaseModel):
    # Class names are often numbers; YAML would make them integers.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class SplitConfig(_Strict):
    """Where one split's images come from."""

    subset: str = Field(description="subset of the data: all, train, test or val")
    share: Share = Field(1.0, description="share of the subset, drawn class by class")
    limit: Count | None = Field(None, description="at most so many images")


class SplitsConfig(_Strict):
    """The four splits; parts taken from the same subset never overlap."""

    train: SplitConfig
    search: SplitConfig
    select: SplitConfig
    test: SplitConfig


class OodConfig(_Strict):
    """Out-of-distribution pools: built-in names, class names to hold out, or paths of folders and tars."""

    search: tuple[str, ...] = Field((), description="pools of the search; its other half serves selection")
    test: tuple[str, ...] = Field((), description="pools reported on, other than those of the search")


class DataConfig(_Strict):
    """The images."""

    source: Literal["digits", "folder", "tar", "torchvision"] = Field(description="digits are embedded")
    path: str | None = Field(None, description="of a folder or tar")
    name: str | None = Field(None, description="of a torchvision data set, e.g. CIFAR10")
    root: str | None = Field(None, description="where torchvision keeps it")
    download: bool = Field(False, description="whether torchvision may fetch it")
    mode: Mode | None = Field(None, description="convert images to RGB or grey")
    exclude: tuple[str, ...] = Field((), description="classes left out altogether")
    splits: SplitsConfig | None = Field(None, description="by default shares of what the source has")
    split_seed: int = Field(0, description="decides which images go where")
    ood: OodConfig = OodConfig()


class PreprocessConfig(_Strict):
    """How an image becomes the network's input; see moprune.networks.Preprocess."""

    resize: Count | None = Field(None, description="pixels of the shorter side")
    crop: Count | None = Field(None, description="pixels of the square cut from the centre")
    mean: tuple[float, ...] = Field((), description="subtracted from each channel of values in 0..1")
    std: tuple[float, ...] = Field((), description="each channel is divided by it")
    mode: Mode = Field("RGB", description="colour or grey")
    interpolation: Literal["bilinear", "bicubic", "nearest", "nearest-exact"] = Field(
        "bilinear", description="of resizing"
    )


class NetworkConfig(_Strict):
    """The pre-trained network."""

    arch: str = Field(description="digits, cifar_resnet20, any torchvision classifier, or package.module:factory")
    weights: str | None = Field(None, description="torchvision weights (DEFAULT), a file, or random")
    features: str | None = Field(None, description="module whose output is taken; default: classifier's input")
    preprocess: PreprocessConfig | None = Field(None, description="by default that of the weights")


class TrainingConfig(_Strict):
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


class PruningConfig(_Strict):
    """The head and what is pruned in it."""

    encoding: str = Field("features", description=f"what a bit switches: {', '.join(ENCODINGS)}")
    hidden: tuple[Count, ...] = Field((512,), description="widths of the hidden layers before pruning")
    activation: str = Field("relu", description=f"of the hidden layers: {', '.join(ACTIVATIONS)}")
    hidden_bias: bool = Field(False, description="whether hidden layers have a bias")
    repeats: Count = Field(1, description="initial weights each candidate is trained from")
    training: TrainingConfig = TrainingConfig()
    strategy: str = Field("auto", description=f"how the population is trained: {', '.join(STRATEGIES)}")
    chunk: Count | None = Field(None, description="candidates trained at once; by default what memory allows")

    @field_validator("encoding")
    @classmethod
    def _encoding(cls, value: str) -> str:
        return _known("encoding", value, ENCODINGS)

    @field_validator("activation")
    @classmethod
    def _activation(cls, value: str) -> str:
        return _known("activation", value, ACTIVATIONS)

    @field_validator("strategy")
    @classmethod
    def _strategy(cls, value: str) -> str:
        return _known("strategy", value, STRATEGIES)


class ObjectiveConfig(_Strict):
    """An objective with options."""

    name: str = Field(description=", ".join(OBJECTIVES))
    detector: str | None = Field(None, description="of the ood_ objectives: energy, max_logit, msp or odin")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return _known("objective", value, OBJECTIVES)

    @field_validator("detector")
    @classmethod
    def _detector(cls, value: str | None) -> str | None:
        return None if value is None else _known("detector", value, DETECTORS)


class SearchConfig(_Strict):
    """The algorithm and its budget."""

    algorithm: str = Field("nsga2", description=", ".join(ALGORITHMS))
    pop_size: Annotated[int, Field(ge=4, description="members of the population")] = 50
    n_offsprings: Annotated[int, Field(ge=2)] | None = Field(None, description="by default pop_size")
    n_eval: Count = Field(2000, description="evaluations; the last generation is completed")

    @field_validator("algorithm")
    @classmethod
    def _algorithm(cls, value: str) -> str:
        return _known("algorithm", value, ALGORITHMS)


class ExperimentConfig(_Strict):
    """One experiment."""

    description: str = Field("", description="for people")
    task: Literal["pruning"] = Field("pruning", description="what is searched")
    profile: Literal["sound"] = Field("sound", description="nothing is selected on test")
    data: DataConfig
    network: NetworkConfig
    pruning: PruningConfig = PruningConfig()
    objectives: tuple[ObjectiveConfig, ...] = tuple(
        ObjectiveConfig(name=name) for name in ("error", "active_fraction", "ood_auroc")
    )
    search: SearchConfig = SearchConfig()
    controls: tuple[Literal["unpruned", "random"], ...] = Field(
        ("unpruned", "random"), description="run at equal budget, on the same axes"
    )
    seeds: tuple[int, ...] = Field((1,), description="run seeds; each is a search of its own")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")

    @field_validator("objectives", mode="before")
    @classmethod
    def _objectives(cls, value: object) -> object:
        """An objective without options may be written as its name alone."""
        if not isinstance(value, list | tuple):
            return value
        return [{"name": each} if isinstance(each, str) else each for each in value]

    @field_validator("objectives", "seeds")
    @classmethod
    def _some(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        if not value:
            raise ValueError("name at least one")
        if len(set(value)) < len(value):
            raise ValueError("one is given twice; name each once")
        return value

    def resolved_objectives(self) -> tuple[str | Objective, ...]:
        """Returns the objectives as the problem takes them."""
        return tuple(
            each.name if each.detector is None else objective(each.name, detector=each.detector)
            for each in self.objectives
        )
