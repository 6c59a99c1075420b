"""``moprune show``: the front of a finished run, how good it is, and which member to take."""

from pathlib import Path
from typing import Annotated

import typer


def show(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    prefer: Annotated[
        list[str] | None,
        typer.Option(metavar="OBJECTIVE=VALUE", help="Good enough, e.g. error=0.05: who satisfies it? Repeatable."),
    ] = None,
    knee: Annotated[bool, typer.Option("--knee", help="Also show the knee of the front.")] = False,
    merged: Annotated[
        bool, typer.Option("--merged", help="One front of all seeds: what no member of any seed dominates.")
    ] = False,
    split: Annotated[str, typer.Option(help="Split to merge and choose on: select or search.")] = "select",
    rows: Annotated[int, typer.Option(min=1, help="Front members to show at most.")] = 20,
    all_rows: Annotated[bool, typer.Option("--all", help="Show every front member of every seed.")] = False,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the indicators of each seed, source and split.")
    ] = None,
) -> None:
    """Show the front of a finished run, how good it is beside its controls, and which member to take."""
    from analysis.decisions import parse_wishes
    from experiments.decide import Choice
    from experiments.result import load_result
    from experiments.run_folder import open_finished
    from experiments.summary import print_result

    result = load_result(open_finished(folder))
    wishes = parse_wishes(prefer or (), result.measures)
    choice = Choice(result, split=split, wishes=wishes, knee=knee, merged=merged)
    print_result(result, rows=None if all_rows else rows, all_seeds=all_rows, choice=choice)
    if csv is not None:
        from analysis.indicators import indicators
        from moprune.files import write_text

        table = indicators(result.front, result.controls, result.objectives, reported=result.reported)
        write_text(csv, table.to_csv(index=False, lineterminator="\n"))
