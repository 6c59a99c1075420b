"""``moprune sweep``: every combination of experiments, seeds and settings, side by side."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer


def sweep(
    experiments: Annotated[
        list[str], typer.Argument(metavar="EXPERIMENT...", help="Bundled experiments (moprune list) or YAML files.")
    ],
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key in all runs. Repeatable.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Run seeds, e.g. 1,2,3; each is a run.")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B,C", help="A run for each value, e.g. search.pop_size=20,40. Repeatable."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at once; by default one a core.")] = None,
    ray_address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Of a Ray cluster; by default runs are on this machine.")
    ] = None,
    gpus_per_worker: Annotated[float, typer.Option(min=0, help="GPUs a run, or the share of one: 1, 0.5.")] = 0.0,
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs/sweep"),
) -> None:
    """Run every combination of experiment, seed and varied values, side by side, each in a process of its own.

    The same command goes on with what was interrupted or failed. Status 1 if a run failed.
    """
    from experiments.sweep import comparable, planned
    from experiments.sweep import sweep as ending
    from moprune.distributed import connected

    members = planned(experiments, list(override or []), seeds, list(vary or []), out)
    workers = workers or os.cpu_count() or 1
    faults = []
    try:
        with connected(workers, ray_address) as ray:
            for count, ended in enumerate(ending(members, ray, workers=workers, gpus=gpus_per_worker), 1):
                how = "failed" if ended.fault else f"{ended.seconds:.0f} s" if ended.seconds else "was finished"
                typer.echo(f"{count}/{len(members)} {ended.member.name}: {how}", err=True)
                faults += [(ended.member, ended.fault)] if ended.fault else []
    except KeyboardInterrupt:
        again = shlex.join(["moprune", *sys.argv[1:]])
        typer.echo(f"\nStopped. Everything evaluated is kept in {out}; resume with:\n  {again}", err=True)
        raise typer.Exit(130) from None
    for member, fault in faults:
        typer.echo(f"moprune: error: {member.name}: {fault}", err=True)
    if faults:
        raise typer.Exit(1)
    typer.echo("Compare them with:")
    for folders in comparable(members):
        typer.echo(f"  {shlex.join(['moprune', 'compare', *map(str, folders)])}")
