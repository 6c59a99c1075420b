"""``moprune verify``: a sample of a finished run's log evaluated again."""

from pathlib import Path
from typing import Annotated

import typer


def verify(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    sample: Annotated[int, typer.Option(min=1, help="How many evaluations to do again.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Draws them.")] = 0,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest relative difference to let pass, on the machine that made the run.")
    ] = 1e-6,
) -> None:
    """Evaluate a random sample of a finished run's log again, and check its front; status 1 if something differs.

    Differences are relative to the largest magnitude of each objective in the sample. The test split stays closed.
    """
    from rich.console import Console
    from rich.table import Table

    from experiments import verification
    from experiments.finished import opened
    from experiments.progress import LiveProgress

    with LiveProgress() as progress, opened(folder, progress.working) as run:
        found = verification.verify(run, sample=sample, seed=seed, tolerance=tolerance, working=progress.working)
    table = Table("objective", "largest difference", "relative", "bit-identical")
    for each in found.differences:
        table.add_row(each.objective, f"{each.largest:.3g}", f"{each.relative:.3g}", "yes" if each.identical else "no")
    Console().print(table)
    typer.echo(f"{found.sampled} of {found.logged} evaluations done again (tolerance {tolerance:g} relative).")
    for fault in found.front:
        typer.echo(f"front.csv: {fault}.")
    if not found.front:
        typer.echo("front.csv: the members and values that the log gives.")
    if not found.within(tolerance):
        typer.echo("Not verified: something differs.", err=True)
        raise typer.Exit(1)
