"""Testbeds of layer selection: shifts for which it is known, by how they are made, which unit is worth tuning.

    python -m experiments.studies.testbeds --out FOLDER [--seeds 10]

A small residual network learns to read the digit in the first of three channels; the other two show other digits. Then,
after Lee et al. (2023, "Surgical fine-tuning improves adaptation to distribution shifts", ICLR), one thing changes:

- ``input``: first and second channel are rotated into each other, which the stem alone can turn back;
- ``feature``: in the middle stage the scales of the first normalisation change their sign, all else is as it was;
- ``output``: the classes are renamed, so that nothing but the classifier is wrong.

Each unit is then tuned alone (with the head, which is tuned always), and so is everything, each at its best of several
rates: the known unit has to win, or the testbed would show nothing. Then the sound search is asked. Of the units that a
member tunes, it *picks* the one whose return to its pre-trained tensors costs the most macro error on test. Stricter,
it tunes the known unit *alone* if it freezes all others but the head.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional

from analysis.decisions import knee
from analysis.fronts import ERRORS, SPLITS, choose
from experiments.studies.selection import sound_search
from moprune.data import Split, Task, TensorInputs, limit
from moprune.files import cache_folder, write_text
from moprune.networks.cifar_resnet import Block, CifarResNet
from moprune.networks.store import keep, kept
from moprune.networks.units import units
from moprune.networks.weights import fill
from moprune.population.tuning import TuningRecipe
from moprune.problem import Genomes
from moprune.seeding import derive, torch_generator
from problems.selection import Graded
from problems.selection.anchors import of_units
from problems.selection.problem import Fitted, Rung, SelectionProblem

HEAD = "linear"
KNOWN = {"input": "conv1..bn1", "feature": "layer2.0", "output": HEAD}
"""By shift, the unit that is worth tuning."""

SOURCE, COUNTS = 800, {"train": 60, "search": 150, "select": 100, "test": 600}
"""Images that the network learns from, and those of each split; a seed draws the splits from all the others."""

RATES = (0.05, 0.15, 0.5, 1.0, 2.0)
"""Factors of the base rate that each unit is tried at."""

RECIPE = TuningRecipe(learning_rate=2e-2, epochs=10, batch_size=16)
REQUESTS, TRAININGS = 300, 2
Record = dict[str, Any]

_EPOCHS, _BATCH, _RATE, _DECAY = 30, 64, 5e-3, 0.05
_ANGLE = np.pi / 4


def digits() -> tuple[Tensor, Tensor]:
    """Returns scikit-learn's digits: images (1797, 8, 8) in [0, 1], and labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.from_numpy(found.images).float() / 16, torch.from_numpy(found.target).long()


def scenes(images: Tensor, generator: torch.Generator) -> Tensor:
    """Returns scenes (n, 3, 8, 8) of images (n, 8, 8): each one first, and two of all of them beside it."""
    beside = torch.randint(len(images), (2, len(images)), generator=generator)
    return torch.stack([images, images[beside[0]], images[beside[1]]], dim=1)


def source_network(folder: Path | None = None) -> nn.Module:
    """Returns the network that reads the first channel, trained once (seconds) and kept in the cache folder."""
    network = CifarResNet(1, 10, 3, seed=0)
    path = (cache_folder() / "networks" if folder is None else folder) / f"testbeds-{SOURCE}-{_EPOCHS}.safetensors"
    weights = kept(path)
    if weights is None:
        _learn(network)
        keep(path, network.state_dict())
    else:
        fill(network, weights, str(path))
    return network.requires_grad_(False).eval()


def bed(shift: str, seed: int) -> tuple[Task, nn.Module]:
    """Returns the task of a seed, and the network that meets it.

    Args:
        shift: of :data:`KNOWN`.
        seed: decides which images are in which split, and what is beside them.
    """
    images, labels = digits()
    unseen = np.setdiff1d(np.arange(len(labels)), limit(labels, SOURCE, seed=0))
    splits: dict[str, Any] = {}
    for split, count in COUNTS.items():
        chosen = unseen[limit(labels[unseen], count, derive(seed, "testbed", split))]
        unseen = np.setdiff1d(unseen, chosen)
        shown = scenes(images[chosen], torch_generator(seed, "beside", split))
        named = (3 * labels[chosen] + 1) % 10 if shift == "output" else labels[chosen]
        splits[split] = Split(TensorInputs(_rotated(shown) if shift == "input" else shown), named)
    network = source_network()
    return Task(shift, tuple(map(str, range(10))), **splits), _damaged(network) if shift == "feature" else network


