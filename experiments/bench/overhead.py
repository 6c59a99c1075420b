"""What a search costs beside its evaluations: operators, duplicates, log and progress, an evaluation at a time.

The problems cost next to nothing, so that what is left is overhead. The other way is pymoo alone: its algorithm with
its own operators and its own check for duplicates, without a log.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.soo.nonconvex.de import DE
from pymoo.core.algorithm import Algorithm
from pymoo.operators.crossover.ux import UX
from pymoo.operators.mutation.bitflip import BitflipMutation
from pymoo.operators.sampling.rnd import BinaryRandomSampling
from pymoo.optimize import minimize

from experiments.bench.rows import OURS, Row, Tell, in_turns
from experiments.bench.timing import Work
from moprune.algorithms import make
from moprune.errors import UsageError
from moprune.objectives import Objective, Outcome
from moprune.problem import Genomes, Outcomes, SearchProblem
from moprune.search import search

TYPICAL = 0.05
"""Seconds of an evaluation that the overhead is told as a share of."""

HOW = "pymoo's minimize with its own operators and duplicate elimination, no log"


class Free(SearchProblem):
    """A problem that costs nothing: the bits that are on, and those of the first half that are off; or squares."""

    def __init__(self, n_var: int, *, boolean: bool) -> None:
        names = ("on", "off_before") if boolean else ("squares",)
        objectives = [Objective(name, "", True, 1.0, _nothing, is_cost=True) for name in names]
        super().__init__(n_var=n_var, boolean=boolean, objectives=objectives, xl=-1.0, xu=1.0)

    def values(self, X: Genomes, splits: Sequence[str] = ("search",)) -> NDArray[np.float64]:
        """Returns the objectives, the same on every split."""
        if self.boolean:
            columns = [X.mean(1), 1 - X[:, : self.n_var // 2].mean(1)]
        else:
            columns = [np.einsum("ij,ij->i", X, X) / self.n_var]
        return np.repeat(np.column_stack(columns)[:, None], len(splits), axis=1)

    def outcomes(self, X: Genomes, splits: Sequence[str]) -> Iterator[Outcomes]:
        """Is not asked for: values follow from genomes."""
        raise NotImplementedError

    def fingerprint(self) -> dict[str, Any]:
        """Returns the name and the length."""
        return {"problem": "free", "length": self.n_var}


def _nothing(_: Outcome) -> float:
    raise NotImplementedError


def bench_overhead(
    *,
    bits: int = 2048,
    floats: int = 270_000,
    population: int = 50,
    evaluations: int = 1000,
    rounds: int = 3,
    progress: Tell | None = None,
) -> list[Row]:
    """Measures NSGA-II on bits and differential evolution on real numbers.

    Args:
        bits: length of the boolean genome, >= 2.
        floats: length of the real one, >= 1.
        population: members, and offspring of a generation, >= 4.
        evaluations: of each search on bits; a fifth of them on real numbers.
        rounds: times each way is measured, in turns; >= 2.
        progress: told about each step.

    Returns:
        A row for bits, and for real numbers one with pymoo's algorithm and one with SHADE.

    Raises:
        UsageError: arguments that make no benchmark.
    """
    if bits < 2 or floats < 1 or population < 4 or evaluations < 5 * population:
        raise UsageError(
            "a benchmark needs >= 2 bits, >= 1 real number, >= 4 members and >= 5 generations of evaluations, not "
            f"{bits}, {floats}, {population}, {evaluations}"
        )
    operators: dict[str, Any] = {"sampling": BinaryRandomSampling(), "crossover": UX(), "mutation": BitflipMutation()}
    masks, weights = Free(bits, boolean=True), Free(floats, boolean=False)
    cases = (
        ("bits", masks, "nsga2", NSGA2(pop_size=population, **operators), evaluations),
        ("real numbers", weights, "de", DE(pop_size=population), evaluations // 5),
        ("real numbers, SHADE", weights, "shade", DE(pop_size=population), evaluations // 5),
    )
    return [_row(*case, population, rounds, progress or (lambda _: None)) for case in cases]


def _row(
    kind: str, problem: Free, name: str, theirs: Algorithm, evaluations: int, population: int, rounds: int, tell: Tell
) -> Row:  # fmt: skip
    def ours() -> None:
        algorithm = make(name, problem, pop_size=population)
        with tempfile.TemporaryDirectory() as folder:
            search(problem, algorithm, n_eval=evaluations, seed=0, out=Path(folder) / "run", observe=lambda _: None)

    calls: dict[str, Callable[[], object]] = {
        "pymoo alone": lambda: minimize(problem, theirs, ("n_eval", evaluations), seed=0),
        OURS: ours,
    }
    ways = {way: (evaluations, call) for way, call in calls.items()}
    measured = in_turns(ways, rounds, torch.device("cpu"), lambda what: tell(f"overhead, {kind}: {what}"))
    row = measured.row(
        f"overhead: {kind}",
        "evaluations",
        {"length": problem.n_var, "population": population, "evaluations": evaluations},
        {"pymoo alone": HOW},
        Work(0.0, 2.0 * problem.n_var * problem.dtype.itemsize),  # a child is written, and a parent was read
        torch.device("cpu"),
        difference=0.0,
        tolerance=0.0,
    )
    spent = 1 / row.rate
    row.figures.update(
        {"ms an evaluation": 1e3 * spent, f"share of evaluations of {TYPICAL * 1e3:.0f} ms": spent / TYPICAL}
    )
    return row
