"""The pictures of a finished run, as files."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType

import pandas as pd
from matplotlib.figure import Figure

from analysis import histories, plots
from analysis.indicators import merged, sources
from experiments.result import Result
from moprune.errors import not_one_of
from moprune.log import EvaluationLog

AT_THE_END = ("front", "search_to_test", "hypervolume")
"""The kinds drawn when a run ends."""

Named = Iterator[tuple[str, Figure]]


def draw(result: Result, folder: Path, suffix: str = ".png", kinds: Sequence[str] = AT_THE_END) -> list[Path]:
    """Draws a run's pictures into a folder and returns the files.

    Args:
        result: the run.
        folder: where to; made if absent.
        suffix: ``.png``, ``.pdf`` or ``.svg``.
        kinds: of :data:`KINDS`; ``all`` stands for those that make sense for the run's objectives.

    Raises:
        UsageError: a kind is not known, or needs more objectives than there are.
    """
    for kind in kinds:
        if kind != "all" and kind not in KINDS:
            raise not_one_of("kind of picture", kind, ["all", *KINDS])
    if "all" in kinds:
        kinds = [kind for kind, (least, _) in KINDS.items() if len(result.objectives) >= least]
    paths = []
    for kind in dict.fromkeys(kinds):
        for name, figure in KINDS[kind][1](result):
            paths.append(folder / f"{name}{suffix}")
            plots.save(figure, paths[-1])
    return paths


def progress(result: Result) -> dict[str, list[pd.DataFrame]]:
    """Returns the :func:`analysis.histories.progress` of each seed by source, read from the run's log."""
    found = {}
    with EvaluationLog(result.folder.log, read_only=True) as log:
        for source, stage in {"search": "search", result.kind.random: "random"}.items():
            logged = [histories.read(log, stage, seed, result.objectives) for seed in result.config.seeds]
            if all(len(history) for history in logged):
                found[source] = [histories.progress(history, result.objectives) for history in logged]
    return found


def _fronts(result: Result) -> Named:
    for split in ("search", "test"):
        yield f"front_{split}", _with_controls(plots.front, result, result.front, split)


def _front_3d(result: Result) -> Named:
    yield "front_3d", _with_controls(plots.front_3d, result, result.front)


def _matrix(result: Result) -> Named:
    yield "scatter_matrix", _with_controls(plots.scatter_matrix, result, result.front)


def _parallel(result: Result) -> Named:
    yield "parallel_coordinates", _with_controls(plots.parallel_coordinates, result, _merged(result))


def _search_to_test(result: Result) -> Named:
    title = _title(result, "from search to test") + _over_seeds(result)
    yield (
        "search_to_test",
        plots.search_to_test(_merged(result), result.objectives, chosen=_chosen(result), title=title),
    )


def _attainment(result: Result) -> Named:
    points = sources(result.front, result.controls)
    yield "attainment", plots.attainment(points, result.objectives, title=_title(result, "test split"))


def _hypervolume(result: Result) -> Named:
    yield "hypervolume_history", plots.hypervolume_history(progress(result), title=_title(result))


def _operators(result: Result) -> Named:
    yield "operator_success", plots.operator_success(progress(result), title=_title(result))


KINDS: MappingProxyType[str, tuple[int, Callable[[Result], Named]]] = MappingProxyType(
    {
        "front": (1, _fronts),
        "front_3d": (3, _front_3d),
        "matrix": (2, _matrix),
        "parallel": (2, _parallel),
        "search_to_test": (1, _search_to_test),
        "attainment": (2, _attainment),
        "hypervolume": (1, _hypervolume),
        "operators": (1, _operators),
    }
)
"""Kinds of pictures: the least number of objectives they say something about, and how they are made."""


def _with_controls(
    picture: Callable[..., Figure], result: Result, members: pd.DataFrame, split: str = "test"
) -> Figure:
    controls = sources(result.front, result.controls)
    del controls["search"]
    title = _title(result, f"{split} split") + (_over_seeds(result) if len(members) < len(result.front) else "")
    return picture(members, result.objectives, split=split, controls=controls, chosen=_chosen(result), title=title)


def _merged(result: Result) -> pd.DataFrame:
    """Returns what remains non-dominated on search over all seeds: ten whole fronts would be a tangle of lines."""
    return merged(result.front, result.objectives)


def _chosen(result: Result) -> list[str]:
    return [seed["chosen"] for seed in result.summary["seeds"].values()]


def _over_seeds(result: Result) -> str:
    count = len(result.config.seeds)
    return f", members non-dominated over {count} seeds" if count > 1 else ""


def _title(result: Result, what: str = "") -> str:
    name = result.config.description or result.config.data.called
    title = f"{name}: {what}" if what else name
    return f"{title} (members selected on test: optimistic)" if result.optimistic else title