def problem(shift: str, seed: int) -> SelectionProblem:
    """Returns the problem of the sound search on a testbed."""
    task, network = bed(shift, seed)
    return SelectionProblem(
        task, network, Graded(network, units(network)), recipe=RECIPE, seeds=TRAININGS, rungs=[Rung(0.34, 0.5)],
        seed=seed, device="cpu",
    )  # fmt: skip


def alone(problem: SelectionProblem) -> dict[str, float]:
    """Returns the macro error on test of each unit tuned alone, and of everything, at the rate that is best on search.

    Mean over training seeds; the head is tuned too.
    """
    names = [unit.name for unit in problem.units]
    chosen = {name: [name] for name in names} | {"everything": names}
    tunings = [of_units(problem.units, some, rate) for some in chosen.values() for rate in RATES]
    table = problem.assess(np.array([problem.genotype.encode(each) for each in tunings]), ["search", "test"])
    searched, tested = (
        table[f"macro_error_{split}"].to_numpy().reshape(-1, len(RATES)) for split in ("search", "test")
    )
    best = searched.argmin(axis=1)
    return {name: float(errors[rate]) for name, errors, rate in zip(chosen, tested, best, strict=True)}


def losses_of_returning(problem: SelectionProblem, genome: Genomes) -> dict[str, float]:
    """Returns how much macro error on test each unit that is tuned costs when it goes back to its pre-trained tensors.

    Mean over training seeds; the head is among the units.
    """
    (member,) = problem.candidates(genome[None])
    tuned = {*member.names, *member.ranks}
    found = {"": member}
    for unit in problem.units:
        if tuned & {*unit.parameters}:
            groups = tuple(tuple(_without(state, unit.parameters) for state in group) for group in member.predictors)
            found[unit.name] = Fitted(groups, member.names, member.ranks)
    table = problem.table(problem.outcomes_of(list(found.values()), ["test"]), len(found), ["test"])
    errors = table["macro_error_test"].to_numpy()
    return dict(zip([*found][1:], (errors[1:] - errors[0]).tolist(), strict=True))


def picked(losses: Mapping[str, float]) -> str:
    """Returns the unit that a member picks, from what returning each one costs it."""
    return max(losses, key=lambda unit: losses[unit])


def run(shift: str, seed: int) -> Record:
    """Returns a seed's brute force, and what the search's recommended member and its front's knee have picked."""
    made = problem(shift, seed)
    run = sound_search(made, REQUESTS, seed)
    front = run.front(SPLITS)
    members = {
        "recommended": choose(front, made.task.sizes(), losses=ERRORS, cost="trainable_parameters", budget=np.inf),
        "knee": knee(front, made.objectives).solution,
    }
    rows = []
    for who, solution in members.items():
        losses = losses_of_returning(made, run.genome(solution))
        told = front[front["solution"] == solution].iloc[0]
        rows.append(
            {
                "who": who,
                "losses": losses,
                "error": float(told["macro_error_test"]),
                "parameters": float(told["trainable_parameters_test"]),
            }
        )
    return {"shift": shift, "seed": seed, "alone": alone(made), "members": rows, "front": len(front)}


def markdown(results: Sequence[Record]) -> str:
    """Returns two tables: each unit alone, and what the search has picked."""
    return f"{_forced(results)}\n\n{_picked(results)}\n"


def table(results: Sequence[Record]) -> pd.DataFrame:
    """Returns a row a shift, seed and member: error, parameters, what returning each unit costs, each unit alone."""
    return pd.DataFrame(
        {
            "shift": each["shift"],
            "seed": each["seed"],
            "member": row["who"],
            "error": row["error"],
            "parameters": row["parameters"],
            **{f"returning {unit}": row["losses"].get(unit) for unit in each["alone"] if unit != "everything"},
            **{f"alone {unit}": error for unit, error in each["alone"].items()},
        }
        for each in results
        for row in each["members"]
    )


