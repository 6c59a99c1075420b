"""``moprune plot``: the pictures of a finished run."""

from pathlib import Path
from typing import Annotated

import typer


def plot(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="front, front_3d, matrix, parallel, search_to_test, attainment, hypervolume, operators or all. "
            "Repeatable; by default all."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures; by default RUN/figures.")] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Write PDF instead of PNG.")] = False,
) -> None:
    """Draw a finished run: its front with the controls, whether it holds on test and over seeds, how it came about."""
    from experiments.pictures import draw
    from experiments.result import load_result
    from experiments.run_folder import open_finished

    result = load_result(open_finished(folder))
    for path in draw(result, out or result.folder.figures, ".pdf" if pdf else ".png", kind or ["all"]):
        typer.echo(path)
