"""What an experiment file may say: every key, its type, its default and its accepted values."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from analysis.fronts import ERRORS, LOSSES
from experiments.config.base import Count, Section, Share, known
from experiments.config.data import AttackConfig, DataConfig, NetworkConfig
from experiments.config.selection import SelectionConfig
from experiments.config.tasks import PruningConfig, RefinementConfig
from experiments.profiles import completed
from moprune.algorithms import NAMES as ALGORITHMS
from moprune.algorithms import OPERATORS
from moprune.detectors import DETECTORS
from moprune.objectives import NAMES as OBJECTIVES
from moprune.objectives import Objective, objective
from problems.pruning.controls import CONTROLS as PRUNING_CONTROLS
from problems.pruning.rankings import RANKINGS
from problems.refinement.controls import CONTROLS as REFINEMENT_CONTROLS
from problems.selection.controls import CONTROLS as SELECTION_CONTROLS


class ObjectiveConfig(Section):
    """An objective with options."""

    name: str = Field(description=", ".join(OBJECTIVES))
    detector: str | None = Field(None, description=f"of the ood_ objectives: {', '.join(DETECTORS)}")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return known("objective", value, OBJECTIVES)

    @field_validator("detector")
    @classmethod
    def _detector(cls, value: str | None) -> str | None:
        return None if value is None else known("detector", value, DETECTORS)


class SearchConfig(Section):
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
        return known("algorithm", value, ALGORITHMS)

    @field_validator("operators")
    @classmethod
    def _operators(cls, value: str | None) -> str | None:
        return None if value is None else known("operators", value, OPERATORS)

    @field_validator("ranking")
    @classmethod
    def _ranking(cls, value: str | None) -> str | None:
        return None if value is None else known("ranking", value, [*RANKINGS, "none"])


TASKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"pruning": ("pruning", "attack", "budget"), "refinement": ("refinement",), "selection": ("selection", "budget")}
)
"""What may be searched, and the keys that do not concern every task."""

FRONT_CONTROLS = ("front_ensemble", "front_soup")
"""Controls of selection that are made of the front itself."""

_CONTROLS: Mapping[str, Iterable[str]] = MappingProxyType(
    {
        "pruning": PRUNING_CONTROLS,
        "refinement": REFINEMENT_CONTROLS,
        "selection": [*SELECTION_CONTROLS, *FRONT_CONTROLS],
    }
)

_CHOSEN_BY: Mapping[str, tuple[str, ...]] = MappingProxyType({"selection": ERRORS})
"""What members are chosen by, where it is not :data:`analysis.fronts.LOSSES`."""


PROMOTING = "nsga2_promoting"
"""The algorithm that scores candidates on rungs first."""


class ExperimentConfig(Section):
    """One experiment."""

    description: str = Field("", description="for people")
    task: Literal["pruning", "refinement", "selection"] = Field(
        "pruning", description="what is searched: units to remove, weights, or layers to fine-tune"
    )
    profile: Literal["sound", "paper"] = Field(
        "sound", description="sound: nothing is selected on test; paper: as published, test-set selection included"
    )
    data: DataConfig
    network: NetworkConfig
    pruning: PruningConfig = PruningConfig()
    refinement: RefinementConfig = RefinementConfig()
    selection: SelectionConfig = SelectionConfig()
    objectives: tuple[ObjectiveConfig, ...] = Field((), description="what is searched for, in order")
    reported: tuple[ObjectiveConfig, ...] = Field((), description="measured beside them, unseen by the search")
    attack: AttackConfig = AttackConfig()
    budget: Share = Field(
        0.5,
        description="most that the recommended member may cost: of pruning its active_fraction, of selection its "
        "trainable_share",
    )
    search: SearchConfig = SearchConfig()
    controls: tuple[str, ...] = Field(
        ("unpruned", "random"),
        description=f"on the same axes: random (at equal budget); of pruning {', '.join(PRUNING_CONTROLS)}; of "
        f"refinement {', '.join(REFINEMENT_CONTROLS)}; of selection {', '.join(_CONTROLS['selection'])}",
    )
    seeds: tuple[int, ...] = Field((1,), description="run seeds; each is a search of its own")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")

    @model_validator(mode="before")
    @classmethod
    def _profile(cls, value: object) -> object:
        """What is left out is as the profile says."""
        return completed(value) if isinstance(value, dict) else value

    @field_validator(*dict.fromkeys(key for keys in TASKS.values() for key in keys), mode="before")
    @classmethod
    def _of_this_task(cls, value: object, info: ValidationInfo) -> object:
        """Refuses what another task reads and this one would not."""
        task = info.data.get("task")
        if task is not None and info.field_name not in TASKS[task]:
            other = next(name for name, keys in TASKS.items() if info.field_name in keys)
            raise ValueError(f"this key is for task {other} and says nothing of {task}; remove it")
        return value

    @field_validator("network")
    @classmethod
    def _of_given_features(cls, value: NetworkConfig, info: ValidationInfo) -> NetworkConfig:
        """Features that are given stand for data and network at once, and leave nothing but the head to search."""
        data = info.data.get("data")
        if data is not None and (data.source == "features") != (value.arch == "features"):
            raise ValueError("data.source: features and network.arch: features go together; give both or neither")
        if value.arch == "features" and info.data.get("task") != "pruning":
            raise ValueError("given features leave no network to tune; use task: pruning")
        return value

    @field_validator("refinement")
    @classmethod
    def _published(cls, value: RefinementConfig, info: ValidationInfo) -> RefinementConfig:
        """A publication is followed with profile paper alone."""
        if value.publication is not None and info.data.get("profile") == "sound":
            raise ValueError("publication goes with profile: paper; remove it")
        return value

    @model_serializer(mode="wrap")
    def _own(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out what is of other tasks, so that it is neither written nor compared."""
        others = {key for keys in TASKS.values() for key in keys} - {*TASKS[self.task]}
        return {key: value for key, value in handler(self).items() if key not in others}

    @field_validator("controls")
    @classmethod
    def _controls(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        task = info.data.get("task", "pruning")
        return tuple(known("control", each, ["random", *_CONTROLS[task]]) for each in value)

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
            losses = _CHOSEN_BY.get(info.data.get("task", ""), LOSSES)
            if not measured & set(losses):
                raise ValueError(f"members are chosen by one of {', '.join(losses)}; name one here or as an objective")
        return value

    @field_validator("budget")
    @classmethod
    def _counted(cls, value: float, info: ValidationInfo) -> float:
        """A budget that nothing is measured for would say nothing."""
        measured = {each.name for key in ("objectives", "reported") for each in info.data.get(key, ())}
        if info.data.get("task") == "selection" and value < 1 and "trainable_share" not in measured:
            raise ValueError("a budget below 1 limits the trainable_share; name it as an objective or under reported")
        return value

    @field_validator("search")
    @classmethod
    def _promoted(cls, value: SearchConfig, info: ValidationInfo) -> SearchConfig:
        """Rungs that nobody climbs would say nothing."""
        selection = info.data.get("selection")
        if info.data.get("task") == "selection" and selection and selection.rungs and value.algorithm != PROMOTING:
            raise ValueError(f"selection.rungs are for {PROMOTING}, not {value.algorithm}; remove one of them")
        return value

    def resolved_objectives(self) -> tuple[str | Objective, ...]:
        """Returns the objectives as the problem takes them."""
        return _resolved(self.objectives)

    def resolved_reported(self) -> tuple[str | Objective, ...]:
        """Returns what is measured beside the objectives, as the problem takes it."""
        return _resolved(self.reported)


def _resolved(given: Iterable[ObjectiveConfig]) -> tuple[str | Objective, ...]:
    return tuple(each.name if each.detector is None else objective(each.name, detector=each.detector) for each in given)
