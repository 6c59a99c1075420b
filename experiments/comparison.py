"""Finished runs beside each other: their measurements as one tidy table, and what the tests say of it in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from analysis.fronts import OPTIMISTIC
from analysis.statistics import (
    COLUMNS,
    Comparison,
    Ranking,
    compare,
    compare_over_data,
    rank,
    scores_by_data,
    scores_by_seed,
)
from experiments.result import Result, load_result
from experiments.run_folder import open_finished
from moprune.errors import UsageError, not_one_of
from moprune.objectives import Objective

HYPERVOLUME = "hypervolume"
SEARCH = "search"
# Of these keys a run says nothing about its algorithm, or the data say it already.
_NOT_SETTINGS = ("description", "data", "controls", "seeds", "device")


@dataclass(frozen=True)
class Entrant:
    """A run that takes part in a comparison.

    Attributes:
        name: what it is called there.
        data: the data set it was run on.
        result: the run.
    """

    name: str
    data: str
    result: Result


@dataclass(frozen=True)
class Compared:
    """What a comparison found.

    Attributes:
        measurements: the values compared, see :data:`analysis.statistics.COLUMNS`.
        pairs: every two runs on each data set and measure.
        over_data: two runs over several data sets, a comparison a measure.
        rankings: three runs or more over several data sets, or over the seeds of one, a ranking a measure.
        notes: what a person should know before reading: seeds left out, settings that differ.
    """

    measurements: pd.DataFrame
    pairs: Sequence[Comparison]
    over_data: Sequence[Comparison]
    rankings: Sequence[Ranking]
    notes: Sequence[str]


def enter(arguments: Sequence[str]) -> list[Entrant]:
    """Opens the runs given as ``RUN`` or ``NAME=RUN``; a folder of runs that differ in their seeds stands for all.

    By default a run is called as its folder, or, where the runs are on several data sets, as its algorithm.

    Raises:
        UsageError: a run has not ended, is given twice, has other objectives than the first, or shares its name with
            another on the same data and is not of the same experiment with other seeds.
    """
    named = [each for argument in arguments for each in _runs(*_split(argument))]
    results = [load_result(open_finished(path)) for _, path in named]
    for i, (_, path) in enumerate(named):
        if path.resolve() in [other.resolve() for _, other in named[:i]]:
            raise UsageError(f"{path} is given twice; name each run once")
        if _said(results[i]) != _said(results[0]):
            raise UsageError(
                f"{named[0][1]} and {path} have different objectives ({_said(results[0])}; {_said(results[i])}); "
                "compare runs of the same"
            )
    digests = [_data_digest(result) for result in results]
    data = _data_names(results, digests)
    several = len(set(digests)) > 1
    entrants = [
        Entrant(name or (result.config.search.algorithm if several else path.resolve().name), data[digest], result)
        for (name, path), result, digest in zip(named, results, digests, strict=True)
    ]
    for i, entrant in enumerate(entrants):
        if any(_clash(entrant, other) for other in entrants[:i]):
            raise UsageError(
                f"two runs on {entrant.data} are called {entrant.name!r}; give them names: NAME={named[i][1]}"
            )
    return entrants


def _data_digest(result: Result) -> str:
    digest = result.environment.get("digests", {}).get("data")
    if digest is None:
        raise result.folder.broken("environment.json", "it has no digest of the data")
    return str(digest)


def measured(entrants: Sequence[Entrant], measures: Sequence[str] = ()) -> pd.DataFrame:
    """Returns what the runs reached on the test split, as a tidy table.

    The hypervolume is that of the front, the objectives are those of the chosen member. If all entrants have one name,
    it is each run's search beside its controls that is measured.

    Args:
        entrants: the runs.
        measures: ``hypervolume`` and names of what all runs measured, objectives or reported; by default all.

    Raises:
        UsageError: a measure is not known, or nothing is left to compare.
    """
    known = _common(entrants)
    for measure in measures:
        if measure not in (HYPERVOLUME, *known):
            raise not_one_of("measure", measure, (HYPERVOLUME, *known))
    alone = _alone(entrants)
    rows = []
    for entrant in entrants:
        for seed, entry in entrant.result.summary["seeds"].items():
            for who in entry["test"] if alone else (SEARCH,):
                for measure in measures or (HYPERVOLUME, *known):
                    # One point spans no front, and what the unpruned head costs is no result.
                    single = who in entrant.result.baselines
                    if single and (measure == HYPERVOLUME or known[measure].is_cost):
                        continue
                    value = entry[HYPERVOLUME][who]["test"] if measure == HYPERVOLUME else entry["test"][who][measure]
                    rows.append((who if alone else entrant.name, entrant.data, int(seed), measure, float(value)))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    if (table.groupby(["data", "measure"])["run"].nunique() < 2).all():
        raise UsageError(
            "there is nothing to compare: a single run needs a control, and runs must share a data set "
            f"({', '.join(f'{e.name} on {e.data}' for e in entrants)})"
        )
    return table


def directions(entrants: Sequence[Entrant]) -> dict[str, bool]:
    """Returns, for each measure, whether less is better."""
    return {
        HYPERVOLUME: False,
        **{name: o.minimise for name, o in _common(entrants).items()},
    }


def _common(entrants: Sequence[Entrant]) -> dict[str, Objective]:
    """Returns what all runs measured by name: the objectives, which are the same, and what all reported beside them."""
    first, *others = (entrant.result.measures for entrant in entrants)
    return {o.name: o for o in first if all((o.name, o.unit) in [(p.name, p.unit) for p in each] for each in others)}


def compared(entrants: Sequence[Entrant], measures: Sequence[str] = ()) -> Compared:
    """Compares runs: pairs on each data set, and over the data sets where there are several.

    Raises:
        UsageError: see :func:`measured`.
    """
    table, minimise = measured(entrants, measures), directions(entrants)
    against = SEARCH if _alone(entrants) else None  # its controls are not compared with each other
    pairs, dropped = compare(table, minimise, against=against)
    several = table["data"].nunique() > 1
    duels, rankings = [], []
    for measure in table["measure"].unique():
        scores = scores_by_data(table, measure) if several else scores_by_seed(table, measure)
        if scores.shape[1] > 2 and len(scores) > 1:
            unit = "data sets" if several else "seeds"
            rankings.append(rank(scores, minimise=minimise[measure], measure=measure, unit=unit))
        elif several and scores.shape[1] == 2 and len(scores) > 1:
            duels.append(measure)
    over_data = compare_over_data(table[table["measure"].isin(duels)], minimise, against=against) if duels else []
    return Compared(table, pairs, over_data, rankings, [*_notes(entrants), *dropped])


def print_compared(found: Compared, console: Console | None = None) -> None:
    """Prints tables of at most 80 columns, then a sentence for each comparison."""
    console = console or Console()
    comparisons = [*found.pairs, *found.over_data]
    for group in _groups(comparisons):
        console.print(_table(group))
    for sentence in sentences(found):
        console.print(f"- {sentence}", highlight=False, markup=False)


def sentences(found: Compared) -> list[str]:
    """Returns what was found, a sentence a comparison; what holds of all measures alike is said once."""
    several = found.measurements["data"].nunique() > 1
    said = []
    for group in _groups([*found.pairs, *found.over_data]):
        if all(each.verdict == "too few" for each in group):
            place = f"{group[0].data}: " if several and group[0].data else ""
            said.append(f"{place}{group[0].too_few()}.")
        else:
            said += [(each if several else replace(each, data="")).sentence() for each in group]
    # Over the seeds of one data set the pairs say more than mean ranks.
    return [*said, *(ranking.sentence() for ranking in found.rankings if several)]


def _groups(comparisons: Sequence[Comparison]) -> list[list[Comparison]]:
    groups: dict[tuple[str, str, str], list[Comparison]] = {}
    for each in comparisons:
        groups.setdefault((each.data, each.first, each.second), []).append(each)
    return list(groups.values())


def as_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Returns comparisons as a table, a row each, with their verdict."""
    return pd.DataFrame([{**vars(each), "verdict": each.verdict} for each in comparisons])


