"""What `moprune explain` does: frequencies, importance, maps, their tests, and what can be said of them."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from analysis import plots
from analysis.attribution import frequency, randomised
from analysis.attribution.agreement import Member, agreement
from analysis.attribution.faithfulness import faithfulness
from analysis.attribution.images import Explained, NoMapsError
from analysis.attribution.neurons import Importance, conductances, importance
from analysis.consensus import STAGE as CONSENSUS
from analysis.fronts import OPTIMISTIC
from experiments.explanation_text import agreement_sentence, effect_sentence, faithfulness_sentence, frequency_sentence
from experiments.finished import FinishedRun, seed_of
from moprune.data.inputs import Inputs
from moprune.data.sources import open_images
from moprune.data.splits import limit
from moprune.errors import UsageError
from moprune.files import write_text
from moprune.networks.assembly import with_head
from moprune.networks.heads import TrainedHead
from problems.pruning import PruningProblem

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]

_LOSSES = ("error", "brier")  # shares, on which the effect of a unit is measured, the first that was searched
_FEATURES_OF = 300  # images on which units are measured
_RELATIVES, _STRANGERS = 2, 3
_PICTURED = 6


@dataclass(frozen=True)
class Shown:
    """Images to look at.

    Attributes:
        inputs: the network's input, ``(n, C, H, W)``.
        pixels: as a person sees them, ``(n, C, H, W)`` in [0, 1].
        labels: their classes, or None for images of one's own.
        named: what they are, for sentences.
    """

    inputs: Tensor
    pixels: Tensor
    labels: Tensor | None
    named: str


@dataclass
class Explanation:
    """What was found about a member of a run.

    Attributes:
        solution: the member.
        seeds: number of seeds of the run.
        tables: by file name.
        figures: by file name, without suffix.
        sentences: what can be said, and what not.
    """

    solution: str
    seeds: int
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)

    def write(self, folder: Path, suffix: str = ".png") -> list[Path]:
        """Writes tables, pictures and, a line each, the sentences (``findings.txt``); returns tables and pictures."""
        write_text(folder / "findings.txt", "\n".join(self.sentences) + "\n")
        paths = [folder / f"{name}.csv" for name in self.tables] + [folder / f"{name}{suffix}" for name in self.figures]
        for path, table in zip(paths, self.tables.values(), strict=False):
            write_text(path, table.to_csv(index=False, lineterminator="\n"))
        for path, figure in zip(paths[len(self.tables) :], self.figures.values(), strict=True):
            plots.save(figure, path)
        return paths


def explain_run(
    run: FinishedRun,
    *,
    solution: str | None = None,
    images: int | Path = 64,
    layer: str | None = None,
    say: Say = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Explanation:
    """Explains a member of a finished run.

    Args:
        run: the run.
        solution: the member; None for the chosen one of the first seed.
        images: how many images of the select split to make maps of, or a folder of one's own.
        layer: the module whose maps are looked at; None for the convolution that runs last.
        say: told what is being done.
        progress: called with (what, parts done, parts in all) during what takes long.

    Raises:
        UsageError: the run is not of pruned heads, the solution or layer is unknown, or the images cannot be used.
    """
    problem = run.problem()
    if not isinstance(problem, PruningProblem):
        raise UsageError("explain works on runs that prune a head; this one does not")
    chosen = {seed: run.result.summary["seeds"][str(seed)]["chosen"] for seed in run.seeds}
    solution = solution or chosen[run.seeds[0]]
    members = _members(run, problem, solution, chosen)
    shown = _shown(problem, images)
    found = Explanation(solution, len(run.seeds))
    found.sentences += _caveats(run, problem)
    say("how often the search kept each unit")
    _add_frequencies(found, run, problem)
    say(f"importance of units, {len(members)} members")
    own = _add_importance(found, problem, members)
    try:
        _add_maps(found, problem, members, shown, own, layer, say, progress)
    except NoMapsError as error:
        if layer is not None or isinstance(images, Path):
            raise
        found.sentences.append(f"No maps of images: {error}.")
    compared = [each.compared for each in members]
    found.tables["agreement"] = agreement(compared)
    if len(compared) > 1:
        found.sentences.append(agreement_sentence(found.tables["agreement"]))
    return found


def _caveats(run: FinishedRun, problem: PruningProblem) -> list[str]:
    """Returns what has to be known of the images before reading on."""
    said = []
    if run.result.optimistic:
        said.append(f"Mind that {OPTIMISTIC}.")
    if problem.protocol.refit:
        said.append("Heads are explained as they are reported on test: trained on the select images too.")
    return said


@dataclass
class _Candidate:
    solution: str
    problem: PruningProblem
    genome: NDArray[np.bool_]
    head: TrainedHead
    importance: NDArray[np.float64] | None = None
    maps: Tensor | None = None

    @property
    def compared(self) -> Member:
        """What of it can be compared with members of any seed: features; hidden neurons are another seed's own."""
        assert self.importance is not None
        mask = self.problem.encoding.masks(self.genome)[0].numpy()
        values = np.full(len(mask), np.nan)
        values[mask] = self.importance
        return Member(self.solution, self.problem.seed, mask, values, self.maps)


