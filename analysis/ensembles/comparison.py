"""Does an ensemble help? Ensembles of front members, single members and controls of the same size, in one table."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.ensembles.selection import METHODS, Places, best_k, diverse, greedy, windows
from analysis.ensembles.votes import ensemble_ood_scores, hard_vote, soft_vote, threshold_vote_auroc
from analysis.members import Members
from moprune import metrics
from moprune.errors import UsageError, not_one_of
from moprune.networks.heads import TrainedHead, initial_weights
from problems.pruning import PruningProblem

SPLITS = ("select", "test")
SINGLE, UNPRUNED, UNPRUNED_ENSEMBLE = "best single member", "unpruned head", "unpruned heads"
RANDOM = "random masks: {}"
"""The name of the control that chooses from random masks by the method in the place of ``{}``, or ``drawn``."""

# Rows of features in one timed batch.
_BATCH = 64
_TIMINGS = 31


@dataclass(frozen=True)
class Controls:
    """What front members are compared with; each is of the same run seed.

    Attributes:
        unpruned: unpruned heads of different initial weights, the run's own first.
        drawn: random masks drawn blindly.
        random_front: the non-dominated random masks, from which some are chosen as from the front of the search.
    """

    unpruned: Members | None = None
    drawn: Members | None = None
    random_front: Members | None = None


@dataclass(frozen=True)
class Ensemble:
    """Some members and how they vote.

    Attributes:
        name: how it was made.
        kind: ``single``, ``ensemble`` (of front members) or ``control``.
        members: the members, one for each vote.
        vote: ``soft`` (mean probabilities; OOD by mean scores) or ``hard`` (majorities; OOD by the threshold vote).
    """

    name: str
    kind: str
    members: Members
    vote: str = "soft"


def ensembles_of(
    pool: Members, *, size: int = 5, methods: Sequence[str] = METHODS, detector: str = "energy"
) -> list[Ensemble]:
    """Returns the ensembles of a front, each chosen on the ``select`` split alone.

    Args:
        pool: the front, with predictions on ``select``.
        size: votes of the methods that take a given number; at most as many as the front has members.
        methods: of :data:`analysis.ensembles.METHODS`.
        detector: the OOD detector, one of :data:`moprune.metrics.DETECTORS`.

    Raises:
        UsageError: an unknown method, or a size below 1.
    """
    logits, labels = pool.logits("select"), pool.labels("select")
    size = min(size, len(pool))
    chosen: dict[str, tuple[str, Places]] = {}
    for method in methods:
        if method == "best_k":
            chosen["best_k"] = ("soft", best_k(logits, labels, size))
        elif method == "greedy":
            chosen["greedy"] = ("soft", greedy(logits, labels, size))
        elif method == "diverse":
            chosen["diverse"] = ("soft", diverse(logits, labels, size))
        elif method == "front":
            chosen["front"] = ("soft", tuple(range(len(pool))))
        elif method == "windows":
            chosen.update({name: ("hard", places) for name, places in _best_windows(pool, detector).items()})
        else:
            raise not_one_of("method", method, METHODS)
    return [Ensemble(name, "ensemble", pool.subset(places), vote) for name, (vote, places) in chosen.items()]


def compare_ensembles(
    pool: Members,
    *,
    seed: int,
    controls: Controls | None = None,
    size: int = 5,
    methods: Sequence[str] = METHODS,
    detector: str = "energy",
    timed: bool = True,
) -> pd.DataFrame:
    """Returns ensembles, single members and controls in one table, a row each.

    Everything is chosen on ``select``. Controls have as many members as the methods that take a given number (``size``,
    or the front's if it is smaller), and random masks are chosen by the same methods as front members.

    Args:
        pool: the front of one run seed with predictions on ``select`` and ``test``.
        seed: that run seed, for the column.
        controls: what to compare with; None for the best single member alone.
        size: votes of the methods that take a given number, >= 1.
        methods: of :data:`analysis.ensembles.METHODS`.
        detector: the OOD detector of the run.
        timed: whether to measure ``latency_ms``, the one column that two calls do not repeat.

    Returns:
        ``seed``, ``ensemble`` (its name), ``kind``, ``vote``, ``members`` (votes), ``distinct``, ``solutions`` (ids
        joined by spaces), ``parameters`` and ``active_units`` (sums over the distinct members' heads), ``latency_ms``
        (a benchmark: median milliseconds for a batch of 64 through all heads on the CPU, one after another, without
        the backbone, which runs once for any number of heads), and for select and test ``error_<split>`` (share),
        ``ece_<split>`` (share), ``nll_<split>`` (nats an image) and, with OOD pools, ``ood_auroc_<split>`` (mean over
        pools). A hard vote has no probabilities: its ece and nll are missing. So are costs the problem does not tell.
    """
    if size < 1:
        raise UsageError(f"the size of an ensemble is {size}; give at least 1")
    size, controls = min(size, len(pool)), controls or Controls()
    single = best_k(pool.logits("select"), pool.labels("select"), 1)
    rows = [Ensemble(SINGLE, "single", pool.subset(single))]
    if controls.unpruned is not None:
        rows.append(Ensemble(UNPRUNED, "single", controls.unpruned.subset([0])))
    rows += ensembles_of(pool, size=size, methods=methods, detector=detector)
    if controls.unpruned is not None:
        rows.append(Ensemble(UNPRUNED_ENSEMBLE, "control", _first(controls.unpruned, size)))
    if controls.drawn is not None:
        rows.append(Ensemble(RANDOM.format("drawn"), "control", _first(controls.drawn, size)))
    if controls.random_front is not None:
        alike = ensembles_of(controls.random_front, size=size, methods=methods, detector=detector)
        rows += [replace(each, name=RANDOM.format(each.name), kind="control") for each in alike]
    return pd.DataFrame([{"seed": seed, **_row(each, detector, timed)} for each in rows])


def choose_method(table: pd.DataFrame, size_only: bool = True) -> str:
    """Returns the ensemble of least mean negative log-likelihood over seeds on ``select``, ties by its error there.

    By likelihood, since ``select`` has already chosen the members: errors on few images tie, and favour ensembles that
    happen to be right on just these images with probabilities near a half. Hard votes, which have no likelihood, come
    last.

    Args:
        table: of :func:`compare_ensembles`, of any number of seeds.
        size_only: whether to choose among the methods that take a given number of members, if there are any.
    """
    ours = table[table["kind"] == "ensemble"]
    sized = ours[ours["ensemble"].isin(["best_k", "greedy", "diverse"])]
    if size_only and len(sized):
        ours = sized
    if not len(ours):
        raise UsageError("no ensemble to choose from: name at least one method")
    means = ours.groupby("ensemble", sort=True)[["nll_select", "error_select"]].mean()
    return str(means.sort_values(["nll_select", "error_select"], kind="stable").index[0])


def _best_windows(pool: Members, detector: str) -> dict[str, Places]:
    """Returns for each metric the published window whose vote is best on select."""
    labels = pool.labels("select")
    accuracy = [1 - metrics.error(each, labels) for each in pool.logits("select")]
    votes = {
        places: float((hard_vote(pool.subset(places).logits("select")) != labels).double().mean())
        for places in windows(accuracy).values()
    }
    found = {"window_error": min(votes, key=lambda places: votes[places])}
    if pool.ood_logits("select"):
        alone = [_hard_auroc(pool.subset([i]), "select", detector) for i in range(len(pool))]
        areas = {places: _hard_auroc(pool.subset(places), "select", detector) for places in windows(alone).values()}
        found["window_auroc"] = max(areas, key=lambda places: areas[places])
    return found


def _row(ensemble: Ensemble, detector: str, timed: bool) -> dict[str, object]:
    members = ensemble.members
    first = [members.solutions.index(solution) for solution in dict.fromkeys(members.solutions)]
    distinct = members.subset(first)
    costs = distinct.costs()
    row: dict[str, object] = {
        "ensemble": ensemble.name,
        "kind": ensemble.kind,
        "vote": ensemble.vote,
        "members": len(members),
        "distinct": len(distinct),
        "solutions": " ".join(members.solutions),
        "parameters": _sum(costs, "head_parameters"),
        "active_units": _sum(costs, "active_units"),
        "latency_ms": _latency(distinct) if timed else np.nan,
    }
    for split in SPLITS:
        row.update({f"{name}_{split}": value for name, value in _quality(ensemble, split, detector).items()})
    return row


def _quality(ensemble: Ensemble, split: str, detector: str) -> Mapping[str, float]:
    members = ensemble.members
    logits, labels = members.logits(split), members.labels(split)
    if ensemble.vote == "hard":
        wrong = int((hard_vote(logits) != labels).sum())
        quality = {"error": wrong / len(labels), "ece": np.nan, "nll": np.nan}
    else:
        mean = soft_vote(logits.double())
        quality = {measure.__name__: measure(mean, labels) for measure in (metrics.error, metrics.ece, metrics.nll)}
    pools = members.ood_logits(split)
    if pools and ensemble.vote == "hard":
        quality["ood_auroc"] = _hard_auroc(members, split, detector)
    elif pools:
        inside = ensemble_ood_scores(logits, detector)
        areas = [metrics.auroc(inside, ensemble_ood_scores(pool, detector)) for pool in pools.values()]
        quality["ood_auroc"] = float(np.mean(areas))
    return quality


def _hard_auroc(members: Members, split: str, detector: str) -> float:
    """Returns the threshold vote's AUROC, the mean over the split's OOD pools."""

    def scores(logits: Tensor) -> metrics.Scores:
        return np.stack([metrics.ood_scores(each, detector) for each in logits])

    inside = scores(members.logits(split))
    return float(np.mean([threshold_vote_auroc(inside, scores(pool)) for pool in members.ood_logits(split).values()]))


def _latency(members: Members) -> float:
    problem = members.problem
    if not isinstance(problem, PruningProblem):
        return float("nan")
    # The time depends on the shapes alone, so that no head has to be trained again for it.
    weights, heads = initial_weights(problem.spec, problem.seed), []
    for genome in members.genomes:
        masks = problem.encoding.masks(genome)
        heads.append(TrainedHead.of(problem.spec, masks, weights.compact(masks), epochs=0))
    features = torch.zeros(_BATCH, problem.spec.features)
    seconds = []
    with torch.inference_mode():
        for _ in range(_TIMINGS):
            started = time.perf_counter()
            soft_vote([head.logits(features) for head in heads])
            seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)) * 1000


def _sum(costs: pd.DataFrame, name: str) -> float:
    return float(costs[name].sum()) if name in costs else float("nan")


def _first(members: Members, count: int) -> Members:
    return members.subset(range(min(count, len(members))))
