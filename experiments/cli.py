"""The command line. Heavy imports happen inside the commands, so that help is instant."""

import shlex
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.commands import bench
from experiments.commands.compare import compare
from experiments.commands.ensemble import ensemble
from experiments.commands.explain import explain
from experiments.commands.export import export
from experiments.commands.plot import plot
from experiments.commands.report import report
from experiments.commands.show import show
from experiments.commands.sweep import sweep
from experiments.commands.trust import trust
from experiments.commands.verify import verify

app = typer.Typer(
    name="moprune",
    help="What to change in a pre-trained network, under several goals at once.",
    epilog="Every command takes --debug, for the traceback of an error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bench.app, name="bench")


def _version(shown: bool) -> None:
    if shown:
        from moprune import __version__

        typer.echo(f"moprune {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What to change in a pre-trained network, under several goals at once."""


@app.command()
def run(
    experiment: Annotated[str, typer.Argument(help="A bundled experiment (moprune list) or a YAML file.")],
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. search.n_eval=200. Repeatable."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Run seeds, e.g. 1,2,3.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; by default runs/NAME.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Evaluate in so many Ray processes; by default in threads of this one."),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Of a Ray cluster; by default workers are on this machine."),
    ] = None,
    gpus_per_worker: Annotated[float, typer.Option(min=0, help="GPUs a worker, or the share of one: 1, 0.5.")] = 0.0,
) -> None:
    """Run an experiment; the same command resumes an interrupted run and shows a finished one.

    Results do not depend on the number of workers, and a run may be resumed with another.
    """
    from experiments.loading import find_experiment, load_experiment
    from experiments.progress import LiveProgress
    from experiments.summary import print_result

    overrides = list(override or [])
    if seeds is not None:
        overrides.append(f"seeds=[{seeds}]")
    if device is not None:
        overrides.append(f"device={device}")
    config = load_experiment(experiment, overrides)
    folder = out or Path("runs") / find_experiment(experiment, overrides).stem
    with LiveProgress() as progress:
        progress.opening()
        try:
            from experiments.runner import run_experiment

            with _workers(workers, ray_address, gpus_per_worker) as executor:
                result = run_experiment(config, folder, progress, executor)
        except KeyboardInterrupt:
            progress.stop()
            again = shlex.join(["moprune", *sys.argv[1:]])
            typer.echo(f"\nStopped. Everything evaluated is kept in {folder}; resume with:\n  {again}", err=True)
            raise typer.Exit(130) from None
    print_result(result)


def _workers(workers: int | None, address: str | None, gpus: float) -> AbstractContextManager[Any]:
    """Returns what gives the executor that is asked for, or None."""
    if workers is not None:
        from moprune.distributed import RayExecutor

        return RayExecutor(workers, address=address, gpus_per_worker=gpus)
    if address is not None or gpus:
        from moprune.errors import UsageError

        raise UsageError("--ray-address and --gpus-per-worker are about --workers; say how many, such as --workers 4")
    return nullcontext()


@app.command(name="list")
def list_experiments() -> None:
    """Show the bundled experiments."""
    from rich.console import Console
    from rich.table import Table

    from experiments.loading import bundled
    from experiments.yaml_file import read_yaml

    table = Table("experiment", "what it does", title="Bundled experiments: moprune run NAME", title_justify="left")
    for name, path in bundled().items():
        table.add_row(name, str(read_yaml(path).values.get("description", "")))
    Console().print(table)


@app.command()
def keys() -> None:
    """Show every key of an experiment file, with its type, default and meaning."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Column, Table

    from experiments import reference

    table = Table(Column("key", no_wrap=True), "type", "default", "meaning", box=SIMPLE)
    for row in reference.entries():
        table.add_row(*row)
    Console().print(table, markup=False)


app.command()(sweep)
app.command()(show)
app.command()(plot)
app.command()(compare)
app.command()(explain)
app.command()(export)
app.command()(ensemble)
app.command()(report)
app.command()(trust)
app.command()(verify)
