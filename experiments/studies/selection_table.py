"""The tables of the study of layer selection, as Markdown and CSV.

python -m experiments.studies.selection_table RESULTS --csv FILE --page FILE

Of each arm the point of least macro error on search and select together is taken. Of the sound search the cheapest
within a standard error of it (:func:`analysis.fronts.choose_cheapest`) is told beside it, and of BioTune, which ends
with a single point, what the training of all others makes of it.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from analysis.fronts import ERRORS, choose, choose_cheapest, front_hypervolume
from analysis.statistics import holm, signed_rank
from experiments.studies.tables import MARKER, markdown_table, paired_t, publish
from moprune.errors import UsageError
from moprune.files import write_text
from moprune.fronts import nondominated
from moprune.objectives import resolve

OURS, THEIRS = "sound", "biotune"
CHEAPEST, COMMON = "sound, cheapest within noise", "biotune, common training"
COLUMNS = ("macro_error_test", "error_test", "trainable_share_test", "trainable_parameters_test")

_COST = "trainable_parameters"
_AXES = resolve(["macro_error", "trainable_share"])
_HEADS = ("macro accuracy", "±", "trained", "hypervolume", "search, images", "search, s", "training, images", "seeds")

Record = dict[str, Any]


def read(results: Path) -> list[Record]:
    """Returns the records of all finished arms.

    Args:
        results: the study's folder.

    Raises:
        UsageError: there are none.
    """
    files = sorted(results.glob("*/*/*.json"))
    if not files:
        raise UsageError(f"{results} holds no results; make them with: python -m experiments.studies.selection")
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def taken(records: list[Record]) -> pd.DataFrame:
    """Returns the point taken of each arm, a row a task, seed and arm: :data:`COLUMNS`, ``volume`` and what it cost."""
    return pd.DataFrame([row for record in records for row in _rows(record)])


def _rows(record: Record) -> list[Record]:
    found, arm, images = pd.DataFrame(record["points"]), record["arm"], record["sizes"]
    points = found.assign(solution=found["point"])
    about = {name: record[name] for name in ("task", "seed", "images", "final_images", "seconds")}
    about["volume"] = front_hypervolume(points, _AXES, "test")

    def row(name: str, solution: str) -> Record:
        point = points[points["solution"] == solution].iloc[0]
        return {**about, "arm": name, "point": solution, **{column: float(point[column]) for column in COLUMNS}}

    if arm == THEIRS:
        published, common = points["solution"]
        return [row(THEIRS, published), row(COMMON, common)]
    rows = [row(arm, _chosen(points, images))]
    if arm == OURS:
        rows.append(row(CHEAPEST, choose_cheapest(points, images, cost=_COST)))
    return rows


def _chosen(points: pd.DataFrame, images: dict[str, int]) -> str:
    return choose(points, images, losses=ERRORS, cost=_COST, budget=float("inf"))


def compared(table: pd.DataFrame, ours: str = OURS, measure: str = "macro_error_test") -> pd.DataFrame:
    """Returns an arm against each other one, paired by task and seed.

    Columns: ``against``, ``difference`` (ours less theirs, mean), ``pairs``, ``p`` (Wilcoxon's signed-rank test over
    all pairs, Holm's correction over the arms), and for each task the p of a paired t-test (uncorrected; five seeds are
    too few for ranks). Seeds of one task share images: p over all pairs is of these tasks, and says nothing of others.
    """
    wide = table.pivot_table(index=["task", "seed"], columns="arm", values=measure)
    rows = []
    for against in wide.columns.drop(ours, errors="ignore") if ours in wide else ():
        differences = (wide[ours] - wide[against]).dropna()
        if len(differences):
            tasks = {f"p {task}": paired_t(each) for task, each in differences.groupby("task")}
            raw = signed_rank(differences)
            rows.append(
                {"against": against, "difference": differences.mean(), "pairs": len(differences), "p": raw, **tasks}
            )
    found = pd.DataFrame(rows, columns=None if rows else ["against", "difference", "pairs", "p"])
    return found.assign(p=holm(found["p"].to_numpy(float)))


def dominated(records: list[Record], theirs: str = "published training") -> pd.DataFrame:
    """Returns whether the sound search dominates BioTune's point on test, a row a task and seed.

    By test macro error and trainable parameters: no worse in both, better in one. ``any``: some member of the front
    that is non-dominated on search and select together, which test figures point out, so it is an optimistic count;
    ``budgeted``: the member that has the least error on search and select among those of no more parameters than
    BioTune's; ``recommended``: the member that is taken.

    Args:
        records: of the study.
        theirs: which of BioTune's points.
    """
    known = {(record["task"], record["seed"], record["arm"]): record for record in records}
    rows = []
    for (task, seed, arm), record in known.items():
        rival = known.get((task, seed, THEIRS))
        if arm != OURS or rival is None:
            continue
        mark = next(point for point in rival["points"] if point["point"] == theirs)
        front = _offered(record)
        within = front[front[f"{_COST}_test"] <= mark[f"{_COST}_test"]]
        names = {
            "any": list(front["solution"]),
            "budgeted": [choose(within, record["sizes"], losses=ERRORS, cost=_COST)] if len(within) else [],
            "recommended": [_chosen(front, record["sizes"])],
        }
        told = {kind: any(_dominates(front, name, mark) for name in some) for kind, some in names.items()}
        rows.append({"task": task, "seed": seed, **told})
    return pd.DataFrame(rows, columns=["task", "seed", "any", "budgeted", "recommended"])


def _offered(record: Record) -> pd.DataFrame:
    """Returns the members of a front that are non-dominated by what search and select say together."""
    found, sizes = pd.DataFrame(record["points"]), record["sizes"]
    weights = [sizes["search"], sizes["select"]]
    error = np.average(found[["macro_error_search", "macro_error_select"]], axis=1, weights=weights)
    kept = nondominated(np.column_stack([error, found[f"{_COST}_search"]]).astype(float))
    return found.iloc[kept].assign(solution=lambda table: table["point"])


def _dominates(front: pd.DataFrame, name: str, mark: Record) -> bool:
    point = front[front["solution"] == name].iloc[0]
    gaps = [float(point[column]) - float(mark[column]) for column in ("macro_error_test", f"{_COST}_test")]
    return max(gaps) <= 0 and min(gaps) < 0


def markdown(records: list[Record]) -> str:
    """Returns the tables of the study."""
    table = taken(records)
    parts = [_means(table[table["task"] == task], str(task)) for task in dict.fromkeys(table["task"])]
    parts += [_differences(table, ours) for ours in (OURS, CHEAPEST)]
    return "\n\n".join([*parts, _dominance(records)]) + "\n"


def _means(table: pd.DataFrame, task: str) -> str:
    groups = table.groupby("arm", sort=False)
    means = groups[[*COLUMNS, "volume", "images", "final_images", "seconds"]].mean()
    means["spread"], means["seeds"] = groups["macro_error_test"].std(), groups.size()
    lines = []
    for arm, row in means.sort_values("macro_error_test").iterrows():
        cells = [
            f"{1 - row['macro_error_test']:.1%}", f"{100 * row['spread']:.1f}", f"{row['trainable_share_test']:.1%}",
            f"{row['volume']:.3f}", f"{row['images'] / 1000:.0f}k", f"{row['seconds']:.0f}",
            f"{row['final_images'] / 1000:.1f}k", f"{row['seeds']:.0f}",
        ]  # fmt: skip
        lines.append([str(arm), *cells])
    return markdown_table([task, *_HEADS], lines)


def _differences(table: pd.DataFrame, ours: str) -> str:
    found = compared(table, ours)
    tasks = [str(name) for name in found if str(name).startswith("p ")]
    heads = ["difference", "pairs", "p (Holm)", *(name.replace("p ", "p, ", 1) for name in tasks)]
    lines = []
    for _, row in found.iterrows():
        p = ["" if np.isnan(row[name]) else f"{row[name]:.2g}" for name in ("p", *tasks)]
        lines.append([str(row["against"]), f"{100 * row['difference']:+.1f}", str(row["pairs"]), *p])
    return markdown_table([f"macro error of {ours}, less that of", *heads], lines)


def _dominance(records: list[Record]) -> str:
    lines = []
    for training in ("published training", "common training"):
        for task, group in dominated(records, training).groupby("task", sort=False):
            counts = [f"{group[kind].sum()} of {len(group)}" for kind in ("any", "budgeted", "recommended")]
            lines.append([str(task), training.split()[0], *counts])
    heads = ["the sound search dominates BioTune's point", "trained as", "any member", "budgeted", "recommended"]
    return markdown_table(heads, lines)


def main(
    results: Annotated[Path, typer.Argument(help="The folder of the study.")],
    csv: Annotated[Path | None, typer.Option(help="Write the point taken of every arm, task and seed here.")] = None,
    page: Annotated[Path | None, typer.Option(help=f"Write the tables into this page, after {MARKER}.")] = None,
) -> None:
    """Makes the tables of the study of layer selection."""
    records = read(results)
    if csv is not None:
        table = taken(records).sort_values(["task", "arm", "seed"], ignore_index=True)
        write_text(csv, table.to_csv(index=False, float_format="%.6g"))
    publish(markdown(records), page)


if __name__ == "__main__":
    typer.run(main)
