"""``moprune ensemble``: does an ensemble of front members help, against single ones and against controls?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from experiments.finished import FinishedRun
    from experiments.progress import LiveProgress

TEST_READ = "test was read once more by this command, after every choice had been made on select"

_NOT_PRUNING = (
    "ensemble compares pruned heads that vote; of other tasks the controls say it: of refinement ensemble (all members "
    "vote), uniform_soup and greedy_soup (their weights are averaged), of selection front_ensemble and front_soup"
)


def ensemble(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    size: Annotated[int, typer.Option(min=1, help="Votes of an ensemble and of its controls.")] = 5,
    seed: Annotated[
        list[int] | None, typer.Option(metavar="S", help="Only this run seed. Repeatable; by default all.")
    ] = None,
    method: Annotated[str, typer.Option(help="best_k, greedy, diverse, front, windows or all.")] = "all",
    export: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the ensemble best on select as one network.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for tables and picture; by default RUN.")] = None,
) -> None:
    """Ensembles of front members against single members, unpruned heads and random masks of the same number."""
    import pandas as pd

    from analysis import plots
    from analysis.ensembles import METHODS, choose_method
    from analysis.ensembles.verdict import findings, rivals
    from analysis.fronts import OPTIMISTIC
    from experiments.finished import opened
    from experiments.progress import LiveProgress
    from experiments.run_folder import RunFolder
    from moprune.errors import UsageError, not_one_of

    if method not in (*METHODS, "all"):
        raise not_one_of("method", method, (*METHODS, "all"))
    if method == "windows" and export is not None:
        raise UsageError("--export: windows vote by majority, which has no probabilities; choose another --method")
    methods = METHODS if method == "all" else (method,)
    with LiveProgress() as progress, opened(folder, progress.working) as run:
        if run.result.config.task != "pruning":
            raise UsageError(_NOT_PRUNING)
        seeds = list(dict.fromkeys(seed or run.seeds))
        for each in seeds:
            if each not in run.seeds:
                raise not_one_of("seed", each, map(str, run.seeds))
        detector, other_detector = _detector(run)
        table = pd.concat(
            [_compared(run, each, size, methods, detector, progress) for each in seeds], ignore_index=True
        )
        chosen = choose_method(table)
        if export is not None:
            _export(run, table[table["ensemble"] == chosen], export, progress)
        progress.stop()
        optimistic = run.result.optimistic
        said = [f"Mind that {OPTIMISTIC}."] if optimistic else []
        said += [*findings(table, run.result.summary["images"]["test"]), *other_detector]
        notes = _notes(table, size, optimistic=optimistic)
        target = RunFolder(out or run.result.folder.path)
        target.write_table("ensembles.csv", table)
        summary: dict[str, Any] = {
            "profile": run.result.summary["profile"],
            "size": size,
            "methods": list(methods),
            "detector": detector,
            "chosen": chosen,
            "rivals": [vars(rival) for rival in rivals(table, chosen)],
            "test_read": TEST_READ,
            "findings": said,
        }
        target.write_json("ensembles.json", summary)
        title = "members selected on test: optimistic" if optimistic else ""
        plots.save(plots.ensemble(table, title=title), target.figures / "ensembles.png")
    _print(table, [*said, *notes])
    typer.echo(f"\nFiles: {target.path / 'ensembles.csv'}, {target.figures / 'ensembles.png'}")
    if export is not None:
        typer.echo(f"Exported {chosen}: {export} (load it with analysis.ensembles.load_ensemble)")


def _compared(
    run: "FinishedRun", seed: int, size: int, methods: tuple[str, ...], detector: str, progress: "LiveProgress"
) -> "pd.DataFrame":
    from analysis.ensembles import compare_ensembles, make_controls

    def observe(what: str, done: int, total: int) -> None:
        progress.working(f"seed {seed}, {what}", done, total, "heads trained again")

    front = run.result.front
    solutions = front[front["seed"] == seed]["solution"].tolist()
    pool = _predicted(run, seed, solutions, observe)
    random = run.search(seed, "random") if "random" in run.result.config.controls else None
    controls = make_controls(random, pool.problem, min(size, len(pool)), observe)
    return compare_ensembles(pool, seed=seed, controls=controls, size=size, methods=methods, detector=detector)


def _predicted(run: "FinishedRun", seed: int, solutions: list[str], observe: Any) -> Any:
    from analysis.members import predict

    return predict(
        run.problem(seed),
        solutions,
        run.genomes(solutions),
        progress=lambda done, total: observe("front of the search", done, total),
    )


def _export(run: "FinishedRun", rows: "pd.DataFrame", folder: Path, progress: "LiveProgress") -> None:
    """Writes the chosen ensemble of each seed; of several into a folder each."""
    import numpy as np

    from analysis.ensembles import save_ensemble
    from analysis.members import Members

    for row in rows.to_dict("records"):
        seed, solutions = int(row["seed"]), str(row["solutions"]).split()
        progress.working(f"export of seed {seed}", 0, 1, "ensembles")
        members = Members(run.problem(seed), tuple(solutions), np.asarray(run.genomes(solutions)), {})
        measured = {name: value for name, value in row.items() if str(name).endswith(("_select", "_test"))}
        notes = {
            "ensemble": row["ensemble"],
            "seed": seed,
            "profile": run.result.summary["profile"],
            "network": run.result.config.network.model_dump(mode="json"),
            "measured": measured,
        }
        save_ensemble(members, folder if len(rows) == 1 else folder / f"seed-{seed}", notes)


def _detector(run: "FinishedRun") -> tuple[str, list[str]]:
    """Returns the OOD detector of ensembles, and what to say where it is not that of the run's first OOD objective."""
    from moprune.metrics import DETECTORS

    config = run.result.config
    measured = [each for each in (*config.objectives, *config.reported) if each.name.startswith("ood_")]
    own = (measured[0].detector if measured else None) or "energy"
    if own in DETECTORS:
        return own, []
    return "energy", [
        f"OOD AUROCs here are by energy: the run's detector, {own}, reads more than the logits that vote."
    ]


