"""``moprune explain``: which units, parts of an image or changed weights matter, or what members tune."""

from pathlib import Path
from typing import Annotated

import typer

_QUIET_SECONDS = 5.0
_IMAGES = "64"


def explain(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    solution: Annotated[
        str | None, typer.Option(metavar="ID", help="Member to explain; by default the chosen one of the first seed.")
    ] = None,
    images: Annotated[
        str, typer.Option(metavar="N|FOLDER", help="How many images of the select split, or a folder of your own.")
    ] = _IMAGES,
    layer: Annotated[
        str | None, typer.Option(help="Module whose maps are looked at; by default the convolution that runs last.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for tables and pictures; by default RUN/explain.")] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Write PDF instead of PNG.")] = False,
) -> None:
    """Show which neurons and which parts of images matter to a member, tested against chance and controls.

    Of refined weights: which changes carry the gain. Of fine-tuned layers: which units members tune, and how fast.
    Images come from the select split; the test split is not opened.
    """
    import time

    from experiments.explanation import explain_run
    from experiments.explanation_text import print_explanation
    from experiments.finished import opened
    from experiments.refinement_explanation import explain_refinement, print_changes
    from experiments.selection_explanation import explain_selection, print_units
    from moprune.errors import UsageError

    wanted: int | Path = int(images) if images.isdecimal() else Path(images)
    if wanted == 0 or (isinstance(wanted, Path) and not wanted.exists()):
        raise UsageError(f"--images {images!r} is neither a number of images nor a folder of them; check the path")
    spoken = time.monotonic()

    def say(text: str) -> None:
        nonlocal spoken
        spoken = time.monotonic()
        typer.echo(text, err=True)

    def progress(what: str, done: int, total: int) -> None:
        if time.monotonic() - spoken > _QUIET_SECONDS:
            say(f"{what}: {done}/{total}")

    with opened(folder, lambda what, done, total, _: progress(what, done, total)) as run:
        task = run.result.config.task
        if task != "pruning" and (images != _IMAGES or layer is not None):
            raise UsageError(f"--images and --layer are for pruned networks; this run's task is {task}: drop them")
        if task == "refinement":
            found = explain_refinement(run, solution=solution, say=say, progress=progress)
        elif task == "selection":
            found = explain_selection(run, solution=solution)
        else:
            found = explain_run(run, solution=solution, images=wanted, layer=layer, say=say, progress=progress)
        target = out or run.result.folder.path / "explain"
        found.write(target, ".pdf" if pdf else ".png")
    if task == "selection":
        print_units(found, target)
    elif task == "refinement":
        print_changes(found, next(iter(run.result.summary["objectives"])), target)
    else:
        print_explanation(found.solution, found.tables, found.sentences, target)
