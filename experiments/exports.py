"""A finished run for other programs: tables, Optuna studies, and its networks."""

import copy
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analysis.fronts import OPTIMISTIC
from experiments.evaluations import evaluations
from experiments.finished import FinishedRun
from experiments.tasks import Deliverable
from moprune.errors import MopruneError, UsageError
from moprune.files import replacing, write_text
from moprune.networks.costs import flops, parameters
from moprune.networks.delta import apply_delta, save_delta
from moprune.networks.exported import FORMATS
from moprune.networks.saved import save_network, write_description
from moprune.optional import quiet_optuna, require


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
    parameters what the task says of genomes (of masks the shares of units that are on: thousands of bits are nothing to
    look at), its attributes the solution, seed, stage, generation and, for front members, their objectives on select
    and test.

    Raises:
        UsageError: optuna is not installed.
    """
    objectives = run.result.summary["objectives"]
    directions = ["minimize" if o["minimise"] else "maximize" for o in objectives.values()]
    names = []
    with quiet_optuna() as optuna, replacing(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # metric names
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(temporary)))
        for (seed, stage), rows in evaluations(run).groupby(["seed", "stage"], sort=False):
            names.append(f"{run.result.folder.path.resolve().name}: {stage}, seed {seed}")
            study = optuna.create_study(study_name=names[-1], storage=storage, directions=directions)
            study.set_metric_names(list(objectives))
            study.add_trials(_trials(optuna, rows, list(objectives), run.kind.shown))
    return names


def _trials(optuna: Any, rows: pd.DataFrame, objectives: list[str], shown: str) -> list[Any]:
    shares = _parameters(rows, shown)
    values = {f"{name}_search" for name in objectives}
    attributes = [name for name in rows.columns if name not in values and not name.startswith(shown)]
    distributions = {name: optuna.distributions.FloatDistribution(0.0, max(1.0, rows[name].max())) for name in shares}
    return [
        optuna.trial.create_trial(
            values=[row[f"{name}_search"] for name in objectives],
            params={name: row[name] for name in shares},
            distributions=distributions,
            user_attrs={n: row[n] for n in attributes if not (isinstance(row[n], float) and math.isnan(row[n]))},
        )
        for row in rows.to_dict("records")
    ]


def _parameters(rows: pd.DataFrame, shown: str) -> list[str]:
    """Returns the columns to be shown as parameters; of one layer alone, its share is that of the whole."""
    parts = [name for name in rows.columns if name.startswith(f"{shown}_")]
    return [*([shown] if shown in rows else []), *(parts if len(parts) > 1 else [])]


@dataclass(frozen=True)
class ExportedNetwork:
    """A network that was written.

    Attributes:
        files: the network, its description, and its delta where it has one.
        costs: name -> (as written, before the search); parameters, and FLOPs an image.
        difference: the largest difference between the logits of the file, as it was read back, and those of the
            network that the search scored, on training images.
        magnitude: the largest of these logits.
    """

    files: list[Path]
    costs: dict[str, tuple[int, int]]
    difference: float
    magnitude: float

    def __str__(self) -> str:
        """Returns a line for people."""
        delta = ""
        if len(self.files) > 2:
            alone, whole = (path.stat().st_size for path in (self.files[2], self.files[0]))
            delta = f"; the delta alone {alone / 1e6:.3f} MB ({alone / whole:.0%} of the file)"
        size = self.files[0].stat().st_size / 1e6
        costs = ", ".join(
            f"{now:,} of {before:,} {name} ({now / before:.0%})" for name, (now, before) in self.costs.items()
        )
        logits = f"logits differ by at most {self.difference:.1e} (of {self.magnitude:.1f})"
        return f"{size:.2f} MB, {costs}; {logits}{delta}"


def write_network(run: FinishedRun, solution: str, form: str, path: Path) -> ExportedNetwork:
    """Makes a solution's network again and writes it whole, with a description beside it.

    The JSON file says what goes in and comes out, how items are prepared, and what the solution scored; of a pruned
    network, which is slimmed, also what its head looks like (:func:`moprune.networks.saved.load_network` reads a state
    dict again). The other formats run without moprune. What fine-tuning changed is also written alone, into
    ``*.delta.safetensors`` (:mod:`moprune.networks.delta`), and tried on the pre-trained network.

    Args:
        run: the finished run.
        solution: its id.
        form: ``state-dict``, or one of :data:`moprune.networks.exported.FORMATS`.
        path: of the network.

    Raises:
        UsageError: there is no such solution, a package is missing, or torch cannot trace the network.
        MopruneError: the delta does not lead to the network that was scored.
    """
    for package in FORMATS[form].packages if form in FORMATS else ():
        require(package, form)
    (genome,) = run.genomes([solution])
    notes = _notes(run, solution)
    made = run.kind.deliverable(run.problem(notes["seed"]), genome, notes)
    if form in FORMATS:
        if made.images.ndim != 4:
            reads = "feature vectors" if made.images.is_floating_point() else "texts"
            raise UsageError(f"--format {form} is for networks of images, and this one reads {reads}; use state-dict")
        FORMATS[form].write(made.network, made.images, path)
        files, again = [path, write_description(made.description, path)], FORMATS[form].read(path)
    else:
        files = save_network(made.network, path, made.description)
        again = made.load(path)
    if made.delta is not None:
        files.append(_write_delta(made, path))
    with torch.no_grad():
        expected, found = made.scored(made.images), again(made.images)
    costs = {"parameters": (parameters(made.network), parameters(made.before))}
    if made.images.ndim == 4:
        costs["FLOPs an image"] = flops(made.network, made.images), flops(made.before, made.images)
    return ExportedNetwork(files, costs, float((found - expected).abs().max()), float(expected.abs().max()))


def _write_delta(made: Deliverable, path: Path) -> Path:
    """Writes what a network differs from the pre-trained one in, tries it on that one, and returns the file."""
    assert made.delta is not None
    file = path.with_suffix(".delta.safetensors")
    save_delta(file, made.before, made.delta)
    network = copy.deepcopy(made.before)
    apply_delta(network, file)
    with torch.no_grad():
        if not torch.equal(network(made.images), made.scored(made.images)):
            raise MopruneError(f"{file}: the network of this delta does not give the logits of the one that was scored")
    return file


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