def _notes(table: "pd.DataFrame", size: int, *, optimistic: bool) -> list[str]:
    chosen = "the test split itself" if optimistic else f"select; {TEST_READ}"
    notes = [
        "No two front members keep the same units, so their weights cannot be averaged into one head (a soup).",
        f"Members and method were chosen on {chosen}.",
    ]
    smallest = int(table[table["ensemble"] == "unpruned heads"]["members"].min())
    if smallest < size:
        notes.insert(0, f"A front has {smallest} members only: ensembles and controls of its seed have no more votes.")
    return notes


def _print(table: "pd.DataFrame", sentences: list[str]) -> None:
    from rich.console import Console

    console = Console()
    console.print(_shown(table))
    for sentence in sentences:
        console.print(sentence, highlight=False, soft_wrap=True)


def _shown(table: "pd.DataFrame") -> "Table":
    import math

    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    from analysis.ensembles.verdict import means

    seeds = table["seed"].nunique()
    over = f"mean±sd over {seeds} seeds" if seeds > 1 else f"seed {table['seed'].iloc[0]}"
    title = f"On the test split, {over}"
    shown = Table(title=title, title_justify="left", box=SIMPLE, padding=0, show_edge=False)
    shown.add_column("", no_wrap=True)
    columns = [
        ("distinct", "heads", 1.0),
        ("parameters", "weights\n[1000]", 1e-3),
        ("latency_ms", "latency\n[ms]", 1.0),
    ]
    measures = [
        ("error_test", "error\n[%]", 100, 2),
        ("ece_test", "ECE\n[%]", 100, 1),
        ("nll_test", "NLL\n[nats]", 1, 3),
    ]
    if "ood_auroc_test" in table:
        measures.append(("ood_auroc_test", "OOD\nAUROC", 1, 3))
    for each in (*columns, *measures):
        shown.add_column(Text(str(each[1])), justify="right", vertical="bottom", no_wrap=True)
    last = None
    for name, row in means(table).iterrows():
        cells = [f"{row[column] * factor:.3g}" for column, _, factor in columns]
        for column, _, factor, digits in measures:
            value, spread = row[column] * factor, row[f"{column}_sd"] * factor
            text = "" if math.isnan(value) else f"{value:.{digits}f}"
            spread_told = (
                column == "error_test" and text and not math.isnan(spread)
            )  # of all it would not fit 80 columns
            cells.append(f"{text}±{spread:.{digits}f}" if spread_told else text)
        if last is not None and last != row["kind"]:
            shown.add_section()
        last = row["kind"]
        shown.add_row(str(name), *cells)
    return shown
