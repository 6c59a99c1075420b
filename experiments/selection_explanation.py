"""What `moprune explain` does of a selection of layers: which units members tune, how far and how fast."""

import math
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from analysis import plots
from experiments.explanation import Explanation
from experiments.finished import FinishedRun, seed_of
from experiments.tasks.recorded import tunings
from moprune.errors import MopruneError


def explain_selection(run: FinishedRun, *, solution: str | None = None) -> Explanation:
    """Explains a member of a finished selection by its units, beside those of the other members of its front.

    Args:
        run: the run.
        solution: the member; None for the chosen one of the first seed.

    Raises:
        UsageError: the solution is unknown.
    """
    summary = run.result.summary["seeds"]
    chosen = [str(entry["chosen"]) for entry in summary.values()]
    solution = solution or chosen[0]
    table = units_table(run, [solution, *chosen])
    found = Explanation(solution, len(run.seeds))
    over = unit_summary(table, chosen)
    found.tables |= {"tunings": table, "units": over}
    shown = table[table["seed"] == seed_of(solution)]
    told = run.result.objectives[0].name.replace("_", " ")
    found.figures["units"] = plots.unit_rates(
        shown,
        below=f"member, and its {told} on select",
        chosen=[solution],
        title=f"What members of seed {seed_of(solution)} tune (* {solution})",
    )
    found.sentences = [_member_sentence(table[table["solution"] == solution]), _front_sentence(over)]
    if len(chosen) > 1:
        found.sentences.append(_agreement_sentence(over, len(chosen)))
    return found


def units_table(run: FinishedRun, further: list[str]) -> pd.DataFrame:
    """Returns a row for each member of the fronts (and each further solution) and unit.

    Columns: ``solution``, ``seed``, ``on_front``, ``label`` (its id, and its first objective on select), ``unit``,
    ``grade`` (``frozen``, ``norms``, a rank or ``full``) and ``rate`` (factor of the base rate). The cheapest members
    come first.
    """
    fingerprint = run.log.meta("fingerprint")
    if fingerprint is None:
        raise MopruneError(f"{run.result.folder.log} holds no run")
    first = run.result.objectives[0].name
    cost = next((each.name for each in run.result.measures if each.is_cost), first)
    front = run.result.front.sort_values([f"{cost}_select", f"{first}_select", "solution"]).set_index("solution")
    solutions = list(dict.fromkeys([*front.index, *further]))
    rows = []
    decoded = tunings(fingerprint["problem"]["genotype"], run.genomes(solutions))
    for solution, tuning in zip(solutions, decoded, strict=True):
        measured = f"  {front[f'{first}_select'][solution]:.3f}" if solution in front.index else ""
        rows += [
            {
                "solution": solution,
                "seed": seed_of(solution),
                "on_front": solution in front.index,
                "label": f"{solution}{measured}",
                "unit": unit,
                "grade": str(tuning.grade(unit)),
                "rate": rate,
            }
            for unit, rate in tuning.rates.items()
        ]
    return pd.DataFrame(rows)


def unit_summary(table: pd.DataFrame, chosen: list[str]) -> pd.DataFrame:
    """Returns for each unit how many members of the fronts tune it, their median rate, and how many chosen ones do.

    Args:
        table: as :func:`units_table` returns it.
        chosen: the chosen member of each seed.

    Returns:
        ``unit``, ``tuned`` (share of the members of a front, mean over seeds), ``median_rate`` (of those that tune it;
        NaN where none does) and ``chosen`` (how many of the chosen).
    """
    fronts = table[table["on_front"]].assign(tuned=lambda rows: rows["rate"] > 0)
    tuned = fronts.groupby(["unit", "seed"], sort=False)["tuned"].mean().groupby("unit", sort=False).mean()
    rates = fronts[fronts["tuned"]].groupby("unit")["rate"].median()
    picked = table[table["solution"].isin(chosen) & (table["rate"] > 0)].groupby("unit").size()
    units = list(dict.fromkeys(table["unit"]))
    return pd.DataFrame(
        {
            "unit": units,
            "tuned": tuned.reindex(units).to_numpy(),
            "median_rate": rates.reindex(units).to_numpy(),
            "chosen": picked.reindex(units, fill_value=0).to_numpy(),
        }
    )


def _member_sentence(rows: pd.DataFrame) -> str:
    tuned = rows[rows["rate"] > 0]
    if tuned.empty:
        return f"{rows['solution'].iloc[0]} tunes nothing."
    said = [f"{row.unit} {_how(str(row.grade))} at {row.rate:.2g}" for row in tuned.itertuples()]
    which = f"{len(tuned)} of {len(rows)} units, rates as factors of the base rate"
    return f"{rows['solution'].iloc[0]} tunes {which}: {', '.join(said)}."


def _how(grade: str) -> str:
    return {"full": "in full", "norms": "(normalisation alone)"}.get(grade, f"(rank {grade})")


def _front_sentence(over: pd.DataFrame) -> str:
    parts = [f"{row.unit} {row.tuned:.0%}" for row in over.sort_values("tuned", ascending=False).itertuples()]
    return f"Of the members of a front, so many tune each unit: {', '.join(parts)}."


def _agreement_sentence(over: pd.DataFrame, seeds: int) -> str:
    always = over["unit"][over["chosen"] == seeds].tolist()
    never = over["unit"][over["chosen"] == 0].tolist()
    told = [f"{what} {', '.join(units)}" for what, units in (("all tune", always), ("none tunes", never)) if units]
    return f"Of the chosen members of {seeds} seeds {'; '.join(told) or 'no two agree on a unit'}."


def print_units(explanation: Explanation, folder: Path, console: Console | None = None) -> None:
    """Prints what the member does with each unit, how common that is, and where the files are."""
    console = console or Console()
    own = explanation.tables["tunings"].query("solution == @explanation.solution").set_index("unit")
    view = Table(title=f"Units of {explanation.solution} and its fronts", title_justify="left", box=SIMPLE)
    view.add_column("unit", no_wrap=True)
    view.add_column("tuned")
    for name in ("rate", "of members", "median rate", f"of {explanation.seeds} chosen"):
        view.add_column(name, justify="right", no_wrap=True)
    for row in explanation.tables["units"].to_dict("records"):
        unit, median = str(row["unit"]), float(row["median_rate"])
        grade, rate = str(own.loc[unit, "grade"]), float(str(own.loc[unit, "rate"]))
        cells = [f"{rate:.2g}" if rate else "-", f"{row['tuned']:.0%}", "-" if math.isnan(median) else f"{median:.2g}"]
        view.add_row(unit, grade, *cells, str(row["chosen"]))
    console.print(view)
    for sentence in explanation.sentences:
        console.print(f"- {sentence}", highlight=False)
    console.print(f"\nFiles: {folder}", highlight=False, soft_wrap=True)
