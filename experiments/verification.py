"""Whether a finished run can be repeated here: a sample of its log is evaluated again, and its front found again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.finished import STAGES, FinishedRun
from experiments.tasks import Working
from moprune.contexts import PLAIN, Context
from moprune.errors import MopruneError, UsageError
from moprune.problem import SearchProblem
from moprune.search import Run
from moprune.seeding import numpy_generator


@dataclass(frozen=True)
class Difference:
    """How far an objective is from what was logged.

    Attributes:
        objective: its name.
        largest: the largest absolute difference, natural units.
        relative: that, as a share of the largest magnitude of the objective in the sample.
        identical: whether all values are the same to the last bit.
    """

    objective: str
    largest: float
    relative: float
    identical: bool


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        sampled: how many evaluations were done again.
        logged: how many the log holds whose genomes it kept.
        differences: of each objective.
        front: what is wrong with ``front.csv``, in sentences.
    """

    sampled: int
    logged: int
    differences: tuple[Difference, ...]
    front: tuple[str, ...]

    def within(self, tolerance: float) -> bool:
        """Returns whether every relative difference is at most ``tolerance`` and the front is the log's."""
        return not self.front and all(each.relative <= tolerance for each in self.differences)


def verify(run: FinishedRun, *, sample: int, seed: int, tolerance: float, working: Working) -> Verification:
    """Evaluates a random sample of a run's log again, in the same contexts, and finds its front again.

    Args:
        run: the run.
        sample: how many evaluations, >= 1; all if there are fewer.
        seed: draws the sample.
        tolerance: relative difference of values in ``front.csv`` from the log's that is let pass.
        working: told how far the work is.

    Raises:
        UsageError: the data or the network are gone, or are not those of the run.
    """
    _check_origin(run)
    tables = {(s, stage): _kept(run, s, stage) for s in run.seeds for stage in STAGES}
    places = [(key, row) for key, table in tables.items() for row in range(len(table))]
    if not places:
        raise MopruneError(f"{run.log.path} holds no genome that could be evaluated again")
    rng = numpy_generator(seed, "verify")
    drawn = [places[i] for i in sorted(rng.choice(len(places), min(sample, len(places)), replace=False))]
    before: list[NDArray[np.float64]] = []
    after: list[NDArray[np.float64]] = []
    for key in dict.fromkeys(key for key, _ in drawn):
        table = tables[key].iloc[[row for other, row in drawn if other == key]]
        working("evaluating again", len(before), len(drawn), "genomes")
        before += list(table["natural"])
        after += list(_again(run.problem(key[0]), table))
    working("evaluating again", len(before), len(drawn), "genomes")
    names = [o.name for o in run.problem().objectives]
    differences = _differences(names, np.array(before), np.array(after))
    return Verification(len(drawn), len(places), differences, tuple(_front_faults(run, tolerance)))


def _check_origin(run: FinishedRun) -> None:
    """Refuses data and networks other than those the log was made with."""
    logged, ours = run.kind.digests(run.problem()), run.result.environment.get("digests", {})
    changed = [what for what, digest in ours.items() if logged.get(what) != digest]
    if changed:
        raise UsageError(
            f"{' and '.join(changed)}: not what the run in {run.result.folder.path} was made with (the digest in its "
            "environment.json is another); bring the original back to verify it"
        )


def _kept(run: FinishedRun, seed: int, stage: str) -> pd.DataFrame:
    """Returns what a stage evaluated, a row each, with the genomes; without those that were too long to be kept."""
    table, genomes = run.log.history(stage, seed)
    return table.assign(genome=list(genomes))[[genome is not None for genome in genomes]]


def _again(problem: SearchProblem, table: pd.DataFrame) -> NDArray[np.float64]:
    """Returns natural values of logged genomes, ``(n, n_obj)``, evaluated as one batch."""
    whole = str(getattr(problem, "context", ""))
    contexts = [parse(text.removeprefix(whole).strip()) for text in table["context"]]
    told = {"contexts": contexts} if any(each != PLAIN for each in contexts) else {}
    X = np.stack(list(table["genome"]))
    out = problem.evaluate(X, return_values_of=["F", "natural"], return_as_dictionary=True, **told)
    return np.asarray(out["natural"], dtype=np.float64).reshape(len(X), -1)


def parse(text: str) -> Context:
    """Returns the context that was stored as ``text``, the inverse of ``str``.

    Raises:
        MopruneError: it is none.
    """
    try:
        given: dict[str, str] = dict(part.split("=") for part in text.split())
        values: dict[str, Any] = {name: (float if name == "bound" else int)(each) for name, each in given.items()}
        return Context(**values)
    except (TypeError, ValueError) as error:
        raise MopruneError(f"the log holds an evaluation in an unknown context ({text!r})") from error


def _differences(
    names: Sequence[str], before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[Difference, ...]:
    found = []
    for i, name in enumerate(names):
        largest = float(np.abs(after[:, i] - before[:, i]).max())
        scale = float(np.abs([before[:, i], after[:, i]]).max())
        relative = largest / scale if largest else 0.0
        found.append(Difference(name, largest, relative, identical=bool((before == after)[:, i].all())))
    return tuple(found)


def _front_faults(run: FinishedRun, tolerance: float) -> list[str]:
    """Returns what of ``front.csv`` the log does not say, in sentences: members and their values on ``search``."""
    faults, front = [], run.result.front
    columns = [f"{o.name}_search" for o in run.result.objectives]
    for seed in run.seeds:
        searches = {stage: run.search(seed, stage) for stage in STAGES}
        histories = [search.history() for search in searches.values()]
        known = pd.concat([each for each in histories if len(each)]).set_index("solution")[columns]
        rows = front[front["seed"] == seed].set_index("solution")
        missing = set(rows.index) - set(known.index)
        faults += [f"{solution} is in front.csv and not in the log" for solution in sorted(missing)]
        members = _members(searches["search"])
        own = {solution for solution in rows.index if solution.startswith(searches["search"].prefix)}
        faults += [f"{s} is non-dominated in the log and not in front.csv" for s in sorted(members - own)]
        faults += [f"{s} is in front.csv and dominated in the log" for s in sorted(own - members - missing)]
        there = [solution for solution in rows.index if solution not in missing]
        close = np.isclose(rows.loc[there, columns], known.loc[there], rtol=max(tolerance, 1e-12), atol=0)
        apart = np.array(there)[~close.all(axis=1)]
        faults += [f"{solution} has other values in front.csv than in the log" for solution in apart]
    return faults


def _members(search: Run) -> set[str]:
    return set(search.history()["solution"].to_numpy()[search.front_index()])
