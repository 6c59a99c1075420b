"""The controls of an experiment, scored beside the search by the same evaluator."""

from collections.abc import Mapping

import pandas as pd

from analysis.fronts import SPLITS
from experiments.tasks import TaskKind
from moprune.search import Run

_LEADING = ("control", "solution", "seed")


def assess_controls(kind: TaskKind, stages: Mapping[str, Run]) -> pd.DataFrame:
    """Returns the controls of one run seed, a row a point: ``control``, ``solution``, ``seed`` and what it scores.

    Args:
        kind: the task, whose configuration names the controls; ``random`` stands for the finished stage of that name.
        stages: what was searched with that seed, ``search`` and maybe ``random``.
    """
    run = stages["search"]
    tables = [
        kind.control(name, run).assign(control=name.replace("_", " "), seed=run.seed)
        for name in kind.config.controls
        if name != "random"
    ]
    if "random" in stages:
        tables.append(stages["random"].front(SPLITS).assign(control=kind.random, seed=run.seed))
    if not tables:
        return pd.DataFrame(columns=list(_LEADING))
    table = pd.concat(tables, ignore_index=True)
    return table[[*_LEADING, *table.columns.difference(list(_LEADING), sort=False)]]