def _table(comparisons: Sequence[Comparison]) -> Table:
    first = comparisons[0]
    where = f"{first.data}: " if first.data else ""
    pairs = sorted({each.pairs for each in comparisons})
    over = first.over if len(pairs) == 1 else f"{pairs[0]}-{pairs[-1]} {first.unit}"
    title = f"{where}{first.first} (A) and {first.second} (B), {over}, test split"
    table = Table(title=title, title_justify="left", box=SIMPLE, collapse_padding=True)
    table.add_column("measure", no_wrap=True)
    for name in ("A\nmedian", "B\nmedian", "A - B\nmedian", "95%\ninterval", "effect\n(r)", "p\n(Holm)", "A is"):
        table.add_column(name, justify="right", vertical="bottom")
    for each in comparisons:
        interval = f"{_signed(each.low)} {_signed(each.high)}" if each.low == each.low else "-"
        table.add_row(
            each.measure, _number(each.median_first), _number(each.median_second), _signed(each.difference),
            interval, f"{each.rank_biserial:+.2f}", f"{each.p_holm:.3f}", _VERDICTS[each.verdict],
        )  # fmt: skip
    return table


_VERDICTS: Mapping[str, str] = {
    "better": "better", "worse": "worse", "no difference": "-", "equal": "equal", "too few": "?",
}  # fmt: skip


