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
    TORCH_EXPORT = "torch-export"
    ONNX = "onnx"


# Of the formats that hold a network; here, since the command line must not import torch to show its help.
_SUFFIXES = {Format.STATE_DICT: ".safetensors", Format.TORCH_EXPORT: ".pt2", Format.ONNX: ".onnx"}


def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    form: Annotated[Format, typer.Option("--format", help="What to write.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to; by default RUN/exported/..., replaced if there.")
    ] = None,
    solution: Annotated[
        str | None, typer.Option(metavar="ID", help="Whose network; by default the first seed's chosen member.")
    ] = None,
) -> None:
    """Write every evaluation as csv, parquet or optuna studies, or one solution's slimmed network."""
    from analysis.fronts import OPTIMISTIC
    from experiments import exports
    from experiments.finished import opened
    from moprune.errors import UsageError

    if solution is not None and form not in _SUFFIXES:
        raise UsageError(f"--solution goes with --format {', '.join(_SUFFIXES)}, not {form}")
    with opened(folder) as run:
        if run.result.optimistic:
            typer.echo(f"Mind that {OPTIMISTIC}.", err=True)
        there = run.result.folder.path / "exported"
        if form in _SUFFIXES:
            member = solution or str(run.result.summary["seeds"][str(run.seeds[0])]["chosen"])
            path = out or there / f"{member}{_SUFFIXES[form]}"
            if path.suffix != _SUFFIXES[form]:
                raise UsageError(f"--out {path}: {form} is written as {_SUFFIXES[form]}; name it so")
            written = exports.write_network(run, member, form, path)
            for file in written.files:
                typer.echo(file)
            typer.echo(written)
        elif form is Format.OPTUNA:
            path = out or there / "optuna.journal"
            studies = exports.write_optuna(run, path)
            typer.echo(f"{path} ({len(studies)} studies; look at them with: optuna-dashboard {path})")
        else:
            path = out or there / f"evaluations.{form}"
            (exports.write_csv if form is Format.CSV else exports.write_parquet)(run, path)
            typer.echo(path)
