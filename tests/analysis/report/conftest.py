"""A search of a toy problem as a finished run, with a folder and texts that try to break out of the page."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.fronts import SPLITS, choose, front_hypervolume
from analysis.report import FinishedFiles
from moprune.algorithms import RandomSearch, make
from moprune.log import EvaluationLog
from moprune.objectives import Objective, Outcome
from moprune.problem import SearchProblem
from moprune.search import Run, search

HOSTILE = "</script><script>window.broken = 1</script> \"double\" 'single' <b>&amp; <!-- \u2028"
SEEDS = (1, 2)
IMAGES = 200


def _cost(outcome, name):
    return outcome.costs[name]


OBJECTIVES = (
    Objective("error", "share of images", True, 1.0, partial(_cost, name="error")),
    Objective("active_fraction", "share of units", True, 1.0, partial(_cost, name="active_fraction"), is_cost=True),
    Objective("ood_auroc", "share", False, 0.0, partial(_cost, name="ood_auroc")),
)
REPORTED = (Objective("brier", "squared distance / 2", True, 1.0, partial(_cost, name="brier")),)


class Toy(SearchProblem):
    """Twelve units: some lower the error, others help detection; each split sees it a little differently."""

    def __init__(self, seed):
        super().__init__(n_var=12, boolean=True, objectives=OBJECTIVES, reported=REPORTED)
        self.seed = seed
        self.context = f"seed={seed}"

    def outcomes(self, X, splits):
        for x in X:
            yield {
                split: [Outcome(torch.zeros(1, 2), torch.zeros(1).long(), costs=self._costs(x, split))]
                for split in splits
            }

    def fingerprint(self):
        return {}

    def _costs(self, x, split):
        noise = np.random.default_rng([self.seed, SPLITS.index(split), *x.astype(int)]).uniform(0, 0.05)
        return {
            "error": 0.9 - 0.1 * x[:8].sum() + noise,
            "brier": (0.9 - 0.1 * x[:8].sum() + noise) / 2,
            "active_fraction": float(x.mean()),
            "ood_auroc": 0.5 + 0.1 * x[8:].sum() - noise,
        }


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The toy run as a report takes it."""
    folder = tmp_path_factory.mktemp("it's a <run>")
    with EvaluationLog() as log:
        head = {"features": 8, "hidden": [4], "classes": 2}
        log.claim({"problem": {"head": head, "layers": [0, 1], "edges": False}})
        fronts, controls, seeds = [], [], {}
        for seed in SEEDS:
            toy = Toy(seed)
            algorithms = {"search": make("nsga2", toy, pop_size=20), "random": RandomSearch(batch=20)}
            runs = {
                stage: search(toy, algorithm, n_eval=100, seed=seed, log=log, stage=stage)
                for stage, algorithm in algorithms.items()
            }
            points = {"search": _front(runs["search"]), "random masks": _front(runs["random"])}
            whole = toy.assess(np.ones((1, 12), dtype=bool))
            points["unpruned"] = whole.assign(solution=f"{seed}-unpruned", seed=seed)
            fronts.append(points["search"])
            controls += [points[name].assign(control=name) for name in ("unpruned", "random masks")]
            seeds[str(seed)] = _entry(points)
        yield FinishedFiles(
            folder=folder,
            title=f"toy {HOSTILE}",
            findings=[f"It was found that {HOSTILE}."],
            front=pd.concat(fronts, ignore_index=True),
            controls=pd.concat(controls, ignore_index=True),
            summary={
                "profile": "sound",
                "choice": "the rule",
                "objectives": {o.name: {} for o in OBJECTIVES},
                "images": dict.fromkeys(("train", *SPLITS), IMAGES),
                "test_opened": 2,
                "seeds": seeds,
            },
            objectives=OBJECTIVES,
            reported=REPORTED,
            log=log,
            experiment=f"data:\n  exclude: [{HOSTILE}]\n",
            environment={"python": "3.11", "packages": {"moprune": HOSTILE}, "digests": {"data": "abc"}},
        )


def _front(run: Run):
    return run.front().assign(seed=run.seed).reset_index(drop=True)


def _entry(points):
    picks = {name: choose(table, dict.fromkeys(SPLITS, IMAGES)) for name, table in points.items()}
    rows = {name: table.set_index("solution").loc[picks[name]] for name, table in points.items()}
    return {
        "front_size": len(points["search"]),
        "evaluations": {"search": 100, "random": 100},
        "hypervolume": {
            name: {split: front_hypervolume(table, OBJECTIVES, split) for split in SPLITS}
            for name, table in points.items()
        },
        "chosen": picks["search"],
        "test": {
            name: {"solution": picks[name], **{o.name: row[f"{o.name}_test"] for o in (*OBJECTIVES, *REPORTED)}}
            for name, row in rows.items()
        },
    }