def _forced(results: Sequence[Record]) -> str:
    """Returns the mean error on test of each unit tuned alone, and in how many seeds the known one has the least."""
    heads = [*results[0]["alone"], "known", "wins"]
    lines = [f"| shift | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for shift, known in KNOWN.items():
        errors = [each["alone"] for each in results if each["shift"] == shift]
        wins = sum(min(each, key=each.get) == known for each in errors)
        means = [f"{np.mean([each[name] for each in errors]):.1%}" for name in heads[:-2]]
        lines.append(f"| {shift} | {' | '.join(means)} | {known} | {wins} of {len(errors)} |")
    return "\n".join(lines)


def _picked(results: Sequence[Record]) -> str:
    """Returns in how many seeds members picked the known unit, and tuned it alone."""
    lines = ["| shift | member | picks the known unit | tunes it alone | error | parameters |", "|---" * 6 + "|"]
    rows = [(each["shift"], row) for each in results for row in each["members"]]
    for shift, who in product(KNOWN, dict.fromkeys(row["who"] for _, row in rows)):
        some = [row for of, row in rows if (of, row["who"]) == (shift, who)]
        picks = sum(picked(row["losses"]) == KNOWN[shift] for row in some)
        alone = sum({*row["losses"], HEAD} == {KNOWN[shift], HEAD} for row in some)
        counts = [f"{count} of {len(some)}" for count in (picks, alone)]
        error, parameters = (np.mean([row[what] for row in some]) for what in ("error", "parameters"))
        lines.append(f"| {shift} | {who} | {' | '.join(counts)} | {error:.1%} | {parameters:.0f} |")
    return "\n".join(lines)


def _without(state: dict[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    """Returns a state without some parameters, nor the running statistics of their modules."""
    modules = {name.rpartition(".")[0] for name in names}
    return {name: tensor for name, tensor in state.items() if name.rpartition(".")[0] not in modules}


def _rotated(shown: Tensor) -> Tensor:
    first, second, third = shown.unbind(1)
    cosine, sine = float(np.cos(_ANGLE)), float(np.sin(_ANGLE))
    return torch.stack([cosine * first - sine * second, sine * first + cosine * second, third], dim=1)


def _damaged(network: nn.Module) -> nn.Module:
    """Returns a copy with the scales of the middle stage's first normalisation negated."""
    changed = copy.deepcopy(network)
    stage = changed.get_submodule(KNOWN["feature"])
    assert isinstance(stage, Block)
    with torch.no_grad():
        stage.bn1.weight.neg_()
    return changed


def _learn(network: nn.Module) -> None:
    """Trains on the source images by AdamW under a one-cycle rate; batches are shifted by up to a pixel."""
    images, labels = digits()
    rows = torch.tensor(limit(labels, SOURCE, seed=0))
    generator = torch_generator(0, "testbeds")
    steps = len(rows) // _BATCH
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_EPOCHS * steps)
    network.train()
    for _ in range(_EPOCHS):
        order = rows[torch.randperm(len(rows), generator=generator)]
        shown = scenes(images[order], generator)
        for batch, truth in zip(shown.split(_BATCH)[:steps], labels[order].split(_BATCH)[:steps], strict=True):
            down, right = torch.randint(3, (2,), generator=generator).tolist()
            moved = functional.pad(batch, (1, 1, 1, 1))[:, :, down : down + 8, right : right + 8]
            optimiser.zero_grad()
            functional.cross_entropy(network(moved), truth, label_smoothing=0.1).backward()
            optimiser.step()
            schedule.step()


def main(
    out: Annotated[Path, typer.Option(help="Folder for results; what is there is not done again.")],
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 1, 2, ... each with its own images and search.")] = 10,
    csv: Annotated[Path | None, typer.Option(help="Write what every member and seed came to here.")] = None,
) -> None:
    """Runs the testbeds of layer selection; one JSON file a shift and seed, then the tables of all that are there."""
    for seed in range(1, seeds + 1):
        for shift in KNOWN:
            path = out / shift / f"{seed}.json"
            if not path.is_file():
                write_text(path, json.dumps(run(shift, seed), indent=1) + "\n")
    found = sorted(out.glob("*/*.json"), key=lambda path: (path.parent.name, int(path.stem)))
    results = [json.loads(path.read_text()) for path in found]
    if csv is not None:
        write_text(csv, table(results).to_csv(index=False, float_format="%.6g"))
    typer.echo(markdown(results))


if __name__ == "__main__":
    typer.run(main)
