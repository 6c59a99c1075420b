"""Whether the files of a finished run fit together: they may be somebody else's, and everything is made of them."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeAlias

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from analysis.fronts import SPLITS
from experiments.config import ExperimentConfig

_LARGEST = 1e100


def _shown(text: str) -> str:
    if not text.isprintable():
        raise ValueError("text with control characters")
    return text


Words = Annotated[str, AfterValidator(_shown)]
"""Text that a terminal can be shown: nothing in it moves the cursor or turns the direction."""
Number = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10**15)]
Fault: TypeAlias = tuple[str, str]
"""A file of the run folder, and what is wrong with it."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Measure(_Part):
    unit: Words
    minimise: bool
    worst: Number


class _Split(_Part):
    search: Number
    select: Number
    test: Number


class _Entry(_Part):
    front_size: Count
    evaluations: dict[Words, Count]
    hypervolume: dict[Words, _Split]
    chosen: Words
    test: dict[Words, dict[Words, Words | Number]]
    forward_images: dict[Words, Count] = {}


class _Images(_Part):
    __pydantic_extra__: dict[Words, Count]
    search: Count
    select: Count
    test: Count


class _Summary(_Part):
    profile: Words
    choice: Words
    objectives: dict[Words, _Measure]
    reported: dict[Words, _Measure]
    images: _Images
    test_opened: Count
    seeds: dict[Words, _Entry]
    items: Words = "images"
    notes: list[Words] = []


class _Environment(_Part):
    packages: dict[Words, Words] = {}
    digests: dict[Words, Words] = {}


def environment_fault(content: object) -> str | None:
    """Returns what is wrong with ``environment.json``, or None."""
    return _misshaped(_Environment, content)


def fault(config: ExperimentConfig, front: pd.DataFrame, controls: pd.DataFrame, summary: object) -> Fault | None:
    """Returns the first file of a finished run that its experiment does not go with, and why; None if all do."""
    if misshaped := _misshaped(_Summary, summary):
        return "summary.json", misshaped
    assert isinstance(summary, dict)
    measures = [each.name for each in (*config.objectives, *config.reported)]
    for name, table, further in (("front.csv", front, []), ("controls.csv", controls, ["control"])):
        if wrong := next(_table_faults(table, measures, further, config.seeds), None):
            return name, wrong
    points = {
        "search": front,
        **({str(who): rows for who, rows in controls.groupby("control")} if len(controls) else {}),
    }
    wrong = next(_summary_faults(config, measures, points, summary), None)
    return None if wrong is None else ("summary.json", wrong)


def _misshaped(kind: type[BaseModel], content: object) -> str | None:
    try:
        TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'all of it'}: {first['msg']}"
    return None


def _table_faults(
    table: pd.DataFrame, measures: list[str], further: list[str], seeds: tuple[int, ...]
) -> Iterator[str]:
    if not len(table) and further:  # a run without controls
        return
    columns = [f"{name}_{split}" for name in measures for split in SPLITS]
    for column in ("solution", *further, "seed", *columns):
        if column not in table:
            yield f"it has no column {column}"
            return
    for column in columns:
        values = table[column].to_numpy()
        if values.dtype.kind not in "if" or not (np.abs(values.astype(float)) <= _LARGEST).all():
            yield f"not all of column {column} are finite numbers"
    for column in ("solution", *further):
        if not all(isinstance(each, str) and each.isprintable() for each in table[column]):
            yield f"column {column} has control characters or none at all"
    for who, rows in table.groupby(further[0]) if further else [("search", table)]:
        if set(rows["seed"]) != set(seeds):
            yield f"the seeds of {who} are not those of the experiment"


def _summary_faults(
    config: ExperimentConfig, measures: list[str], points: Mapping[str, pd.DataFrame], summary: Mapping[str, Any]
) -> Iterator[str]:
    if [*summary["objectives"], *summary["reported"]] != measures:
        yield "its objectives are not those of the experiment"
    if list(summary["seeds"]) != [str(seed) for seed in config.seeds]:
        yield "its seeds are not those of the experiment"
        return
    for seed, entry in summary["seeds"].items():
        if not set(points) == set(entry["test"]) == set(entry["hypervolume"]):
            yield f"what it says of seed {seed} is not of the search and the controls"
            return
        for who, values in entry["test"].items():
            known = points[who].loc[points[who]["seed"] == int(seed), "solution"]
            if values.get("solution") not in set(known):
                yield f"the solution of {who}, seed {seed}, is not among its points"
            if not all(isinstance(values.get(name), int | float) for name in measures):
                yield f"what {who} reaches in seed {seed} is not said of every objective"
        if entry["chosen"] != entry["test"]["search"]["solution"]:
            yield f"the chosen of seed {seed} is not the one that was opened on test"
