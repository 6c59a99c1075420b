"""The tables of the pruning study, as Markdown and CSV.

python -m experiments.studies.pruning_table RESULTS --csv FILE --markdown FILE
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from analysis.statistics import holm, not_worse, signed_rank
from experiments.studies.feature_sets import NAMES
from experiments.studies.pruning import PUBLISHED_ON_TEST, SOUND
from experiments.studies.tables import latest, markdown_table, publish
from moprune.errors import UsageError
from moprune.files import write_text

MARGIN = 0.01
"""The loss of accuracy, or of AUROC, that would matter."""

MEASURES = {"error_test": "less", "ood_auroc_test": "more", "brier_test": "less", "hypervolume_test": "more"}
"""What is compared, and which direction is better."""

_COLUMNS = {
    "error_search": "accuracy on search",
    "error_test": "accuracy",
    "brier_test": "Brier",
    "active_fraction_test": "active",
    "head_parameters_test": "weights",
    "ood_auroc_test": "AUROC",
    "ood_fpr95_test": "FPR95",
    "hypervolume_test": "hypervolume",
    "seconds": "seconds",
}


def read(results: Path) -> pd.DataFrame:
    """Returns all finished cells of a study, a row an arm: ``set``, ``seed``, ``arm`` and what it measured.

    Args:
        results: the study's folder, or a table that :func:`main` wrote.

    Raises:
        UsageError: there are none.
    """
    if results.suffix == ".csv":
        return pd.read_csv(results)
    tables = [
        pd.DataFrame(json.loads(path.read_text())).assign(set=path.parent.name)
        for name in NAMES
        for path in sorted(results.glob(f"{name}/*.json"), key=lambda path: int(path.stem))
    ]
    if not tables:
        raise UsageError(f"{results} holds no results; make them with: python -m experiments.studies.pruning")
    return pd.concat(tables, ignore_index=True)


def compared(results: pd.DataFrame) -> pd.DataFrame:
    """Returns the sound search against every other arm.

    Columns: ``set``, ``arm``, ``measure``, ``difference``, ``p``, ``seeds``. Differences are ours less theirs, means
    over seeds. p is Wilcoxon's signed-rank test with Holm's correction over the arms of a set and measure.
    """
    rows = []
    for (name, measure), table in _paired(results):
        others = [arm for arm in table if arm not in (SOUND, PUBLISHED_ON_TEST) and table[arm].notna().any()]
        differences = [(table[SOUND] - table[arm]).dropna() for arm in others]  # seeds that both have
        p = holm([signed_rank(each) for each in differences])
        for arm, each, value in zip(others, differences, p, strict=True):
            rows.append((name, arm, measure, float(each.mean()), float(value), len(each)))
    return pd.DataFrame(rows, columns=["set", "arm", "measure", "difference", "p", "seeds"])


def inferiority(results: pd.DataFrame, against: str = "unpruned") -> pd.DataFrame:
    """Returns for each set whether the sound search is no worse than an arm, in accuracy and AUROC.

    Columns: ``set``, ``measure``, ``loss`` (> 0: ours is worse), ``p`` (of a loss of :data:`MARGIN`), ``seeds``.
    """
    rows = []
    for (name, measure), table in _paired(results):
        if measure in ("error_test", "ood_auroc_test"):
            sign = 1 if measure == "error_test" else -1
            loss = (sign * (table[SOUND] - table[against])).dropna()
            rows.append((name, measure, float(loss.mean()), not_worse(loss, MARGIN), len(loss)))
    return pd.DataFrame(rows, columns=["set", "measure", "loss", "p", "seeds"])


def optimism(results: pd.DataFrame) -> pd.DataFrame:
    """Returns for each set the error a publication would report, and that of the same search selected on a hold-out."""
    table = results.pivot_table(index=["set", "seed"], columns="arm", values="error_test")
    pairs = table[[PUBLISHED_ON_TEST, "published, on a hold-out", "unpruned"]].dropna()
    return pairs.groupby("set", sort=False).mean()


def _paired(results: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    found = []
    for name in results["set"].unique():
        rows = results[results["set"] == name]
        for measure in MEASURES:
            if measure in rows:
                table = rows.pivot_table(index="seed", columns="arm", values=measure, dropna=False, sort=False)
                found.append(((str(name), measure), table.dropna(subset=[SOUND])))
    return found


def markdown(results: pd.DataFrame) -> str:
    """Returns the tables of the study."""
    parts = [_means(results, name) for name in results["set"].unique()]
    return "\n\n".join([_together(results), _verdicts(results), _optimism(results), *parts]) + "\n"


def pooled(results: pd.DataFrame) -> pd.DataFrame:
    """Returns the sound search against every other arm over all sets together, paired by set and seed.

    Columns: ``arm``, ``measure``, ``difference``, ``p`` (signed-rank, Holm's correction over the arms of a measure),
    ``no_worse`` (p of a loss of :data:`MARGIN`, for error and AUROC) and ``pairs``.
    """
    rows = []
    for measure, better in MEASURES.items():
        if measure not in results:
            continue
        table = results.pivot_table(index=["set", "seed"], columns="arm", values=measure, dropna=False, sort=False)
        others = [arm for arm in table if arm not in (SOUND, PUBLISHED_ON_TEST) and table[arm].notna().any()]
        differences = [(table[SOUND] - table[arm]).dropna() for arm in others]
        corrected = holm([signed_rank(each) for each in differences])
        for arm, each, p in zip(others, differences, corrected, strict=True):
            loss = each if better == "less" else -each
            rows.append((arm, measure, float(each.mean()), float(p), not_worse(loss, MARGIN), len(each)))
    return pd.DataFrame(rows, columns=["arm", "measure", "difference", "p", "no_worse", "pairs"])


def _together(results: pd.DataFrame) -> str:
    found = pooled(results).set_index(["arm", "measure"])
    lines = []
    for arm in found.index.get_level_values("arm").unique():
        cells = [str(arm), str(found.loc[(arm, "error_test"), "pairs"])]
        for measure in MEASURES:
            if (arm, measure) in found.index:
                row = found.loc[(arm, measure)]
                points = measure == "error_test"
                gain = (-100 if points else 1) * row["difference"]
                text = f"{gain:+.1f}" if points else f"{gain:+.3f}"
                worse = f", no worse {_p(row['no_worse'])}" if measure in ("error_test", "ood_auroc_test") else ""
                cells.append(f"{text} ({_p(row['p'])}{worse})")
            else:
                cells.append("")
        lines.append(cells)
    heads = ["sound search less ...", "pairs", "accuracy, points", "AUROC", "Brier (less is better)", "hypervolume"]
    return "### All sets together, paired by set and seed\n\n" + markdown_table(heads, lines)


def _verdicts(results: pd.DataFrame) -> str:
    """Returns a table: the sound search's member against the unpruned head and the strongest rivals, set by set."""
    comparisons, losses = compared(results), inferiority(results)
    rivals = ["best of random masks", "random masks, sound evaluation", "magnitude", "anova"]
    rows = []
    for name in results["set"].unique():
        cells = [str(name)]
        for measure in ("error_test", "ood_auroc_test"):
            found = losses[(losses["set"] == name) & (losses["measure"] == measure)].iloc[0]
            cells.append(f"{-100 * found['loss']:+.1f} ({_p(found['p'])}{'' if found['p'] < 0.05 else ', not shown'})")
        for measure in ("error_test", "hypervolume_test"):
            for rival in rivals:
                of = (comparisons["set"] == name) & (comparisons["arm"] == rival) & (comparisons["measure"] == measure)
                found = comparisons[of]
                cells.append("" if found.empty else _gain(found.iloc[0], MEASURES[measure] == "less"))
        rows.append(cells)
    heads = ["data set", "accuracy, points (p no worse)", "AUROC, points (p no worse)"]
    heads += [f"accuracy v. {rival}" for rival in rivals] + [f"hypervolume v. {rival}" for rival in rivals]
    return "### The sound search against the unpruned head and its rivals\n\n" + markdown_table(heads, rows)


def _gain(row: pd.Series, less: bool) -> str:
    gain = (-100 if less else 1) * row["difference"]
    return f"{gain:+.1f} ({_p(row['p'])})" if less else f"{gain:+.3f} ({_p(row['p'])})"


def _optimism(results: pd.DataFrame) -> str:
    rows = [
        [str(name), *(f"{100 * (1 - row[arm]):.1f}" for arm in row.index),
         f"{100 * (row['published, on a hold-out'] - row[PUBLISHED_ON_TEST]):+.1f}"]
        for name, row in optimism(results).iterrows()
    ]  # fmt: skip
    heads = ["data set", "selected on test, as published", "selected on a hold-out", "unpruned", "optimism, points"]
    return "### What selecting on test adds to the published protocol (accuracy, %)\n\n" + markdown_table(heads, rows)


def _means(results: pd.DataFrame, name: str) -> str:
    rows = results[results["set"] == name]
    columns = [column for column in _COLUMNS if column in rows]
    lines = []
    for arm, group in rows.groupby("arm", sort=False):
        cells = [str(arm), str(len(group))]
        for column in columns:
            values = group[column].to_numpy(float)
            cells.append(_cell(column, 1 - values if column in ("error_search", "error_test") else values))
        lines.append(cells)
    heads = ["arm", "seeds", *(_COLUMNS[column] for column in columns)]
    return f"### {name}\n\n" + markdown_table(heads, lines)


def _cell(column: str, values: np.ndarray) -> str:
    if np.isnan(values).any():
        return ""
    if column in ("seconds", "head_parameters_test"):  # medians: an arm that was resumed took no time
        return f"{np.median(values):,.0f}"
    spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"


def _p(value: float) -> str:
    return "p < .001" if value < 0.001 else f"p = {value:.3f}".replace("0.", ".")


def main(
    results: Annotated[list[Path], typer.Argument(help="Folders of the study, or tables written before.")],
    csv: Annotated[Path | None, typer.Option(help="Where all arms of all cells go.")] = None,
    page: Annotated[Path | None, typer.Option(help="Page whose tables are replaced; else they are printed.")] = None,
) -> None:
    """Writes the tables of the pruning study."""
    found = pd.concat([read(each) for each in results], ignore_index=True)
    found = latest(found, ["set", "seed", "arm"])
    if csv is not None:
        write_text(csv, found.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
    publish(markdown(found), page)


if __name__ == "__main__":
    typer.run(main)
