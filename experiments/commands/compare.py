"""``moprune compare``: do finished runs differ, and does a search differ from its controls?"""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="[NAME=]RUN...", help="Folders of finished runs, or of such.")],
    measure: Annotated[
        list[str] | None,
        typer.Option(help="hypervolume or an objective; repeatable; by default all. Each costs power."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write every comparison.")] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw mean ranks with their critical difference.")
    ] = None,
) -> None:
    """Compare runs seed by seed on the test split; a single run is compared with its controls.

    On several data sets, runs of one NAME (by default the algorithm) belong together and are ranked over them.
    """
    from experiments.comparison import as_table, compared, enter, print_compared
    from moprune.errors import UsageError

    found = compared(enter(runs), measure or ())
    if plot is not None and not found.rankings:
        raise UsageError("--plot draws mean ranks of three or more; give more runs, or leave it out")
    for note in found.notes:
        typer.echo(f"Note: {note}.", err=True)
    print_compared(found)
    if csv is not None:
        from moprune.files import write_text

        write_text(csv, as_table([*found.pairs, *found.over_data]).to_csv(index=False, lineterminator="\n"))
    if plot is not None:
        from analysis.plots.critical_difference import critical_difference
        from analysis.plots.style import save

        save(critical_difference(found.rankings), plot)
