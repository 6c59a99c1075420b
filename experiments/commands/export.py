"""``moprune export``: a finished run for other programs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """What can be written."""

    CSV = "csv"
    PARQUET = "parquet"
    OPTUNA = "optuna"
    STATE_DICT = "state-dict"


def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    form: Annotated[Format, typer.Option("--format", help="What to write.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to; by default RUN/exported/..., replaced if there.")
    ] = None,
    solution: Annotated[
        str | None, typer.Option(metavar="ID", help="For state-dict; by default the chosen member of the first seed.")
    ] = None,
) -> None:
    """Write every evaluation as csv, parquet or optuna studies, or one solution's network as a state-dict."""
    from experiments import exports
    from experiments.finished import opened
    from moprune.errors import UsageError

    if solution is not None and form is not Format.STATE_DICT:
        raise UsageError(f"--solution goes with --format state-dict, not {form}")
    with opened(folder) as run:
        there = run.result.folder.path / "exported"
        if form is Format.STATE_DICT:
            member = solution or str(run.result.summary["seeds"][str(run.seeds[0])]["chosen"])
            path = out or there / f"{member}.safetensors"
            if path.suffix != ".safetensors":
                raise UsageError(f"--out {path}: a state dict is written as .safetensors; name it so")
            for written in exports.write_network(run, member, path):
                typer.echo(written)
        elif form is Format.OPTUNA:
            path = out or there / "optuna.journal"
            studies = exports.write_optuna(run, path)
            typer.echo(f"{path} ({len(studies)} studies; look at them with: optuna-dashboard {path})")
        else:
            path = out or there / f"evaluations.{form}"
            (exports.write_csv if form is Format.CSV else exports.write_parquet)(run, path)
            typer.echo(path)
