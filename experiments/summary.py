"""A finished run in words and tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from analysis.fronts import SPLITS, standard_error
from experiments.runner import Result
from moprune.objectives import resolve


def print_result(result: Result, *, rows: int | None = 20, console: Console | None = None) -> None:
    """Prints the front, the choice beside the controls, and what was found, in two or three sentences."""
    console = console or Console()
    for seed in result.config.seeds:
        console.print(_front_table(result, seed, rows))
    console.print(_choice_table(result))
    console.print()
    for sentence in findings(result):
        console.print(sentence, highlight=False, soft_wrap=True)
    console.print(f"\nFiles: {result.folder.path}", highlight=False, soft_wrap=True)


def findings(result: Result) -> list[str]:
    """Returns two or three plain sentences: the chosen member against the controls, on the test split."""
    summary = result.summary
    names = list(summary["objectives"])
    seeds = list(summary["seeds"].values())
    sentences = []
    if {"error", "active_fraction"} <= set(names):
        sentences.append(_choice_sentence(seeds, names, summary["images"]["test"]))
    fronts = [name for name in seeds[0]["hypervolume"] if name != "unpruned"]  # one point spans no front
    volumes = [float(np.mean([seed["hypervolume"][name]["test"] for seed in seeds])) for name in fronts]
    compared = ", ".join(f"{_front_of(name)} {v:.3f}" for name, v in zip(fronts, volumes, strict=True))
    sentences.append(f"Hypervolume on the test split: {compared}.")
    sentences.append(
        "Members were found on the search split and chosen on select; test was opened "
        f"{_times(summary['test_opened'])}. {_seeds_note(len(seeds))}"
    )
    return sentences


def _choice_sentence(seeds: list[dict[str, Any]], names: list[str], images: int) -> str:
    def mean(who: str, objective: str) -> float:
        return float(np.mean([seed["test"][who][objective] for seed in seeds]))

    ours = mean("search", "error")
    text = (
        f"The chosen member keeps {mean('search', 'active_fraction'):.0%} of the units and errs on {ours:.1%} of the "
        f"{images} test images"
    )
    parts = []
    for who in (name for name in seeds[0]["test"] if name != "search"):
        theirs, margin = mean(who, "error"), 2**0.5 * standard_error(ours, images)
        verdict = "fewer errors" if ours < theirs else "more errors" if ours > theirs else "as many errors"
        if abs(ours - theirs) <= 2 * margin:
            verdict = "no difference this many images can show"
        kept = f" at {mean(who, 'active_fraction'):.0%} of the units" if who != "unpruned" else ""
        parts.append(f"{_called(who)} on {theirs:.1%}{kept} ({verdict})")
    if parts:
        text += "; " + ", ".join(parts)
    if "ood_auroc" in names:
        text += f". Its OOD AUROC on pools the search never saw is {mean('search', 'ood_auroc'):.3f}"
        rest = [f"{mean(w, 'ood_auroc'):.3f} for {_called(w)}" for w in seeds[0]["test"] if w != "search"]
        text += f", against {' and '.join(rest)}" if rest else ""
    return text + "."


def _called(name: str) -> str:
    return {"unpruned": "the unpruned head", "random masks": "the best of as many random masks"}.get(name, name)


def _front_of(name: str) -> str:
    return {"search": "the front of the search", "random masks": "that of as many random masks"}.get(name, name)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times (an earlier attempt was interrupted after opening it)"


def _seeds_note(count: int) -> str:
    if count >= 5:
        return f"Figures are means over {count} seeds."
    few = "One seed is" if count == 1 else f"{count} seeds are"
    return f"{few} too few to call a difference: use --seeds with ten."


def _front_table(result: Result, seed: int, rows: int | None) -> Table:
    objectives = resolve(result.config.resolved_objectives())
    front = result.front[result.front["seed"] == seed].sort_values([f"{objectives[0].name}_select", "solution"])
    chosen = result.summary["seeds"][str(seed)]["chosen"]
    shown = front if rows is None or len(front) <= rows else _spread(front, rows, chosen)
    more = "" if len(shown) == len(front) else f", {len(shown)} shown (moprune show {result.folder.path} --all)"
    table = Table(title=f"Front of seed {seed}: {len(front)} members{more}", title_justify="left", box=SIMPLE)
    table.add_column("solution", no_wrap=True)
    columns = [(o, split) for o in objectives for split in (SPLITS[:1] if o.is_cost else SPLITS)]
    for objective, split in columns:
        name = objective.name.replace("_", "\n", 1)
        table.add_column(name if objective.is_cost else f"{name}\n{split}", justify="right", vertical="bottom")
    for _, row in shown.iterrows():
        cells = [_number(row[f"{o.name}_{split}"]) for o, split in columns]
        mark = row["solution"] == chosen
        table.add_row(f"{row['solution']}{' *' if mark else ''}", *cells, style="bold" if mark else None)
    table.caption = f"* chosen: {result.summary['choice']}"
    table.caption_justify = "left"
    return table


def _spread(front: pd.DataFrame, rows: int, chosen: str) -> pd.DataFrame:
    """Returns so many rows spread evenly over the sorted front, the chosen one among them."""
    places = set(np.linspace(0, len(front) - 1, rows).round().astype(int).tolist())
    places.add(int(np.flatnonzero(front["solution"].to_numpy() == chosen)[0]))
    return front.iloc[sorted(places)]


def _choice_table(result: Result) -> Table:
    summary: Mapping[str, Any] = result.summary
    table = Table(title="On the test split, each chosen the same way on select", title_justify="left", box=SIMPLE)
    names = list(summary["objectives"])
    table.add_column("seed", justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("solution", no_wrap=True)
    for name in (*names, "front's_hypervolume"):
        table.add_column(name.replace("_", "\n", 1), justify="right", vertical="bottom")
    for seed, entry in summary["seeds"].items():
        for who, values in entry["test"].items():
            volume = "" if who == "unpruned" else _number(entry["hypervolume"][who]["test"])
            table.add_row(seed, who, values["solution"], *(_number(values[name]) for name in names), volume)
    return table


def _number(value: float) -> str:
    """Returns a share with three decimals, a count in full."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