def _members(run: FinishedRun, problem: PruningProblem, solution: str, chosen: dict[int, str]) -> list[_Candidate]:
    """Returns the solution, the nearest members of its own front, and the chosen ones of other seeds."""
    genome = run.genomes([solution])[0]
    front = run.result.front
    seed = seed_of(solution)
    names, genomes = [solution], [genome]
    relatives = front[(front["seed"] == seed) & (front["solution"] != solution)]["solution"].tolist()
    if relatives:
        theirs = run.genomes(relatives)
        for i in np.argsort(np.abs(theirs.sum(1) - genome.sum()), kind="stable"):
            if len(names) <= _RELATIVES and not any((theirs[i] == each).all() for each in genomes):
                names.append(relatives[i])
                genomes.append(theirs[i])
    strangers = [each for other, each in chosen.items() if other != seed][:_STRANGERS]
    if strangers:
        names += strangers
        genomes += list(run.genomes(strangers))
    candidates = []
    for name, each in zip(names, genomes, strict=True):
        own = problem.reseeded(seed_of(name))
        (head,) = own.heads(each)
        # Others that predict nothing are left out; the one asked for says why it cannot be explained.
        if name == solution or (not head.failed and min(head.widths) > 0):
            candidates.append(_Candidate(name, own, each, head))
    return candidates


def _shown(problem: PruningProblem, images: int | Path) -> Shown:
    preprocess = problem.extractor.preprocess
    select = problem.task.select
    labels: Tensor | None = None
    if isinstance(images, Path):
        grey = len(preprocess(select.inputs[0])) == 1
        preprocess = dataclasses.replace(preprocess, mode="L" if grey else "RGB")
        inputs: Inputs = open_images(images, "L" if grey else "RGB")
        named = f"{len(inputs)} images of {images}"
    else:
        indices = limit(select.labels, max(images, len(problem.task.classes)), 0)
        # The first of each class, then the second, ...: a picture of the first few shows several classes.
        own = pd.Series(select.labels[indices].numpy())
        order = np.lexsort((own, own.groupby(own).cumcount())).tolist()
        inputs, labels = select.inputs.subset([indices[i] for i in order]), select.labels[indices][order]
        named = f"{len(inputs)} images of the {_split_of(problem)} split"
    plain = dataclasses.replace(preprocess, mean=(), std=())
    return Shown(_stack(inputs, preprocess), _stack(inputs, plain), labels, named)


def _split_of(problem: PruningProblem) -> str:
    """Returns what the select split is called: the test, where that is what members were selected on."""
    return "test" if problem.task.optimistic else "select"


def _stack(inputs: Inputs, preprocess: Callable[..., Tensor]) -> Tensor:
    tensors = [preprocess(inputs[i]) for i in range(len(inputs))]
    sizes = sorted({tuple(each.shape) for each in tensors})
    if len(sizes) > 1:
        raise UsageError(f"images of different sizes, {sizes[0]} and {sizes[-1]}; make them one size")
    return torch.stack(tensors)


def _add_frequencies(found: Explanation, run: FinishedRun, problem: PruningProblem) -> None:
    units, encoding, front = problem.unit_names(), problem.encoding, run.result.front
    layers = np.repeat(encoding.layers, encoding.widths).tolist()
    # Features are the frozen network's; hidden neurons start from each seed's own weights.
    same = [layer == 0 for layer in layers]
    found_by_search = front[~front["solution"].str.startswith(CONSENSUS[0])]  # what others agree on counts no bit twice
    masks = {
        seed: run.genomes(found_by_search[found_by_search["seed"] == seed]["solution"].tolist()) for seed in run.seeds
    }
    table = frequency.over_seeds(masks, units, layers, same=same)
    found.tables["frequency_by_seed"] = frequency.by_seed(masks, units, layers)
    random = {seed: run.search(seed, "random") for seed in run.seeds}
    histories = {seed: each.history() for seed, each in random.items()}
    loss = next((each for each in _LOSSES if each in run.result.summary["objectives"]), None)
    if loss is not None and all(len(history) for history in histories.values()):
        effects = randomised.effects(
            {seed: each.genomes() for seed, each in random.items()},
            {seed: history[f"{loss}_search"].to_numpy(float) for seed, history in histories.items()},
            units, layers, same=same,
        )  # fmt: skip
        table = table.merge(effects, on="unit")
    found.tables["frequency"] = table
    found.figures["frequency"] = plots.unit_frequencies(table)
    found.sentences.append(frequency_sentence(table, len(masks), any(same)))
    if loss is not None and "effect" in table and table["effect"].notna().any():
        found.figures["effects"] = plots.frequency_effects(table, value=loss)
        found.sentences.append(effect_sentence(table, sum(len(h) for h in histories.values()), loss))


