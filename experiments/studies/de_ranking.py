"""The ranking of the searches of real numbers, on shifted and rotated functions in several dimensions.

    python -m experiments.studies.de_ranking --out FOLDER [--dimension 10 ...] [--seeds 25] [--page docs/algorithms.md]

Every seed draws its own shifts, rotations and first members. All have equal evaluations. What is finished is not done
again, so that an interrupted study goes on; the tables are made of the seeds that are finished everywhere.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import pandas as pd
import typer
from pymoo.core.algorithm import Algorithm
from pymoo.optimize import minimize

from analysis.statistics import compare_over_data, rank, scores_by_data
from experiments.studies.functions import FUNCTIONS, ShiftedRotated
from experiments.studies.tables import markdown_table, publish
from moprune.algorithms import make
from moprune.algorithms.adaptive_de import PROFILES, LSHADEEpSin, SASHADETriEnSin
from moprune.errors import UsageError
from moprune.files import write_text

EVALUATIONS = 3000
MEMBERS, FALLING = 50, 100
"""Members, and those at first where their number falls; CMA-ES has its own ``4 + 3 ln D``."""
SOLVED = 1e-8
"""Errors below this count as zero, as in the CEC competitions."""

RANKED = (
    "de", "sade", "jade", "shade", "lshade", "lshade_epsin", "tde", "sa_shade", "sa_shade_faithful",
    "cmaes", "pso", "ga",
)  # fmt: skip
_SINUSOIDS = replace(PROFILES["sound"], sinusoids=True)
ABLATION: Mapping[str, Callable[[], Algorithm]] = MappingProxyType(
    {
        "lshade_epsin, 0.25": lambda: LSHADEEpSin(FALLING, frequency=0.25),
        "sa_shade, 0.25": lambda: SASHADETriEnSin(MEMBERS, profile=replace(_SINUSOIDS, frequency=0.25)),
        "sa_shade, 0.5": lambda: SASHADETriEnSin(MEMBERS, profile=_SINUSOIDS),
    }
)
"""The frequency of the decreasing sinusoid: 0.5, which is a constant F, against 0.25; sa_shade by itself has none."""
_FAMILIES = {"lshade_epsin": ("lshade", "lshade_epsin", "lshade_epsin, 0.25"),
             "sa_shade": ("sa_shade", "sa_shade, 0.5", "sa_shade, 0.25")}  # fmt: skip

_MEASURE = "error"


def algorithm(arm: str, problem: ShiftedRotated) -> Algorithm:
    """Returns the algorithm of an arm of the study."""
    if arm in ABLATION:
        return ABLATION[arm]()
    size = None if arm == "cmaes" else FALLING if arm.startswith("lshade") else MEMBERS
    return make(arm, problem, pop_size=size)


def error(arm: str, name: str, dimension: int, seed: int) -> float:
    """Returns the least value an arm reaches on a function within the evaluations; the optimum is 0."""
    problem = ShiftedRotated(name, dimension, seed, EVALUATIONS)
    minimize(problem, algorithm(arm, problem), ("n_eval", EVALUATIONS), seed=seed)
    return problem.best if problem.best > SOLVED else 0.0


def fill(cell: Path, name: str, dimension: int, seed: int) -> None:
    """Runs the arms that a cell (function, dimension, seed) lacks and writes it."""
    errors = json.loads(cell.read_text()) if cell.exists() else {}
    missing = [arm for arm in (*RANKED, *ABLATION) if arm not in errors]
    if missing:
        errors |= {arm: error(arm, name, dimension, seed) for arm in missing}
        write_text(cell, json.dumps(errors) + "\n")


def read(out: Path) -> pd.DataFrame:
    """Returns the errors of a study as a tidy table (:data:`analysis.statistics.COLUMNS`), a row an arm and cell.

    Seeds that are not finished on every function of a dimension are left out.

    Args:
        out: the study's folder, or a table written before.

    Raises:
        UsageError: none is finished.
    """
    if out.suffix == ".csv":
        return pd.read_csv(out)
    rows = []
    for cell in sorted(out.glob("*/*/*.json")):
        for arm, value in json.loads(cell.read_text()).items():
            data = f"{cell.parent.name}, {cell.parent.parent.name}"
            rows.append((arm, data, int(cell.stem), _MEASURE, value))
    table = pd.DataFrame(rows, columns=["run", "data", "seed", "measure", "value"])
    finished = table.groupby("seed")["data"].nunique() if rows else pd.Series(dtype=int)
    table = table[table["seed"].isin(finished.index[finished == finished.max()])]
    if table.empty:
        raise UsageError(f"{out} holds no finished results; make them with: python -m experiments.studies.de_ranking")
    return table


def markdown(table: pd.DataFrame) -> str:
    """Returns the tables of the study: the ranking, the medians behind it, and the ablation of the frequency."""
    ranked = table[table["run"].isin(RANKED)]
    parts = [_ranking(ranked), _against_the_best(ranked), _medians(ranked)]
    return "\n\n".join([*parts, *(_ablation(table, family) for family in _FAMILIES)]) + "\n"


def _dimension(table: pd.DataFrame) -> pd.Series:
    return table["data"].str.rpartition(", ")[2].astype(int)


def _ranking(table: pd.DataFrame) -> str:
    dimensions = sorted(_dimension(table).unique())
    every = rank(scores_by_data(table, _MEASURE), minimise=True, measure="median error", unit="functions")
    each = [rank(scores_by_data(table[_dimension(table) == d], _MEASURE), minimise=True) for d in dimensions]
    rows = [
        [str(arm), f"{value:.2f}", *(f"{ranking.ranks[str(arm)]:.2f}" for ranking in each)]
        for arm, value in every.ranks.items()
    ]
    head = ["algorithm", "all", *(f"D = {d}" for d in dimensions)]
    differences = [f"{r.critical_difference:.2f}" for r in (every, *each)]
    text = f"### Mean ranks\n\n{markdown_table(head, [*rows, ['*critical difference*', *differences]])}\n\n"
    alike = "; ".join(", ".join(group) for group in every.groups())
    return (
        f"{text}{table['seed'].nunique()} seeds, {EVALUATIONS} evaluations, {every.blocks} functions. Friedman's test: "
        f"chi2 = {every.statistic:.1f}, p = {every.p:.1e}. Groups within the critical difference (Nemenyi, 0.05): "
        f"{alike}."
    )


def _against_the_best(table: pd.DataFrame) -> str:
    best = str(rank(scores_by_data(table, _MEASURE), minimise=True).ranks.index[0])
    rows = []
    for each in compare_over_data(table, {_MEASURE: True}, against=best):
        mine = each.first == best
        wins, losses = (each.wins, each.losses) if mine else (each.losses, each.wins)
        rows.append([each.second if mine else each.first, str(wins), str(losses), _p(each.p_holm)])
    head = ["against", f"{best} better on", "worse on", "p (signed-rank, Holm)"]
    return f"### {best} against each other\n\n{markdown_table(head, rows)}"


def _medians(table: pd.DataFrame) -> str:
    parts = []
    for d, rows in table.groupby(_dimension(table)):
        scores = scores_by_data(rows, _MEASURE)
        scores = scores[[arm for arm in RANKED if arm in scores]]
        lines = [[str(name).partition(",")[0], *(f"{v:.2g}" for v in row)] for name, row in scores.iterrows()]
        parts.append(f"### Median errors, D = {d}\n\n{markdown_table(['function', *scores.columns], lines)}")
    return "\n\n".join(parts)


def _ablation(table: pd.DataFrame, family: str) -> str:
    arms = _FAMILIES[family]
    ranking = rank(scores_by_data(table[table["run"].isin(arms)], _MEASURE), minimise=True)
    rows = [[arm, f"{ranking.ranks[arm]:.2f}"] for arm in arms]
    test = f"Friedman's p = {_p(ranking.p)}, critical difference {ranking.critical_difference:.2f}."
    return f"### The frequency of the sinusoid: {family}\n\n{markdown_table(['arm', 'mean rank'], rows)}\n\n{test}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "under 0.001"


def main(
    out: Annotated[Path, typer.Option(help="Folder of the results, or a table written before.")],
    dimension: Annotated[list[int] | None, typer.Option(help="Variables; 10, 30 and 100 by default.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, 1 to this.")] = 25,
    csv: Annotated[Path | None, typer.Option(help="Where all errors go.")] = None,
    page: Annotated[Path | None, typer.Option(help="Page whose tables are replaced; else they are printed.")] = None,
) -> None:
    """Runs what is missing of the study and writes its tables."""
    for seed in range(1, seeds + 1) if out.suffix != ".csv" else ():
        for d in dimension or (10, 30, 100):
            for name in FUNCTIONS:
                fill(out / str(d) / name / f"{seed}.json", name, d, seed)
    found = read(out)
    if csv is not None:
        write_text(csv, found.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
    publish(markdown(found), page)


if __name__ == "__main__":
    typer.run(main)