def _split(argument: str) -> tuple[str, Path]:
    name, separator, path = argument.partition("=")
    if not separator or Path(argument).exists():  # a folder's name may hold the sign
        return "", Path(argument)
    if not name:
        raise UsageError(f"{argument}: write RUN or NAME=RUN")
    return name, Path(path)


def _runs(name: str, path: Path) -> list[tuple[str, Path]]:
    """Returns the runs that a folder stands for, each with its name: itself, or those directly in it."""
    within = sorted(each.parent for each in path.glob("*/experiment.yaml"))
    if (path / "experiment.yaml").exists() or not within:
        return [(name, path)]
    return [(name or path.resolve().name, each) for each in within]


def _clash(entrant: Entrant, other: Entrant) -> bool:
    """Returns whether two runs of one name on the same data are not one experiment with different seeds."""
    if (entrant.name, entrant.data) != (other.name, other.data):
        return False
    first, second = entrant.result.config, other.result.config
    same = first.model_dump(exclude={"seeds"}) == second.model_dump(exclude={"seeds"})
    return not same or bool({*first.seeds} & {*second.seeds})


def _data_names(results: Sequence[Result], digests: Sequence[str]) -> dict[str, str]:
    """Returns a name for each data set, by digest; those of one name are told apart by their digests."""
    called = {}
    for result, digest in zip(results, digests, strict=True):
        called[digest] = result.config.data.called
    names = list(called.values())
    return {d: f"{name}#{d[:6]}" if names.count(name) > 1 else name for d, name in called.items()}


def _said(result: Result) -> str:
    return ", ".join(f"{name} [{o['unit']}]" for name, o in result.summary["objectives"].items())


def _alone(entrants: Sequence[Entrant]) -> bool:
    """Returns whether there is but one algorithm, to be compared with its controls."""
    return len({entrant.name for entrant in entrants}) == 1


def _notes(entrants: Sequence[Entrant]) -> list[str]:
    optimistic = list(dict.fromkeys(entrant.name for entrant in entrants if entrant.result.optimistic))
    notes = [f"of {', '.join(optimistic)}, {OPTIMISTIC}"] if optimistic else []
    if _alone(entrants):
        return notes
    settings = pd.json_normalize([entrant.result.config.model_dump(exclude=set(_NOT_SETTINGS)) for entrant in entrants])
    # As text: lists cannot be counted, and None is a setting like any other.
    differing = [str(key) for key in settings.columns if settings[key].astype(str).nunique() > 1]
    notes.append(f"the runs differ in: {', '.join(differing) or 'nothing but their names'}")
    budgets = list(dict.fromkeys(entrant.result.config.search.n_eval for entrant in entrants))
    if len(budgets) > 1:
        notes.append(f"budgets are not equal ({', '.join(f'{b:,}' for b in budgets)} evaluations)")
    names = list(dict.fromkeys(entrant.name for entrant in entrants))
    for data in dict.fromkeys(entrant.data for entrant in entrants):
        lacking = [name for name in names if (name, data) not in [(e.name, e.data) for e in entrants]]
        if lacking:
            notes.append(f"{data} is left out where data sets are compared: there is no run of {', '.join(lacking)}")
    return notes


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}" if abs(value) < 100 else f"{value:+,.0f}"  # no -0.000
