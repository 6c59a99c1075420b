"""An explanation in words and tables: what can be said of units and maps, and what cannot."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from analysis.attribution.faithfulness import Faithfulness
from analysis.attribution.frequency import MIN_SEEDS

_LEVEL = 0.05


def print_explanation(
    solution: str,
    tables: Mapping[str, pd.DataFrame],
    sentences: Sequence[str],
    folder: Path,
    console: Console | None = None,
) -> None:
    """Prints the units kept most often, the test of the maps, the sentences, and where the files are."""
    console = console or Console()
    seeds = tables["frequency_by_seed"]["seed"].nunique()
    console.print(_frequency_table(tables["frequency"], seeds))
    if "faithfulness" in tables:
        console.print(_faithfulness_table(tables["faithfulness"], solution))
    for sentence in sentences:
        console.print(f"- {sentence}", highlight=False)
    console.print(f"\nFiles: {folder}", highlight=False, soft_wrap=True)


def frequency_sentence(table: pd.DataFrame, seeds: int, features: bool) -> str:
    """Says which features recur over independent seeds, or why that cannot be said."""
    if not features:
        kind = "connections" if str(table["unit"].iloc[0]).startswith("connection") else "hidden neurons"
        return (
            f"Only {kind} were searched. They start from other weights in every seed, so that none can recur: "
            "their frequencies describe one seed each."
        )
    if seeds < MIN_SEEDS:
        few = "one seed" if seeds == 1 else f"{seeds} seeds"
        return (
            f"With {few} ancestry and influence cannot be told apart: members of a front are relatives, and share "
            f"units whether these matter or not. Run {MIN_SEEDS} seeds or more."
        )
    sure = table[table["q"] < _LEVEL].sort_values("q")
    more, less = (sure[(sure["frequency"] > sure["expected"]) == up] for up in (True, False))
    tested = int(table["q"].notna().sum())
    if sure.empty:
        return f"None of {tested} features recurs over {seeds} independent seeds beyond what ancestry alone gives."
    parts = [f"{_listed(more)} kept more" if len(more) else "", f"{_listed(less)} kept less" if len(less) else ""]
    return (
        f"Of {tested} features {len(sure)} recur over {seeds} independent seeds beyond what shared ancestry gives "
        f"(q < 0.05): {' and '.join(filter(None, parts))} often."
    )


def effect_sentence(table: pd.DataFrame, masks: int, loss: str = "error") -> str:
    """Says which features matter among random masks, and whether the front's favourite is one."""
    sure = table[table["effect_q"] < _LEVEL]
    top = table[table["effect"].notna()].nlargest(1, "frequency").iloc[0]
    said = (
        f"Among {masks:,} random masks, which inherit nothing, {len(sure)} of {int(table['effect'].notna().sum())} "
        f"features change the search {loss} when kept in place of another (q < 0.05)"
    )
    if len(sure):
        best = sure.iloc[int(sure["effect"].abs().to_numpy().argmax())]
        said += f", {best['unit']} the most ({100 * best['effect']:+.2f} points)"
    shown = "does so too" if top["effect_q"] < _LEVEL else "does not show there that it matters"
    return f"{said}. The one most often on the front, {top['unit']}, {shown}."


def _listed(rows: pd.DataFrame, most: int = 5) -> str:
    numbers = [str(unit).removeprefix("feature ") for unit in rows["unit"].head(most)]
    rest = len(rows) - most
    return ", ".join(numbers) + (f" and {rest} other{'s' if rest > 1 else ''}" if rest > 0 else "")


def faithfulness_sentence(result: Faithfulness, named: str) -> str:
    """Says plainly whether maps mean anything."""
    better = {name: result.better()[result.table["control"] == name] for name in ("shuffled", "other")}
    if better["shuffled"].all() and better["other"].all():
        return (
            f"The maps mean something: on {named} they beat shuffled maps and maps of other images, in deletion and "
            "in insertion."
        )
    if better["shuffled"].all():
        return (
            f"The maps say where objects stand at least: on {named} they beat shuffled maps. That they say more about "
            "an image than another image's map would is not shown, so do not read them image by image."
        )
    if better["shuffled"].any():
        mode = result.table["mode"][result.better() & (result.table["control"] == "shuffled")].iloc[0]
        return f"The maps are of doubtful use: on {named} they beat shuffled maps in {mode} only."
    return f"Nothing can be concluded from the maps: on {named} they are not shown to beat the same maps shuffled."


def agreement_sentence(table: pd.DataFrame) -> str:
    """Says how far relatives and members of other seeds agree."""
    parts = []
    for kin, name in ((True, "members of one front"), (False, "members of different seeds")):
        some = table[table["relatives"] == kin]
        if some.empty:
            continue
        text = f"{name} share {some['shared'].mean():.0f} features ({some['expected'].mean():.0f} by chance)"
        if some["spearman"].notna().any():
            text += f", rank their importance alike by {some['spearman'].mean():.2f}"
        if some["maps"].notna().any():
            text += f" and the pixels by {some['maps'].mean():.2f}"
        parts.append(text)
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]} (mean Spearman correlation over pairs)."


def _frequency_table(units: pd.DataFrame, seeds: int) -> Table:
    table = units.sort_values(["frequency", "unit"], ascending=[False, True]).head(8)
    if seeds >= MIN_SEEDS and table["q"].notna().any():
        table = units.sort_values(["q", "frequency"], ascending=[True, False]).head(8)
    title = f"Units the search kept, mean over {seeds} seed{'s' if seeds > 1 else ''}"
    view = Table(title=title, title_justify="left", box=SIMPLE)
    view.add_column("unit", no_wrap=True)
    for name in ("kept in", "by chance", "by ancestry", "seeds", "q"):
        view.add_column(name, justify="right", no_wrap=True)
    if "effect" in table:
        view.add_column("effect", justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        cells = [
            str(row["unit"]), f"{row['frequency']:.0%}", f"{row['low']:.0%}-{row['high']:.0%}",
            f"{row['kin_low']:.0%}-{row['kin_high']:.0%}", f"{row['seeds']}", _p(row["q"]),
        ]  # fmt: skip
        if "effect" in row:
            sure = row["effect_q"] < _LEVEL
            cells.append("" if np.isnan(row["effect"]) else f"{row['effect']:+.2%}{'*' if sure else ' '}")
        view.add_row(*cells)
    if "effect" in table:
        view.caption = "effect: on the search loss of random masks, kept in place of another; * q < 0.05"
        view.caption_justify = "left"
    return view


def _faithfulness_table(tests: pd.DataFrame, solution: str) -> Table:
    view = Table(title=f"Do the maps of {solution} mean anything?", title_justify="left", box=SIMPLE)
    view.add_column("test", no_wrap=True)
    view.add_column("against", no_wrap=True)
    for name in ("gain in area (95%)", "better on", "p, Holm"):
        view.add_column(name, justify="right", no_wrap=True)
    for row in tests.to_dict("records"):
        view.add_row(
            row["mode"], {"shuffled": "cells shuffled", "other": "other image"}[row["control"]],
            f"{row['gain']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})", f"{row['wins']:.0%}",
            _p(row["p_holm"]),
        )  # fmt: skip
    return view


def _p(value: float) -> str:
    return "-" if np.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"
