"""A finished run for other programs: tables, Optuna studies, and its networks."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.evaluations import evaluations
from experiments.finished import FinishedRun
from moprune.files import replacing, write_text
from moprune.networks.saved import save_network
from moprune.optional import require
from problems.pruning import PruningProblem


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


def write_network(run: FinishedRun, solution: str, path: Path) -> list[Path]:
    """Trains a solution again and writes its network, backbone included; returns the two files.

    The weights are safetensors; the JSON beside them says what the head looks like, how images are prepared and what
    the solution scored. :func:`moprune.networks.saved.load_network` reads them again.

    Raises:
        UsageError: there is no such solution.
    """
    (genome,) = run.genomes([solution])
    table = evaluations(run)
    row = table[table["solution"] == solution].iloc[0]
    problem = run.problem(int(row["seed"]))
    assert isinstance(problem, PruningProblem)
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
        for o in problem.objectives
    }
    network = run.result.config.network
    return save_network(
        problem.network(genome), path, extractor=problem.extractor, spec=problem.spec,
        widths=[int(mask.sum()) for mask in problem.encoding.masks(genome)], classes=problem.task.classes,
        notes={"solution": solution, "seed": int(row["seed"]), "arch": network.arch, "objectives": measured},
    )  # fmt: skip
