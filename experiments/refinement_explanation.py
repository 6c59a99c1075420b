"""What `moprune explain` does of refined weights: what changed, what the changes are worth, and in words."""

from pathlib import Path

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from analysis import plots
from analysis.critical import changes_of, revert_layers, revert_weights
from analysis.fronts import OPTIMISTIC
from experiments.explanation import Explanation, Progress, Say
from experiments.finished import FinishedRun, seed_of
from moprune.objectives import Objective
from problems.refinement import RefinementProblem

_SHOWN = 12  # layers printed


def explain_refinement(
    run: FinishedRun,
    *,
    solution: str | None = None,
    say: Say = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Explanation:
    """Explains a member of a finished refinement by what the select split loses when its changes are taken back.

    Args:
        run: the run.
        solution: the member; None for the chosen one of the first seed.
        say: told what is being done.
        progress: called with (what, parts done, parts in all) during what takes long.

    Raises:
        UsageError: the solution is unknown, or the pre-trained network itself.
    """
    solution = solution or run.result.summary["seeds"][str(run.seeds[0])]["chosen"]
    problem = run.problem(seed_of(solution))
    assert isinstance(problem, RefinementProblem)
    changes = changes_of(problem, run.genomes([solution])[0])
    found = Explanation(solution, len(run.seeds))
    tensors = changes.by_tensor()
    split = "test" if run.result.optimistic else "select"
    told = f"{solution}, scored on {split}"

    def scored(done: int, total: int) -> None:
        progress("networks scored", done, total)

    say("what the changes of each layer are worth")
    layers = revert_layers(problem, changes, on_scored=scored)
    say("what the largest changes are worth, against the smallest and random ones")
    weights = revert_weights(problem, changes, on_scored=scored)
    found.tables |= {"tensors": tensors, "filters": changes.by_filter(), "layers": layers, "weights": weights}
    found.figures["layers"] = plots.layer_reverts(layers, tensors, problem.objectives, title=told)
    found.figures["weights"] = plots.weight_reverts(weights, problem.objectives, title=told)
    if run.result.optimistic:
        found.sentences.append(f"Mind that {OPTIMISTIC}.")
    found.sentences.append(change_sentence(tensors))
    for objective in problem.objectives:
        found.sentences += gain_sentences(objective, layers, weights, split)
    return found


def change_sentence(tensors: pd.DataFrame) -> str:
    """Says how much changed, and what the most."""
    changed = tensors[tensors["changed"] > 0]
    said = (
        f"{len(changed)} tensors differ from the pre-trained network, in {tensors['changed'].sum():,} of "
        f"{tensors['weights'].sum():,} weights"
    )
    if changed["relative_change"].isna().all():
        return f"{said}."
    most = changed.nlargest(1, "relative_change").iloc[0]
    return f"{said}; {most['tensor']} changed the most, by {most['relative_change']:.1%} of its norm."


def gain_sentences(objective: Objective, layers: pd.DataFrame, weights: pd.DataFrame, split: str) -> list[str]:
    """Says what was gained in an objective, which layer carries most of it, and whether the largest changes do."""
    layers, weights = (table[table["objective"] == objective.name] for table in (layers, weights))
    before, after = layers[["pretrained", "found"]].iloc[0]
    said = f"On {split}, {objective.name} was {before:.4g} and is {after:.4g}"
    if layers["retained"].isna().all():
        return [f"{said}: nothing was gained there, so that no change can carry it."]
    wide = layers.pivot(index="layer", columns="test", values="retained")
    layer = str(wide["reverted"].idxmin())
    least, alone = wide.loc[layer, ["reverted", "kept"]]
    return [
        f"{said}. Without the changes of {layer} {least:.0%} of that gain is left, the least of {len(wide)} layers; "
        f"its changes alone have {alone:.0%} of it.",
        _largest_sentence(objective, weights),
    ]


def _largest_sentence(objective: Objective, weights: pd.DataFrame) -> str:
    """Compares the fewest of the largest changes without which half the gain is gone with as many others."""
    middle = weights.pivot_table(index="reverted", columns="order", values="retained", aggfunc="median")
    place = int((middle["largest"] <= 0.5).to_numpy().argmax())  # there is one: without all of them nothing is left
    largest, smallest = middle["largest"].iloc[place], middle["smallest"].iloc[place]
    some = weights[weights["reverted"] == middle.index[place]]
    drawn = some["retained"][some["order"] == "random"]
    said = (
        f"Without the largest {100 * some['share'].iloc[0]:.3g}% of the changes {largest:.0%} of the gain in "
        f"{objective.name} is left, without as many random ones {drawn.min():.0%} to {drawn.max():.0%}, and without as "
        f"many of the smallest {smallest:.0%}"
    )
    return f"{said}{'.' if largest < drawn.min() else ': that changes matter by their size is not shown.'}"


def print_changes(explanation: Explanation, objective: str, folder: Path, console: Console | None = None) -> None:
    """Prints the layers that carry most of the gain in an objective, the sentences, and where the files are."""
    console = console or Console()
    console.print(_layer_table(explanation, objective))
    for sentence in explanation.sentences:
        console.print(f"- {sentence}", highlight=False)
    console.print(f"\nFiles: {folder}", highlight=False, soft_wrap=True)


def _layer_table(explanation: Explanation, objective: str) -> Table:
    layers = explanation.tables["layers"]
    some = layers[layers["objective"] == objective]
    wide = some.pivot(index="layer", columns="test", values=["retained", "value", "changed"])
    order = wide[("retained", "reverted")].sort_values(kind="stable").index[:_SHOWN]
    view = Table(
        title=f"What changes are worth, {objective} of {explanation.solution}", title_justify="left", box=SIMPLE
    )
    view.add_column("layer", no_wrap=True)
    for name in ("weights", "without it", "gain left", "it alone", "gain left"):
        view.add_column(name, justify="right", no_wrap=True)
    for layer in order:
        row = wide.loc[layer]
        cells = [f"{int(row['changed', 'kept']):,}"]
        for test in ("reverted", "kept"):
            cells += [f"{row['value', test]:.4g}", _share(row["retained", test])]
        view.add_row(str(layer), *cells)
    if len(wide[("value", "kept")]) > _SHOWN:
        view.caption, view.caption_justify = f"{_SHOWN} of {len(wide)} layers, the most gain lost first", "left"
    return view


def _share(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.0%}"
