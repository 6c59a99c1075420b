"""``moprune bench``: moprune against other ways to do the same work, and against what the machine can do."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.bench.output import Output
    from experiments.bench.report import Report
    from experiments.bench.rows import Row

app = typer.Typer(help="Measure moprune against other ways to do the same work, in one run.")

Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures.")]
Picture = Annotated[Path | None, typer.Option("--picture", metavar="FILE", help="Also draw them: .png, .svg or .pdf.")]
Baseline = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Compare with what --json wrote; status 1 where a ratio fell.")
]
Tolerance = Annotated[float, typer.Option(help="Share by which a ratio may fall.")]
Rounds = Annotated[int, typer.Option(min=2, help="Times each way is measured, in turns.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


@app.callback(invoke_without_command=True)
def everything(
    context: typer.Context,
    json_file: Json = None,
    picture: Picture = None,
    baseline: Baseline = None,
    tolerance: Tolerance = 0.25,
    rounds: Rounds = 3,
) -> None:
    """Measure moprune against other ways to do the same work, in one run; with no command all kinds, at small sizes."""
    if context.invoked_subcommand is not None:
        return
    from experiments.bench.suite import bench_all

    output = _output(json_file, picture, baseline, tolerance)
    _finish(output, list(bench_all(rounds, _tell)), rounds, details=False)


@app.command()
def heads(
    json_file: Json = None,
    picture: Picture = None,
    baseline: Baseline = None,
    tolerance: Tolerance = 0.25,
    images: Annotated[int, typer.Option(min=1, help="Training images.")] = 2520,
    features: Annotated[int, typer.Option(min=1, help="Features an image.")] = 2048,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units.")] = 512,
    classes: Annotated[int, typer.Option(min=2, help="Classes.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step.")] = 32,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 10,
    published_network: Annotated[
        str, typer.Option(help="Backbone of the published way: pretrained_digits or resnet50.")
    ] = "pretrained_digits",
    rounds: Rounds = 3,
    device: Device = "cpu",
) -> None:
    """Masked heads: candidates per second against the naive loop, and the share of the matrix-product peak."""
    from experiments.bench.heads import bench_heads

    output = _output(json_file, picture, baseline, tolerance)
    row = bench_heads(
        images=images, features=features, hidden=hidden, classes=classes, batch_size=batch_size, epochs=epochs,
        device=device, published=published_network, rounds=rounds, progress=_tell,
    )  # fmt: skip
    _finish(output, [row], rounds, device)


@app.command()
def weights(
    json_file: Json = None,
    picture: Picture = None,
    baseline: Baseline = None,
    tolerance: Tolerance = 0.25,
    weights_file: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="Of a CIFAR ResNet-20; else digits."),
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR|TAR", help="Images for --weights, test/<class>/*.")] = None,
    images: Annotated[int, typer.Option(min=1, help="How many of --data.")] = 1000,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 60,
    candidates: Annotated[int, typer.Option(min=2, help="Trials of each case.")] = 8,
    rounds: Rounds = 3,
    device: Device = "cpu",
) -> None:
    """Weights of one network: candidates per second against the naive loop, with the same decisions."""
    from experiments.bench.trials import cifar, digits
    from experiments.bench.weights import bench_weights
    from moprune.errors import UsageError

    if (weights_file is None) != (data is None):
        raise UsageError("--weights and --data belong together; give both, or neither for the network of digits")
    output = _output(json_file, picture, baseline, tolerance)
    setting = digits() if weights_file is None or data is None else cifar(weights_file, data, images)
    rows = bench_weights(
        setting, batch_size=batch_size, candidates=candidates, rounds=rounds, device=device, progress=_tell
    )
    _finish(output, rows, rounds, device)


@app.command()
def selection(
    json_file: Json = None,
    picture: Picture = None,
    baseline: Baseline = None,
    tolerance: Tolerance = 0.25,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With cifar10_jpeg.tar and resnet20_cifar10.pth; else digits."),
    ] = None,
    images: Annotated[int, typer.Option(min=20, help="Training images of --data.")] = 1000,
    candidates: Annotated[int, typer.Option(min=4, help="Of a generation.")] = 12,
    epochs: Annotated[int, typer.Option(min=1, help="Of each candidate.")] = 2,
    precision: Annotated[str, typer.Option(help="Of moprune's training: float32 or bfloat16.")] = "float32",
    rounds: Rounds = 3,
) -> None:
    """Layer selection: epochs per second of a generation's fine-tunings against each alone, with the same losses."""
    from experiments.bench.generation import cifar, digits
    from experiments.bench.selection import bench_selection

    output = _output(json_file, picture, baseline, tolerance)
    _tell("the search that candidates come from")
    generation = digits(candidates, epochs) if data is None else cifar(data, images, candidates, epochs)
    generation = replace(generation, recipe=replace(generation.recipe, precision=precision))
    _finish(output, bench_selection(generation, rounds=rounds, progress=_tell), rounds)


