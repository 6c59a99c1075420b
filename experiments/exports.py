"""A finished run for other programs: tables, Optuna studies, and its networks."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analysis.fronts import OPTIMISTIC
from experiments.evaluations import evaluations
from experiments.finished import FinishedRun
from moprune.files import replacing, write_text
from moprune.networks.assembly import with_head
from moprune.networks.costs import flops, parameters
from moprune.networks.exported import FORMATS
from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights
from moprune.networks.saved import describe, load_network, save_network, write_description
from moprune.networks.slimming import slim
from moprune.optional import require
from problems.pruning import PruningProblem

_IMAGES = 8
"""Training images by which a network that was written is compared with the one that was scored."""


def write_csv(run: FinishedRun, path: Path) -> None:
    """Writes every evaluation as CSV; floats with the fewest digits that read back as the same double."""
    write_text(path, evaluations(run).to_csv(index=False, lineterminator="\n"))


def write_parquet(run: FinishedRun, path: Path) -> None:
    """Writes every evaluation as Parquet.

    Raises:
        UsageError: pyarrow is not installed.
    """
    require("pyarrow", "parquet")
    table = evaluations(run)
    with replacing(path) as temporary:
        table.to_parquet(temporary, engine="pyarrow", index=False)


def write_optuna(run: FinishedRun, path: Path) -> list[str]:
    """Writes a study for each seed and stage to one Optuna journal file; returns their names.

    ``optuna-dashboard FILE`` opens it. A trial is an evaluation: its values are the objectives in natural units, its
    parameters the shares of units that are on (thousands of bits are nothing to look at), its attributes the solution,
    seed, stage, generation and, for front members, their objectives on select and test.

    Raises:
        UsageError: optuna is not installed.
    """
    optuna = require("optuna", "optuna")
    objectives = run.result.summary["objectives"]
    directions = ["minimize" if o["minimise"] else "maximize" for o in objectives.values()]
    names = []
    with replacing(path) as temporary, warnings.catch_warnings(), _silent(optuna):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # metric names
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(temporary)))
        for (seed, stage), rows in evaluations(run).groupby(["seed", "stage"], sort=False):
            names.append(f"{run.result.folder.path.resolve().name}: {stage}, seed {seed}")
            study = optuna.create_study(study_name=names[-1], storage=storage, directions=directions)
            study.set_metric_names(list(objectives))
            study.add_trials(_trials(optuna, rows, list(objectives)))
    return names


def _trials(optuna: Any, rows: pd.DataFrame, objectives: list[str]) -> list[Any]:
    layers = [name for name in rows.columns if name.startswith("share_on_")]
    shares = ["share_on", *(layers if len(layers) > 1 else [])]
    values = {f"{name}_search" for name in objectives}
    attributes = [name for name in rows.columns if name not in values and not name.startswith("share_on")]
    distributions = dict.fromkeys(shares, optuna.distributions.FloatDistribution(0.0, 1.0))
    return [
        optuna.trial.create_trial(
            values=[row[f"{name}_search"] for name in objectives],
            params={name: row[name] for name in shares},
            distributions=distributions,
            user_attrs={n: row[n] for n in attributes if not (isinstance(row[n], float) and math.isnan(row[n]))},
        )
        for row in rows.to_dict("records")
    ]


@contextmanager
def _silent(optuna: Any) -> Iterator[None]:
    """Keeps Optuna from reporting every study it makes; its level of logging is put back."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


@dataclass(frozen=True)
class ExportedNetwork:
    """A network that was written.

    Attributes:
        files: the network, then its description.
        costs: name -> (as written, unpruned); parameters, and FLOPs an image.
        difference: the largest difference between the logits of the file, as it was read back, and those of the
            pruned network that the search scored, on training images.
        magnitude: the largest of these logits.
    """

    files: list[Path]
    costs: dict[str, tuple[int, int]]
    difference: float
    magnitude: float

    def __str__(self) -> str:
        """Returns a line for people."""
        size = self.files[0].stat().st_size / 1e6
        costs = ", ".join(
            f"{now:,} of {before:,} {name} ({now / before:.0%})" for name, (now, before) in self.costs.items()
        )
        return f"{size:.2f} MB, {costs}; logits differ by at most {self.difference:.1e} (of {self.magnitude:.1f})"


def write_network(run: FinishedRun, solution: str, form: str, path: Path) -> ExportedNetwork:
    """Trains a solution again and writes its slimmed network, backbone included, with a description beside it.

    The JSON file says what goes in and comes out, how images are prepared, what the head looks like and what the
    solution scored. :func:`moprune.networks.saved.load_network` reads a state dict again; the other formats run without
    moprune.

    Args:
        run: the finished run.
        solution: its id.
        form: ``state-dict``, or one of :data:`moprune.networks.exported.FORMATS`.
        path: of the network.

    Raises:
        UsageError: there is no such solution, a package is missing, or torch cannot trace the network.
    """
    for package in FORMATS[form].packages if form in FORMATS else ():
        require(package, form)
    (genome,) = run.genomes([solution])
    notes = _notes(run, solution)
    problem = run.problem(notes["seed"])
    assert isinstance(problem, PruningProblem)
    scored, inputs = problem.network(genome), problem.task.train.inputs
    images = torch.stack([problem.extractor.preprocess(inputs[i]) for i in range(min(_IMAGES, len(inputs)))])
    slimmed = slim(scored, images)
    masks = problem.encoding.masks(genome)
    description = describe(
        problem.extractor, problem.spec, kept=masks[0].nonzero()[:, 0].tolist(),
        widths=[int(mask.sum()) for mask in masks], example=images, classes=problem.task.classes, notes=notes,
    )  # fmt: skip
    if form in FORMATS:
        FORMATS[form].write(slimmed, images, path)
        files, again = [path, write_description(description, path)], FORMATS[form].read(path)
    else:
        files = save_network(slimmed, path, description)
        again = load_network(path, problem.extractor.network)
    with torch.no_grad():
        expected, found = scored(images), again(images)
    unpruned = with_head(problem.extractor, _unpruned_head(problem.spec).module())
    costs = {
        "parameters": (parameters(slimmed), parameters(unpruned)),
        "FLOPs an image": (flops(slimmed, images), flops(unpruned, images)),
    }
    return ExportedNetwork(files, costs, float((found - expected).abs().max()), float(expected.abs().max()))


def _unpruned_head(spec: HeadSpec) -> TrainedHead:
    return TrainedHead.of(spec, spec.all_on(), initial_weights(spec, seed=0), epochs=0)


def _notes(run: FinishedRun, solution: str) -> dict[str, Any]:
    """Returns what the run knows of a solution: its seed, the architecture, and its objectives on each split."""
    table = evaluations(run)
    row = table[table["solution"] == solution].iloc[0]
    measured = {
        o.name: {
            "unit": o.unit,
            "minimise": o.minimise,
            **{
                split: float(row[f"{o.name}_{split}"])
                for split in ("search", "select", "test")
                if math.isfinite(row[f"{o.name}_{split}"])
            },
        }
        for o in run.result.measures
    }
    notes = {
        "solution": solution,
        "seed": int(row["seed"]),
        "arch": run.result.config.network.arch,
        "profile": run.result.summary["profile"],
        "objectives": measured,
    }
    return notes | {"note": OPTIMISTIC} if run.result.optimistic else notes
