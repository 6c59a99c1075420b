"""What an experiment file may say: every key, its type, its default and its accepted values."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from moprune.algorithms import NAMES as ALGORITHMS
from moprune.errors import not_one_of
from moprune.networks.heads import ACTIVATIONS
from moprune.objectives import NAMES as OBJECTIVES
from moprune.objectives import Objective, objective
from moprune.population import STRATEGIES, Training
from problems.pruning import ENCODINGS

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Mode = Literal["RGB", "L"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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

    source: Literal["digits", "folder", "tar", "torchvision"]
    path: str | None = Field(None, description="of a folder or tar")
    name: str | None = Field(None, description="of a torchvision data set, e.g. CIFAR10")
    root: str | None = Field(None, description="where torchvision keeps it")
    download: bool = Field(False, description="whether torchvision may fetch it")
    mode: Mode | None = Field(None, description="convert images to RGB or grey")
    exclude: tuple[str, ...] = Field((), description="classes left out altogether")
    splits: SplitsConfig | None = Field(None, description="by default shares of what the source has")
    split_seed: int = 0
    ood: OodConfig = OodConfig()


class PreprocessConfig(_Strict):
    """How an image becomes the network's input; see moprune.networks.Preprocess."""

    resize: Count | None = None
    crop: Count | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    mode: Mode = "RGB"
    interpolation: Literal["bilinear", "bicubic", "nearest", "nearest-exact"] = "bilinear"


class NetworkConfig(_Strict):
    """The pre-trained network."""

    arch: str = Field(description="digits, cifar_resnet20, any torchvision classifier, or package.module:factory")
    weights: str | None = Field(None, description="torchvision weights (DEFAULT), a file, or random")
    features: str | None = Field(None, description="module whose output is taken; default: classifier's input")
    preprocess: PreprocessConfig | None = Field(None, description="by default that of the weights")


class TrainingConfig(_Strict):
    """How a head is trained; see moprune.population.Training."""

    epochs: Annotated[int, Field(ge=0)] = Training.epochs
    batch_size: Count = Training.batch_size
    learning_rate: Annotated[float, Field(gt=0)] = Training.learning_rate
    momentum: Annotated[float, Field(ge=0, lt=1)] = Training.momentum
    nesterov: bool = Training.nesterov
    decay: Annotated[float, Field(ge=0)] = Training.decay
    weight_decay: Annotated[float, Field(ge=0)] = Training.weight_decay
    patience: Count | None = Training.patience
    min_delta: Annotated[float, Field(ge=0)] = Training.min_delta
    restore_best: bool = Training.restore_best


class PruningConfig(_Strict):
    """The head and what is pruned in it."""

    encoding: str = "features"
    hidden: tuple[Count, ...] = (512,)
    activation: str = "relu"
    hidden_bias: bool = False
    repeats: Count = Field(1, description="initial weights each candidate is trained from")
    training: TrainingConfig = TrainingConfig()
    strategy: str = "auto"
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

    name: str
    detector: str | None = Field(None, description="of the ood_ objectives: energy, max_logit, msp or odin")


class SearchConfig(_Strict):
    """The algorithm and its budget."""

    algorithm: str = "nsga2"
    pop_size: Annotated[int, Field(ge=4)] = 50
    n_offsprings: Annotated[int, Field(ge=2)] | None = Field(None, description="by default pop_size")
    n_eval: Count = Field(2000, description="evaluations; the last generation is completed")

    @field_validator("algorithm")
    @classmethod
    def _algorithm(cls, value: str) -> str:
        return _known("algorithm", value, ALGORITHMS)


class ExperimentConfig(_Strict):
    """One experiment."""

    description: str = ""
    task: Literal["pruning"] = "pruning"
    profile: Literal["sound"] = "sound"
    data: DataConfig
    network: NetworkConfig
    pruning: PruningConfig = PruningConfig()
    objectives: tuple[str | ObjectiveConfig, ...] = Field(("error", "active_fraction", "ood_auroc"), min_length=1)
    search: SearchConfig = SearchConfig()
    controls: tuple[Literal["unpruned", "random"], ...] = ("unpruned", "random")
    seeds: tuple[int, ...] = Field((1,), min_length=1)
    device: str = "auto"

    @field_validator("objectives", mode="before")
    @classmethod
    def _objectives(cls, value: object) -> object:
        for each in value if isinstance(value, list | tuple) else ():
            if isinstance(each, str):
                _known("objective", each, OBJECTIVES)
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a seed is given twice; name each once")
        return value

    def resolved_objectives(self) -> tuple[str | Objective, ...]:
        """Returns the objectives as the problem takes them."""
        return tuple(
            each if isinstance(each, str) else objective(each.name, detector=each.detector) for each in self.objectives
        )


def _known(what: str, value: str, accepted: object) -> str:
    names = [str(name) for name in accepted]  # type: ignore[attr-defined]
    if value not in names:
        raise not_one_of(what, value, names)
    return value
