"""A finished run in words and tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich.box import SIMPLE
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from analysis.fronts import SPLITS
from analysis.indicators import indicators
from experiments.decide import Choice, Decided
from experiments.findings import findings
from experiments.result import Result


def print_result(
    result: Result,
    *,
    rows: int | None = 20,
    all_seeds: bool = False,
    choice: Choice | None = None,
    console: Console | None = None,
) -> None:
    """Prints the front, the choice beside the controls, and what was found, in two or three sentences.

    Args:
        result: the run.
        rows: front members to show at most; None shows all.
        all_seeds: show each seed's tables; otherwise the first seed's front, and means over the seeds.
        choice: what else a person wants to know; with it the quality of the fronts is shown too.
        console: where to print.
    """
    console = console or Console(markup=False)  # names are not ours
    fronts = (choice or Choice(result)).fronts()
    for name in list(fronts)[: None if all_seeds else 1]:
        console.print(_front_table(result, name, fronts[name], rows))
    if choice is not None:
        console.print(_quality_table(result))
        console.print(_shift_table(result))
        if decisions := choice.decisions():
            console.print(_decision_table(choice, decisions))
            for sentence in _verdicts(decisions):
                console.print(sentence, highlight=False, soft_wrap=True)
            console.print()
    console.print(_choice_table(result) if all_seeds or len(result.config.seeds) == 1 else _mean_choice_table(result))
    console.print()
    for sentence in findings(result):
        console.print(sentence, highlight=False, soft_wrap=True)
    console.print(f"\nFiles: {result.folder.path}", highlight=False, soft_wrap=True)


def _front_table(result: Result, name: str, front: pd.DataFrame, rows: int | None) -> Group:
    objectives = result.objectives
    front = front.sort_values([f"{objectives[0].name}_select", "solution"])
    chosen = [seed["chosen"] for seed in result.summary["seeds"].values()]
    shown = front if rows is None or len(front) <= rows else _spread(front, rows, chosen)
    whose = f"seed {name}" if name in result.summary["seeds"] else f"{name} seeds"
    more = "" if len(shown) == len(front) else f", {len(shown)} shown (moprune show {result.folder.path} --all)"
    table = _table()
    table.add_column("solution", no_wrap=True)
    # Beyond this a terminal's 80 columns are full; what the search saw counts least, and what it did not see is told
    # of test alone.
    measured = sum(not o.is_cost for o in objectives)
    splits = SPLITS if len(objectives) + len(result.reported) + 2 * measured <= 8 else SPLITS[1:]
    columns = [(o, split) for o in objectives for split in (splits[:1] if o.is_cost else splits)]
    columns += [(o, "test") for o in result.reported]
    for objective, split in columns:
        heading = _heading(objective.name)
        table.add_column(heading if objective.is_cost else f"{heading}\n{split}", justify="right", vertical="bottom")
    for _, row in shown.iterrows():
        cells = [_number(row[f"{o.name}_{split}"]) for o, split in columns]
        mark = row["solution"] in chosen
        table.add_row(f"{row['solution']}{' *' if mark else ''}", *cells, style="bold" if mark else None)
    members = f"{len(front)} member{'' if len(front) == 1 else 's'}"
    return _titled(f"Front of {whose}: {members}{more}", table, f"* chosen: {result.summary['choice']}")


def _spread(front: pd.DataFrame, rows: int, chosen: list[str]) -> pd.DataFrame:
    """Returns so many rows spread evenly over the sorted front, the chosen ones among them."""
    places = set(np.linspace(0, len(front) - 1, rows).round().astype(int).tolist())
    places.update(np.flatnonzero(front["solution"].isin(chosen).to_numpy()).tolist())
    return front.iloc[sorted(places)]


def _choice_table(result: Result) -> Group:
    table = _table()
    names = [o.name for o in result.measures]
    table.add_column("seed", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("solution", min_width=10)  # the points of some controls have long names
    for name in (*names, "hyper-_volume"):
        table.add_column(_heading(name), justify="right", vertical="bottom", no_wrap=True)
    for seed, entry in result.summary["seeds"].items():
        for who, values in entry["test"].items():
            volume = "" if who in result.baselines else _number(entry["hypervolume"][who]["test"])
            point = values["solution"].removeprefix(f"{seed}-{who.replace(' ', '_')}").strip()
            table.add_row(seed, who, point, *(_number(values[name]) for name in names), volume)
    return _titled(f"On the test split, the chosen of each{_mark(result)}", table)


def _mean_choice_table(result: Result) -> Group:
    names = [o.name for o in result.measures]
    entries = list(result.summary["seeds"].values())
    table = _table()
    table.add_column("", no_wrap=True)
    for name in (*names, "hyper-_volume"):
        table.add_column(_heading(name), justify="right", vertical="bottom")
    gap = " " if len(names) <= 3 else "\n"  # beyond, 80 columns are too few for both in a line
    for who in entries[0]["test"]:
        cells = [_mean_and_deviation([e["test"][who][name] for e in entries], gap=gap) for name in names]
        volumes = [e["hypervolume"][who]["test"] for e in entries]
        table.add_row(who, *cells, "" if who in result.baselines else _mean_and_deviation(volumes, gap=gap))
    over = f"mean ± deviation over {len(entries)} seeds"
    return _titled(f"On test, the chosen of each{_mark(result)}: {over}", table)


def _mark(result: Result) -> str:
    """Returns what titles say of figures that are optimistic."""
    return " (selected on test: optimistic)" if result.optimistic else ""


def _quality_table(result: Result) -> Group:
    quality = _measured(result)
    seeds = len(result.config.seeds)
    several = f": mean ± deviation over {seeds} seeds" if seeds > 1 else ""
    table = _table()
    table.add_column("", no_wrap=True)
    for heading in ("members", "still non-\ndominated", "hypervolume", "IGD+", "spacing", "spread"):
        table.add_column(heading, justify="right", vertical="bottom")
    for (source, split), rows in quality.groupby(["source", "split"], sort=False):
        if split == SPLITS[0]:
            table.add_row(str(source), style="bold")
        table.add_row(
            f"  on {split}", f"{rows['members'].mean():.0f}", f"{rows['nondominated'].mean():.0%}",
            _mean_and_deviation(rows["hypervolume"]), _mean_and_deviation(rows["igd_plus"]),
            _number(rows["spacing"].mean()), _number(rows["spread"].mean()),
        )  # fmt: skip
    return _titled(
        f"How good the fronts are{several}", table, "More hypervolume and spread are better, less IGD+ and spacing."
    )


def _shift_table(result: Result) -> Group:
    quality = _measured(result)
    quality = quality[quality["split"] == "test"]
    table = _table()
    table.add_column("", no_wrap=True)
    measured = [o for o in result.measures if not o.is_cost]
    for objective in measured:
        better = "lower" if objective.minimise else "higher"
        table.add_column(f"{_heading(objective.name)}\n({better} is better)", justify="right", vertical="bottom")
    for source, rows in quality.groupby("source", sort=False):
        table.add_row(str(source), *(_mean_and_deviation(rows[f"shift_{o.name}"], sign="+") for o in measured))
    return _titled("From search to test, mean change of the front's members", table, result.kind.shift_note())


def _measured(result: Result) -> pd.DataFrame:
    """Returns the indicators of every source that has a front; a baseline of one point a seed spans none."""
    quality = indicators(result.front, result.controls, result.objectives, reported=result.reported)
    return quality[~quality["source"].isin(result.baselines)]


def _decision_table(choice: Choice, decisions: Sequence[Decided]) -> Group:
    wishes = ", ".join(f"{o.name} {'≤' if o.minimise else '≥'} {choice.wishes[o.name]:g}"
                       for o in choice.criteria if o.name in choice.wishes)  # fmt: skip
    table = _table()
    table.add_column("seed", justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("solution", no_wrap=True)
    columns = [(o, s) for o in choice.criteria for s in ((choice.split,) if o.is_cost else (choice.split, "test"))]
    for objective, split in columns:
        heading = _heading(objective.name)
        table.add_column(heading if objective.is_cost else f"{heading}\n{split}", justify="right", vertical="bottom")
    for name, rule, decision, row in decisions:
        cells = [_number(row[f"{o.name}_{split}"]) for o, split in columns]
        table.add_row(name, rule, decision.solution, *cells)
    return _titled(f"Which member to take, by {choice.split}" + (f" (wish: {wishes})" if wishes else ""), table)


def _verdicts(decisions: Sequence[Decided]) -> list[str]:
    """Returns a sentence for each front on who satisfies the wishes."""
    sentences = []
    for name, rule, decision, _ in decisions:
        if rule != "wish":
            continue
        whose = "All seeds" if name == "all" else f"Seed {name}"
        if decision.missed:
            missed = " and ".join(f"{objective} by {_number(gap)}" for objective, gap in decision.missed.items())
            sentences.append(
                f"{whose}: no member satisfies every wish; {decision.solution} is nearest, it misses {missed}."
            )
        else:
            count = decision.satisfying
            many = "one member satisfies" if count == 1 else f"{count} members satisfy"
            sentences.append(f"{whose}: {many} every wish; {decision.solution} is the best compromise.")
    return sentences


def _table() -> Table:
    return Table(box=SIMPLE, padding=(0, 0, 0, 1), pad_edge=False)


def _titled(title: str, table: Table, caption: str = "") -> Group:
    # Not the table's own title and caption, which are broken to the table's width.
    return Group(Text(title, style="italic"), table, *([Text(caption, style="dim"), Text()] if caption else []))


def _heading(name: str) -> str:
    return name.replace("_", "\n", 1)


def _number(value: float, sign: str = "") -> str:
    """Returns a share with three decimals, a count in full, nothing for NaN."""
    if np.isnan(value):
        return ""
    return f"{value:{sign}.3f}" if abs(value) < 100 else f"{value:{sign},.0f}"


def _mean_and_deviation(values: Sequence[float] | pd.Series, sign: str = "", gap: str = " ") -> str:
    mean = _number(float(np.mean(values)), sign)
    return f"{mean}{gap}±{_number(float(np.std(values, ddof=1)))}" if len(values) > 1 else mean
