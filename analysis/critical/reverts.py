"""Which changes carry the gain: some are taken back, and the network is scored again.

What is left of the gain when a change goes is not what the change is worth alone, since changes work together: hence
both tests of a layer, without its change and with no other.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.critical.changes import Changes
from moprune.errors import UsageError, not_one_of
from moprune.networks.selection import State
from moprune.objectives import Objective
from moprune.problem import Outcomes
from moprune.seeding import torch_generator
from problems.refinement import RefinementProblem

RANKINGS = ("relative", "absolute")
"""What makes a change large: its magnitude over the standard deviation of its tensor before, or its magnitude."""

ORDERS = ("largest", "smallest", "random")
"""Which changes are taken back first."""

OnScored = Callable[[int, int], None]

# States scored in one go, and the bytes they may take.
_AT_ONCE, _HELD = 16, 1 << 30


def revert_layers(
    problem: RefinementProblem, changes: Changes, *, split: str = "select", on_scored: OnScored | None = None
) -> pd.DataFrame:
    """Scores the network with each layer back at its pre-trained weights, and with no other layer changed.

    Args:
        problem: gives the images, the objectives and how networks are scored.
        changes: what was found, of :func:`analysis.critical.changes_of`.
        split: the images. On ``search`` the gain is what the search made of chance too.
        on_scored: called with (networks scored, networks in all).

    Returns:
        A row for each layer that changed, in the network's order, test and objective: ``layer, test`` (``reverted``:
        this layer's changes are taken back; ``kept``: all others' are), ``changed`` (how many weights), ``objective,
        value`` (natural units), ``pretrained`` and ``found`` (the values of these networks) and ``retained`` (the share
        of the gain that is left: 0 the pre-trained network, 1 what was found, NaN where nothing was gained).

    Raises:
        UsageError: there is no such split.
    """
    layers = changes.layers
    counts = changes.by_tensor().groupby("layer")["changed"].sum()
    rows = [(layer, test, counts[layer]) for test, layer in product(("reverted", "kept"), layers)]
    reverted = ({name: changes.found[name] for name in changes.found if name not in own} for own in layers.values())
    kept = ({name: changes.found[name] for name in own} for own in layers.values())
    table = pd.DataFrame(rows, columns=["layer", "test", "changed"])
    return _scored(problem, changes, table, chain(reverted, kept), split, on_scored)


def revert_weights(
    problem: RefinementProblem,
    changes: Changes,
    *,
    split: str = "select",
    by: str = "relative",
    sizes: int = 16,
    draws: int = 5,
    on_scored: OnScored | None = None,
) -> pd.DataFrame:
    """Scores the network with its k largest changes taken back, its k smallest, and k drawn at random.

    Where the curve of the largest leaves the band of the random ones, magnitude tells which changes matter; where all
    of them keep the gain until almost everything is taken back, few changes would have done.

    Running statistics, where they changed, count as weights, so that all taken back are the pre-trained network.

    Args:
        problem: gives the images, the objectives and how networks are scored; its seed, the draws.
        changes: what was found, of :func:`analysis.critical.changes_of`.
        split: the images. On ``search`` the gain is what the search made of chance too.
        by: what makes a change large, one of :data:`RANKINGS`. ``relative`` by default, since tensors differ in scale:
            by magnitude, running variances and the scales of normalisation come before any weight of a convolution.
        sizes: how many k, from 1 to all changed weights by equal ratios, rounded; >= 2.
        draws: random orders, >= 1.
        on_scored: called with (networks scored, networks in all).

    Returns:
        A row for each order, k and objective: ``order`` (one of :data:`ORDERS`), ``draw`` (from 1; of the others 1),
        ``reverted`` (k), ``share`` (k over the number of changed weights), and from ``objective`` on as
        :func:`revert_layers` has it.

    Raises:
        UsageError: there is no such ranking or split, or sizes or draws are too few.
    """
    if by not in RANKINGS:
        raise not_one_of("ranking of changes", by, RANKINGS)
    if sizes < 2 or draws < 1:
        raise UsageError(f"critical weights: {sizes} sizes and {draws} draws; give 2 sizes and 1 draw, or more")
    ranked = _ranked(changes, by)
    counts = sorted({round(float(size)) for size in np.geomspace(1, len(ranked), sizes)})
    drawn = [("largest", 1), ("smallest", 1), *(("random", draw) for draw in range(1, draws + 1))]
    rows = [(order, draw, count, count / len(ranked)) for (order, draw), count in product(drawn, counts)]
    table = pd.DataFrame(rows, columns=["order", "draw", "reverted", "share"])
    orders = (_ordered(ranked, order, draw, problem.seed) for order, draw in drawn)
    states = (state for order in orders for state in _reverted(changes, order, counts))
    return _scored(problem, changes, table, states, split, on_scored)


def _ranked(changes: Changes, by: str) -> Tensor:
    """Returns the places of changed weights in the flat network, int64, from the largest change to the smallest.

    A tensor whose weights are all alike has no standard deviation; its magnitude takes the place, or 1 for zeros.
    """
    sizes = []
    for name, start in changes.start.items():
        spread = float(start.double().std(correction=0)) or float(start.abs().max()) or 1.0
        change = (changes.found[name].double() - start).abs()
        sizes.append((change / (spread if by == "relative" else 1.0)).float().reshape(-1))
    changed = _flat(changes.found).ne(_flat(changes.start)).nonzero().reshape(-1)
    return changed[torch.cat(sizes)[changed].argsort(descending=True, stable=True)]


def _ordered(ranked: Tensor, order: str, draw: int, seed: int) -> Tensor:
    if order == "random":
        return ranked[torch.randperm(len(ranked), generator=torch_generator(seed, "reverted weights", draw))]
    return ranked if order == "largest" else ranked.flip(0)


def _reverted(changes: Changes, order: Tensor, counts: Iterable[int]) -> Iterator[State]:
    """Yields the state with the first weights of an order back at their pre-trained values, for each count."""
    start, found = _flat(changes.start), _flat(changes.found)
    sizes = [tensor.numel() for tensor in changes.start.values()]
    for count in counts:
        mixed = found.clone()
        mixed[order[:count]] = start[order[:count]]
        parts = zip(changes.start.items(), mixed.split(sizes), strict=True)
        yield {name: part.view(tensor.shape) for (name, tensor), part in parts}


def _flat(state: State) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in state.values()])


def _scored(
    problem: RefinementProblem,
    changes: Changes,
    rows: pd.DataFrame,
    states: Iterable[State],
    split: str,
    on_scored: OnScored | None,
) -> pd.DataFrame:
    """Returns the rows, one for each state, with what the states score: each once for every objective."""
    size = sum(tensor.nbytes for tensor in changes.found.values())
    count = len(rows) + 2
    told = _told(_outcomes(problem, chain([{}, changes.found], states), split, size), count, on_scored)
    values = problem.table(told, count, [split])
    tables = []
    for objective in problem.objectives:
        pretrained, found, *scored = values[f"{objective.name}_{split}"]
        retained = _retained(objective, np.array(scored), pretrained, found)
        tables.append(rows.assign(
            objective=objective.name, value=scored, pretrained=pretrained, found=found, retained=retained
        ))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def _outcomes(problem: RefinementProblem, states: Iterable[State], split: str, state_bytes: int) -> Iterator[Outcomes]:
    left = iter(states)
    while part := list(islice(left, max(1, min(_AT_ONCE, _HELD // state_bytes)))):
        yield from problem.outcomes_of([(state,) for state in part], [split])


def _told(outcomes: Iterable[Outcomes], count: int, on_scored: OnScored | None) -> Iterator[Outcomes]:
    for done, outcome in enumerate(outcomes, start=1):
        yield outcome
        if on_scored is not None:
            on_scored(done, count)


def _retained(objective: Objective, values: np.ndarray, pretrained: float, found: float) -> np.ndarray:
    """Returns which share of the gain, in minimised units, each value has."""
    before, after = objective.minimised(np.array([pretrained, found]))
    if after >= before:
        return np.full(len(values), np.nan)
    shares: np.ndarray = (before - objective.minimised(values)) / (before - after)
    return shares