def _add_importance(found: Explanation, problem: PruningProblem, members: list[_Candidate]) -> Importance:
    select = problem.task.select
    rows = limit(select.labels, max(_FEATURES_OF, len(problem.task.classes)), 0)
    places = torch.tensor(rows, device=problem.device)
    features = problem.scorer.matrix("select").index_select(0, places).cpu()
    for member in members:
        found_of, _ = conductances(member.head, features, select.labels[rows])
        member.importance = found_of.mean(0).double().numpy()
    masks = members[0].problem.encoding.masks(members[0].genome)
    own = importance(members[0].head, masks, features, select.labels[rows])
    names = dict(enumerate(problem.task.classes))
    table = own.table.assign(**{"class": own.table["class"].map(lambda label: names.get(label, "all"))})
    found.tables["neurons"] = table.assign(solution=members[0].solution)
    for measure in ("conductance", "ablation"):
        found.figures[f"importance_{measure}"] = plots.class_importance(
            own.table, problem.task.classes, measure=measure,
            title=f"{members[0].solution}: {measure} of its units, {len(rows)} images of {_split_of(problem)}",
        )  # fmt: skip
    return own


def _add_maps(
    found: Explanation,
    problem: PruningProblem,
    members: list[_Candidate],
    shown: Shown,
    own: Importance,
    layer: str | None,
    say: Say,
    progress: Progress,
) -> None:
    explained = []
    for member in members:
        network = with_head(problem.extractor, member.head.module())
        explained.append(Explained(network, shown.inputs, layer=layer, device=problem.device))
    first = explained[0]
    targets = first.logits(shown.inputs).argmax(1)
    cells = f"{first.grid[0]} x {first.grid[1]} cells"
    say(f"maps of {shown.named} by {len(members)} members, from {first.layer} ({cells})")
    maps = first.classes(shown.inputs, targets)
    for member, each in zip(members, explained, strict=True):
        member.maps = each.classes(shown.inputs, targets).values
    titles = [_member_title(member, members[0]) for member in members]
    few = slice(0, _PICTURED)
    labels = _labels(problem, shown, targets)[few]
    found.figures["maps"] = plots.attribution_panels(
        shown.pixels[few], {t: m.maps[few] for t, m in zip(titles, members, strict=True) if m.maps is not None},
        labels=labels, title="Where members look for the class that the first predicts",
    )  # fmt: skip
    found.figures["unit_maps"] = plots.attribution_panels(
        shown.pixels[few], _unit_maps(first, own, shown.inputs[few]), labels=labels,
        title=f"{members[0].solution}: what makes its most important units fire",
    )  # fmt: skip
    if len(shown.inputs) < 2:
        found.sentences.append("One image cannot show whether the maps mean anything; give several.")
        return
    say(f"deletion and insertion on {shown.named}")
    result = faithfulness(
        first.logits, shown.inputs, maps, progress=lambda done, total: progress("passes over the images", done, total)
    )
    found.tables["faithfulness"] = result.table
    found.figures["faithfulness"] = plots.faithfulness_curves(result, title=f"{members[0].solution}, {shown.named}")
    found.sentences.append(faithfulness_sentence(result, shown.named))


def _member_title(member: _Candidate, first: _Candidate) -> str:
    kin = "" if member is first else "\nsame seed" if member.problem.seed == first.problem.seed else "\nother seed"
    return f"{member.solution}{kin}"


def _labels(problem: PruningProblem, shown: Shown, targets: Tensor) -> list[str]:
    classes = problem.task.classes
    if shown.labels is None:
        return [f"predicted\n{classes[int(t)]}" for t in targets]
    return [
        classes[int(y)] if y == t else f"{classes[int(y)]}\npredicted {classes[int(t)]}"
        for y, t in zip(shown.labels, targets, strict=True)
    ]


def _unit_maps(explained: Explained, own: Importance, images: Tensor) -> dict[str, Tensor]:
    """Returns the maps of the most important units of each layer, by magnitude of conductance."""
    layers = sorted(own.table["layer"].unique())
    maps = {}
    for layer in layers:
        overall = own.overall(layer)
        places = np.argsort(-overall.abs().to_numpy(), kind="stable")[: max(2, 5 - len(layers))]
        for place in places.tolist():
            kind = "feature" if layer == 0 else f"hidden {layer}\nneuron"
            maps[f"{kind} {overall.index[place]}"] = explained.units(images, layer, place).values
    return maps
