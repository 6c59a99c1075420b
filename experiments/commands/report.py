"""``moprune report``: a finished run as one HTML page that opens offline."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from analysis.report import FinishedFiles
    from experiments.finished import FinishedRun


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; by default RUN/report.html.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Run moprune ensemble and moprune explain first where they were not.")
    ] = False,
) -> None:
    """Write a finished run as one interactive HTML page that needs no network."""
    from analysis.report import gather, render
    from experiments.finished import opened
    from experiments.run_folder import open_finished
    from moprune.files import write_text

    open_finished(folder)
    if full:
        _complete(folder)
    started = time.perf_counter()
    path = out or folder / "report.html"
    with opened(folder) as run:
        page = render(gather(_files(run)))
    write_text(path, page)
    typer.echo(f"{path} ({len(page.encode()) / 1e6:.1f} MB, {time.perf_counter() - started:.1f} s)")


def _complete(folder: Path) -> None:
    """Makes the optional outputs that are not there."""
    from experiments.commands.ensemble import ensemble
    from experiments.commands.explain import explain
    from experiments.result import load_result
    from experiments.run_folder import open_finished

    pruned = load_result(open_finished(folder)).config.task == "pruning"
    if pruned and not (folder / "ensembles.csv").is_file():
        ensemble(folder)
    if not (folder / "explain").is_dir():
        explain(folder)


def _files(run: "FinishedRun") -> "FinishedFiles":
    from analysis.report import FinishedFiles
    from experiments.findings import findings
    from experiments.loading import dump

    result = run.result
    return FinishedFiles(
        folder=result.folder.path,
        title=result.config.description or result.config.data.called,
        findings=findings(result),
        front=result.front,
        controls=result.controls,
        summary=result.summary,
        objectives=result.objectives,
        reported=result.reported,
        log=run.log,
        experiment=dump(result.config),
        environment=result.environment,
        optimistic=result.optimistic,
    )
