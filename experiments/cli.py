"""The command line. Heavy imports happen inside the commands, so that help is instant."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.compare import compare
from experiments.commands.ensemble import ensemble
from experiments.commands.explain import explain
from experiments.commands.export import export
from experiments.commands.plot import plot
from experiments.commands.report import report
from experiments.commands.show import show
from experiments.commands.verify import verify

app = typer.Typer(
    name="moprune",
    help="What to change in a pre-trained network, under several goals at once.",
    epilog="Every command takes --debug, for the traceback of an error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench = typer.Typer(help="Measure moprune against the naive way, in one run.", no_args_is_help=True)
app.add_typer(bench, name="bench")


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
    out: Annotated[Path | None, typer.Option(help="Run folder [default: runs/NAME].")] = None,
) -> None:
    """Run an experiment; the same command resumes an interrupted run and shows a finished one."""
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
        try:
            from experiments.runner import run_experiment

            result = run_experiment(config, folder, progress)
        except KeyboardInterrupt:
            progress.stop()
            again = shlex.join(["moprune", *sys.argv[1:]])
            typer.echo(f"\nStopped. Everything evaluated is kept in {folder}; resume with:\n  {again}", err=True)
            raise typer.Exit(130) from None
    print_result(result)


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


app.command()(show)
app.command()(plot)
app.command()(compare)
app.command()(explain)
app.command()(export)
app.command()(ensemble)
app.command()(report)
app.command()(verify)


@bench.command()
def heads(
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Training images.")] = 2520,
    features: Annotated[int, typer.Option(min=1, help="Features an image.")] = 2048,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units.")] = 512,
    classes: Annotated[int, typer.Option(min=2, help="Classes.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step.")] = 32,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Masked heads: candidates per second against the naive loop, and the share of the matrix-product peak."""
    import dataclasses
    import json

    from experiments.bench_heads import bench_heads, table
    from moprune.files import write_text

    result = bench_heads(
        images=images, features=features, hidden=hidden, classes=classes, batch_size=batch_size, device=device,
        progress=lambda text: typer.echo(text, err=True),
    )  # fmt: skip
    typer.echo(table(result))
    if json_file is not None:
        write_text(json_file, json.dumps(dataclasses.asdict(result), indent=2) + "\n")


@bench.command()
def weights(
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures.")] = None,
    weights_file: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="Of a CIFAR ResNet-20; else digits."),
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR|TAR", help="Images for --weights, test/<class>/*.")] = None,
    images: Annotated[int, typer.Option(min=1, help="How many of --data.")] = 1000,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 60,
    candidates: Annotated[int, typer.Option(min=2, help="Trials of each case.")] = 8,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Weights of one network: candidates per second against the naive loop, with the same decisions."""
    import dataclasses
    import json

    from experiments.bench_trials import cifar, digits
    from experiments.bench_weights import bench_weights, table
    from moprune.errors import UsageError
    from moprune.files import write_text

    if (weights_file is None) != (data is None):
        raise UsageError("--weights and --data belong together; give both, or neither for the network of digits")
    setting = digits() if weights_file is None or data is None else cifar(weights_file, data, images)
    result = bench_weights(
        setting, batch_size=batch_size, candidates=candidates, device=device,
        progress=lambda text: typer.echo(text, err=True),
    )  # fmt: skip
    typer.echo(table(result))
    if json_file is not None:
        write_text(json_file, json.dumps(dataclasses.asdict(result), indent=2) + "\n")


@bench.command()
def selection(
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With cifar10_jpeg.tar and resnet20_cifar10.pth; else digits."),
    ] = None,
    images: Annotated[int, typer.Option(min=20, help="Training images of --data.")] = 1000,
    candidates: Annotated[int, typer.Option(min=4, help="Of a generation.")] = 12,
    epochs: Annotated[int, typer.Option(min=1, help="Of each candidate.")] = 2,
    rounds: Annotated[int, typer.Option(min=2, help="Times each way is measured.")] = 3,
) -> None:
    """Layer selection: epochs per second of a generation's fine-tunings against each alone, with the same losses."""
    import dataclasses
    import json

    from experiments.bench_generation import cifar, digits
    from experiments.bench_tuning import bench_tuning, table
    from moprune.files import write_text

    def tell(text: str) -> None:
        typer.echo(text, err=True)

    tell("the search that candidates come from")
    generation = digits(candidates, epochs) if data is None else cifar(data, images, candidates, epochs)
    result = bench_tuning(generation, rounds=rounds, progress=tell)
    typer.echo(table(result))
    if json_file is not None:
        write_text(json_file, json.dumps(dataclasses.asdict(result), indent=2) + "\n")
