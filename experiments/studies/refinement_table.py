"""The tables of the refinement study, as Markdown and CSV.

python -m experiments.studies.refinement_table RESULTS --csv FILE --page FILE
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from analysis.statistics import holm
from experiments.studies.tables import MARKER, latest, markdown_table, paired_t, publish
from moprune.errors import UsageError
from moprune.files import write_text

MEASURES = {
    "nll_test": "NLL",
    "error_test": "error",
    "worst_class_error_test": "worst class",
    "ece_test": "ECE",
    "corruption_error_test": "corrupted",
}
"""What is told of each arm, on the test split; less is better in all of it."""

AGAINST = (
    "control uniform_soup",
    "control greedy_soup",
    "control best_member",
    "control gradient, everything",
    "control gradient for all that was spent",
    "mixing random search",
)
"""What the searches of the members' shares are compared with."""

TOLD_OF_SOME = {"memory": "GB", "success": "successes", "diversity": "diversity"}
"""What not every arm or table has: peak resident memory, and of searches successes and diversity."""

COMPARED = ("nll_test", "error_test")

_PERCENT = [name for name in MEASURES if name != "nll_test"]


def read(results: Path) -> pd.DataFrame:
    """Returns all finished arms, a row a point and seed: ``arm``, ``seed`` and what it measured.

    Args:
        results: the study's folder, or a table that :func:`main` wrote.

    Raises:
        UsageError: there are none.
    """
    if results.suffix == ".csv":
        return pd.read_csv(results)
    files = sorted(results.glob("*/*.json"))
    if not files:
        raise UsageError(f"{results} holds no results; make them with: python -m experiments.studies.refinement")
    table = pd.concat([pd.DataFrame(json.loads(path.read_text())) for path in files], ignore_index=True)
    point = table["point"].fillna("").str.replace(r", .*epochs?.*$|^\d.*$", "", regex=True).str.strip()
    several = table.groupby(["arm", "seed"])["arm"].transform("size") > 1
    table["arm"] = np.where(several & (point != ""), table["arm"] + ", " + point, table["arm"])
    return table.drop(columns="point")


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Returns each arm's means over seeds, the least likelihood loss first, with the seeds and the spread of it."""
    groups = results.groupby("arm", sort=False)
    table = groups[[*MEASURES, "nll_search", "images", "seconds"]].mean()
    table.insert(0, "seeds", groups.size())
    table["spread"] = groups["nll_test"].std()
    for name in TOLD_OF_SOME:
        if name in results:
            table[name] = groups[name].mean()
    return table.sort_values("nll_test")


def compared(results: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Returns each search of the members' shares against the arms of :data:`AGAINST`.

    Columns: ``arm``, ``against``, ``difference`` (ours less theirs, mean over seeds), ``p`` (paired t, Holm's
    correction over the searches; the least p of a rank test on five seeds is .06), ``seeds``.
    """
    wide = results.pivot_table(index="seed", columns="arm", values=measure)
    rows = []
    for against in AGAINST:
        arms = [arm for arm in wide if str(arm).startswith("mixing ") and arm != against]
        if against not in wide or not arms:
            continue
        differences = [(wide[arm] - wide[against]).dropna() for arm in arms]
        p = holm([paired_t(each) for each in differences])
        rows += [(a, against, float(d.mean()), float(v), len(d)) for a, d, v in zip(arms, differences, p, strict=True)]
    return pd.DataFrame(rows, columns=["arm", "against", "difference", "p", "seeds"])


def markdown(results: pd.DataFrame) -> str:
    """Returns the tables of the study."""
    return "\n\n".join([_means(results), *(_differences(results, name) for name in COMPARED)]) + "\n"


def _means(results: pd.DataFrame) -> str:
    table = summary(results)
    extra = {name: head for name, head in TOLD_OF_SOME.items() if name in table}
    told = {"memory": "{:.2f}", "success": "{:.0%}", "diversity": "{:.2f}"}
    heads = ["arm", *MEASURES.values(), "NLL on search", "± (NLL)", "images", "s", *extra.values(), "seeds"]
    lines = []
    for arm, row in table.iterrows():
        cells = [f"{row['nll_test']:.3f}", *(f"{row[name]:.1%}" for name in _PERCENT), f"{row['nll_search']:.3f}"]
        cells += ["" if np.isnan(row["spread"]) else f"{row['spread']:.3f}"]  # of one seed there is none
        cells += [f"{row['images'] / 1000:.0f}k", f"{row['seconds']:.0f}"]
        cells += ["" if np.isnan(row[name]) else told[name].format(row[name]) for name in extra]
        lines.append([str(arm), *cells, f"{row['seeds']:.0f}"])
    return markdown_table(heads, lines)


def _differences(results: pd.DataFrame, measure: str) -> str:
    table = compared(results, measure)
    if not len(table):
        return ""
    wide = table.pivot_table(index="arm", columns="against", values=["difference", "p"])
    names = [name for name in AGAINST if name in set(table["against"])]
    lines = []
    for arm in wide.index:
        cells = []
        for name in names:
            difference, p = wide.loc[arm, ("difference", name)], wide.loc[arm, ("p", name)]
            told = f"{difference:+.3f}" if measure == "nll_test" else f"{100 * difference:+.1f}"
            cells.append("" if np.isnan(difference) else f"{told} (p = {p:.2g})")
        lines.append([str(arm), *cells])
    return markdown_table([f"{MEASURES[measure]} on test, less that of", *names], lines)


def main(
    results: Annotated[list[Path], typer.Argument(help="Folders of the study, or tables made of them.")],
    csv: Annotated[Path | None, typer.Option(help="Write every arm and seed here.")] = None,
    page: Annotated[Path | None, typer.Option(help=f"Write the tables into this page, after {MARKER}.")] = None,
) -> None:
    """Makes the tables of the refinement study."""
    table = pd.concat([read(path) for path in results], ignore_index=True)
    table = latest(table, ["arm", "seed"]).sort_values(["arm", "seed"], ignore_index=True)
    if csv is not None:
        write_text(csv, table.to_csv(index=False, float_format="%.6g"))
    publish(markdown(table), page)


if __name__ == "__main__":
    typer.run(main)
