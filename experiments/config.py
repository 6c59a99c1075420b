"""What an experiment file may say: every key, its type, its default and its accepted values."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from analysis.fronts import LOSSES
from experiments.profiles import completed
from moprune.algorithms import NAMES as ALGORITHMS
from moprune.algorithms import OPERATORS
from moprune.detectors import DETECTORS
from moprune.errors import not_one_of
from moprune.networks.heads import ACTIVATIONS
from moprune.objectives import NAMES as OBJECTIVES
from moprune.objectives import Objective, objective
from moprune.population import MODES, STRATEGIES, Training
from problems.pruning import ENCODINGS
from problems.pruning.controls import CONTROLS
from problems.pruning.rankings import RANKINGS

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


class CorruptionsConfig(_Strict):
    """Corruptions of the images, such as gaussian_noise@3 (type and severity 1 to 5)."""

    search: tuple[str, ...] = Field((), description="corruptions the search and select see")
    test: tuple[str, ...] = Field((), description="corruptions reported on, of other types")


class AttackConfig(_Strict):
    """How images are attacked, for adversarial_error; see moprune.networks.attacks.Attack."""

    method: Literal["fgsm", "pgd"] = Field("pgd", description="one step, or several")
    epsilon: Annotated[float, Field(gt=0, le=1, description="largest change of a pixel value in 0..1")] = 8 / 255
    steps: Count = Field(10, description="of pgd")


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
    corruptions: CorruptionsConfig = CorruptionsConfig()


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
    members: Count = Field(8, description="small heads that make up a head; 1 for a plain one")
    readers: Count = Field(2, description="members that read each feature")
    mode: str = Field("full", description=f"training during the search: {', '.join(MODES)}")
    folds: Count = Field(4, description="of the search split, each scored by heads trained on the others; 1: none")
    refit: bool = Field(True, description="whether later splits are scored by heads trained on the earlier ones too")
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

    @field_validator("mode")
    @classmethod
    def _mode(cls, value: str) -> str:
        return _known("mode", value, MODES)

    @field_validator("strategy")
    @classmethod
    def _strategy(cls, value: str) -> str:
        return _known("strategy", value, STRATEGIES)


class ObjectiveConfig(_Strict):
    """An objective with options."""

    name: str = Field(description=", ".join(OBJECTIVES))
    detector: str | None = Field(None, description=f"of the ood_ objectives: {', '.join(DETECTORS)}")

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
    pop_size: Annotated[int | None, Field(ge=4)] = Field(
        None, description="members; by default what the algorithm says"
    )
    n_offsprings: Annotated[int, Field(ge=2)] | None = Field(
        None, description="a generation; by default what the algorithm says"
    )
    n_eval: Count = Field(400, description="evaluations; the last generation is completed")
    operators: str | None = Field(None, description="for bits: sparse (default of the sound profile) or uniform")
    ranking: str | None = Field(
        None, description=f"guides sparse operators: {', '.join(RANKINGS)} or none; by default what suits the encoding"
    )

    @field_validator("algorithm")
    @classmethod
    def _algorithm(cls, value: str) -> str:
        return _known("algorithm", value, ALGORITHMS)

    @field_validator("operators")
    @classmethod
    def _operators(cls, value: str | None) -> str | None:
        return None if value is None else _known("operators", value, OPERATORS)

    @field_validator("ranking")
    @classmethod
    def _ranking(cls, value: str | None) -> str | None:
        return None if value is None else _known("ranking", value, [*RANKINGS, "none"])


class ExperimentConfig(_Strict):
    """One experiment."""

    description: str = Field("", description="for people")
    task: Literal["pruning"] = Field("pruning", description="what is searched")
    profile: Literal["sound", "paper"] = Field(
        "sound", description="sound: nothing is selected on test; paper: as published, test-set selection included"
    )
    data: DataConfig
    network: NetworkConfig
    pruning: PruningConfig = PruningConfig()
    objectives: tuple[ObjectiveConfig, ...] = Field((), description="what is searched for, in order")
    reported: tuple[ObjectiveConfig, ...] = Field((), description="measured beside them, unseen by the search")
    attack: AttackConfig = AttackConfig()
    budget: Share = Field(0.5, description="largest active fraction of the member that is recommended")
    search: SearchConfig = SearchConfig()
    controls: tuple[str, ...] = Field(
        ("unpruned", "random"), description=f"on the same axes: random (at equal budget), {', '.join(CONTROLS)}"
    )
    seeds: tuple[int, ...] = Field((1,), description="run seeds; each is a search of its own")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")

    @model_validator(mode="before")
    @classmethod
    def _profile(cls, value: object) -> object:
        """What is left out is as the profile says."""
        return completed(value) if isinstance(value, dict) else value

    @field_validator("controls")
    @classmethod
    def _controls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_known("control", each, ["random", *CONTROLS]) for each in value)

    @field_validator("objectives", "reported", mode="before")
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

    @field_validator("reported")
    @classmethod
    def _loss(cls, value: tuple[ObjectiveConfig, ...], info: ValidationInfo) -> tuple[ObjectiveConfig, ...]:
        """Members are chosen by a loss, so that one has to be measured: said before the work, not after it."""
        if "objectives" in info.data:
            measured = {each.name for each in (*info.data["objectives"], *value)}
            if not measured & set(LOSSES):
                raise ValueError(f"members are chosen by one of {', '.join(LOSSES)}; name one here or as an objective")
        return value

    def resolved_objectives(self) -> tuple[str | Objective, ...]:
        """Returns the objectives as the problem takes them."""
        return _resolved(self.objectives)

    def resolved_reported(self) -> tuple[str | Objective, ...]:
        """Returns what is measured beside the objectives, as the problem takes it."""
        return _resolved(self.reported)


def _resolved(given: Iterable[ObjectiveConfig]) -> tuple[str | Objective, ...]:
    return tuple(each.name if each.detector is None else objective(each.name, detector=each.detector) for each in given)
