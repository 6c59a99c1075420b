"""How a search got to its front: hypervolume and success of its proposals over evaluations, by seed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from moprune.errors import MopruneError
from moprune.fronts import Matrix, hypervolume, nondominated
from moprune.log import EvaluationLog
from moprune.objectives import Objective


def read(log: EvaluationLog, stage: str, seed: int, objectives: Sequence[Objective]) -> pd.DataFrame:
    """Returns what a stage of a log evaluated, each genome at its first request, in order.

    Columns are ``evaluations`` (asked for up to and with this one, >= 1), ``generation`` and ``<objective>_search`` in
    natural units; no rows if the log has no such stage. What is provisional (:mod:`moprune.contexts`: dropped early,
    or scored on a subset, a rung or fewer training seeds alone) is not among them.
    """
    logged, _ = log.history(stage, seed)
    if "provisional" in logged:
        whole = [not np.any(each) for each in logged["provisional"]]
        logged = logged[np.array(whole, dtype=bool)].reset_index(drop=True)
    natural = np.stack(list(logged.get("natural", [[]]))) if len(logged) else np.empty((0, len(objectives)))
    if natural.shape[1] != len(objectives):
        raise MopruneError(f"{log.path}: stage {stage}, seed {seed} has no values of {len(objectives)} objectives")
    values = {f"{o.name}_search": natural[:, i] for i, o in enumerate(objectives)}
    return pd.DataFrame({"evaluations": logged["position"] + 1, "generation": logged["generation"], **values})


def progress(history: pd.DataFrame, objectives: Sequence[Objective]) -> pd.DataFrame:
    """Returns a row for each generation of a history, computed in one pass with the front carried along.

    Args:
        history: as :func:`read` returns it; without ``evaluations`` (as :meth:`moprune.search.Run.history` returns it)
            rows are counted.
        objectives: its objectives.

    Returns:
        ``evaluations`` at the generation's end; ``hypervolume`` of all so far on the search split; ``entered``, the
        share of the generation's new solutions that were non-dominated among all so far when it ended, in [0, 1];
        ``front``, how many are non-dominated.
    """
    F = np.column_stack([o.minimised(history[f"{o.name}_search"].to_numpy(float)) for o in objectives])
    counted = history["evaluations"].to_numpy() if "evaluations" in history else np.arange(1, len(history) + 1)
    generations = history["generation"].to_numpy()
    starts = np.flatnonzero(np.diff(generations, prepend=-1)).tolist()
    front: Matrix = np.empty((0, len(objectives)))
    volume, rows = 0.0, []
    for start, end in zip(starts, [*starts, len(F)][1:], strict=True):
        both = np.concatenate([front, F[start:end]])
        kept = nondominated(both)  # of equal points the earliest, so that a repeat of an old value does not count
        new = int((kept >= len(front)).sum())
        front = both[kept]
        if new:
            volume = hypervolume(front, objectives)
        rows.append((int(counted[end - 1]), volume, new / (end - start), len(front)))
    return pd.DataFrame(rows, columns=["evaluations", "hypervolume", "entered", "front"])


def band(histories: Sequence[pd.DataFrame], column: str) -> pd.DataFrame:
    """Returns the median and range over seeds of a column of :func:`progress`, generation by generation.

    Generations that fewer than half of the seeds reached are left out (duplicates shorten a generation, so that a seed
    may need one more than the others for the same budget).

    Args:
        histories: a table for each seed, at least one, all of the same algorithm.
        column: ``hypervolume``, ``entered`` or ``front``.

    Returns:
        Columns ``evaluations`` (the median over seeds at the generation's end), ``low``, ``median``, ``high`` and
        ``seeds`` (how many reached it).
    """
    aligned = pd.concat([table[column].reset_index(drop=True) for table in histories], axis=1)
    counted = pd.concat([table["evaluations"].reset_index(drop=True) for table in histories], axis=1)
    seeds = aligned.notna().sum(axis=1)
    table = pd.DataFrame(
        {
            "evaluations": counted.median(axis=1),
            "low": aligned.min(axis=1),
            "median": aligned.median(axis=1),
            "high": aligned.max(axis=1),
            "seeds": seeds,
        }
    )
    return table[2 * seeds >= len(histories)]