@app.command()
def overhead(
    json_file: Json = None,
    picture: Picture = None,
    baseline: Baseline = None,
    tolerance: Tolerance = 0.25,
    bits: Annotated[int, typer.Option(min=2, help="Of a mask.")] = 2048,
    floats: Annotated[int, typer.Option(min=1, help="Real numbers of a genome of weights.")] = 270_000,
    population: Annotated[int, typer.Option(min=4, help="Members.")] = 50,
    evaluations: Annotated[int, typer.Option(min=20, help="On bits; a fifth of them on real numbers.")] = 1000,
    rounds: Rounds = 3,
) -> None:
    """What a search costs beside its evaluations (operators, duplicates, log), against pymoo alone."""
    from experiments.bench.overhead import bench_overhead

    output = _output(json_file, picture, baseline, tolerance)
    rows = bench_overhead(
        bits=bits, floats=floats, population=population, evaluations=evaluations, rounds=rounds, progress=_tell
    )
    _finish(output, rows, rounds)


@app.command()
def ood(
    json_file: Json = None,
    picture: Picture = None,
    baseline: Baseline = None,
    tolerance: Tolerance = 0.25,
    candidates: Annotated[int, typer.Option(min=1, help="Heads.")] = 16,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units.")] = 64,
    rounds: Rounds = 3,
    device: Device = "cpu",
) -> None:
    """OOD scoring: candidates per second by all detectors against one candidate and detector at a time, on digits."""
    from experiments.bench.ood import bench_ood

    output = _output(json_file, picture, baseline, tolerance)
    row = bench_ood(candidates=candidates, hidden=hidden, rounds=rounds, device=device, progress=_tell)
    _finish(output, [row], rounds, device)


@app.command()
def attribution(
    json_file: Json = None,
    picture: Picture = None,
    baseline: Baseline = None,
    tolerance: Tolerance = 0.25,
    candidates: Annotated[int, typer.Option(min=1, help="Members of a front.")] = 8,
    images: Annotated[int, typer.Option(min=4, help="Explained.")] = 100,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units.")] = 64,
    rounds: Rounds = 3,
    device: Device = "cpu",
) -> None:
    """Attribution: members per second of what `moprune explain` computes against captum alone, on digits."""
    from experiments.bench.attribution import bench_attribution

    output = _output(json_file, picture, baseline, tolerance)
    row = bench_attribution(
        candidates=candidates, images=images, hidden=hidden, rounds=rounds, device=device, progress=_tell
    )
    _finish(output, [row], rounds, device)


@app.command()
def strategies(
    json_file: Json = None,
    picture: Picture = None,
    baseline: Baseline = None,
    tolerance: Tolerance = 0.25,
    shapes: Annotated[str | None, typer.Option(metavar="FxH,...", help="Features x hidden units of heads.")] = None,
    rounds: Rounds = 3,
    device: Device = "cpu",
) -> None:
    """Both ways that moprune trains heads, over shapes of heads: is the faster one chosen?"""
    from experiments.bench.strategies import SHAPES, bench_strategies

    output = _output(json_file, picture, baseline, tolerance)
    chosen = SHAPES if shapes is None else [_pair(shape) for shape in shapes.split(",")]
    _finish(output, bench_strategies(chosen, rounds=rounds, device=device, progress=_tell), rounds, device)


@app.command()
def scaling(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="heads, weights, selection, ood or attribution.")],
    over: Annotated[str, typer.Option(help="population, features, units, images or cores.")],
    values: Annotated[str, typer.Option(metavar="N,N,...", help="What to take.")],
    json_file: Json = None,
    picture: Picture = None,
    baseline: Baseline = None,
    tolerance: Tolerance = 0.25,
    rounds: Rounds = 3,
) -> None:
    """One kind along one axis, its other sizes small."""
    from experiments.bench.pictures import curves
    from experiments.bench.scaling import bench_scaling

    output, numbers = _output(json_file, picture, baseline, tolerance), _numbers("--values", values, ",")
    rows = bench_scaling(kind, over, numbers, rounds=rounds, progress=_tell)
    _finish(output, rows, rounds, draw=lambda report: curves(report, over, numbers))


def _tell(text: str) -> None:
    typer.echo(text, err=True)


def _output(json_file: Path | None, picture: Path | None, baseline: Path | None, tolerance: float) -> "Output":
    from experiments.bench.output import Output

    return Output(json_file, picture, baseline, tolerance)


def _finish(
    output: "Output",
    rows: "Sequence[Row]",
    rounds: int,
    device: str = "cpu",
    *,
    details: bool = True,
    draw: "Callable[[Report], Figure] | None" = None,
) -> None:
    from experiments.bench.report import Report, this_machine
    from moprune.devices import resolve_device

    output.finish(Report(this_machine(resolve_device(device)), rounds, tuple(rows)), details=details, draw=draw)


def _pair(text: str) -> tuple[int, int]:
    from moprune.errors import UsageError

    found = _numbers("--shapes", text, "x")
    if len(found) != 2:
        raise UsageError(f"--shapes: {text!r} is no shape; give features x hidden units, as 64x64,256x128")
    return found[0], found[1]


def _numbers(option: str, text: str, separator: str) -> list[int]:
    from moprune.errors import UsageError

    if not all(part.strip().isdecimal() and int(part) > 0 for part in text.split(separator)):
        raise UsageError(f"{option}: {text!r}; give whole numbers of at least 1 with {separator!r} between them")
    return [int(part) for part in text.split(separator)]
