"""The contract of algorithms."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymoo.core.algorithm import Algorithm
from pymoo.core.problem import Problem

from moprune.contexts import PLAIN
from moprune.log import EvaluationLog, Key, genome_digest
from moprune.problem import Genomes
from moprune.search import Observer, Progress, run_algorithm
from moprune.testing.checks import global_random_states_kept
from moprune.testing.toy import toy_problem


class AlgorithmContract:
    """A pymoo algorithm repeats itself for a fixed seed, so that it can be resumed by replay.

    Attributes:
        n_eval: evaluations of each search; enough for some generations.
    """

    n_eval = 60

    def make_problem(self) -> Problem:
        """Returns the problem to search; :func:`toy_problem` unless overridden."""
        return toy_problem()

    def make_algorithm(self, problem: Problem) -> Algorithm:
        """Returns a fresh algorithm for the problem."""
        raise NotImplementedError("override make_algorithm")

    def test_the_same_seed_asks_for_the_same_genomes(self) -> None:
        first, second = self._run(seed=1), self._run(seed=1)
        assert first.requests, "the algorithm asked for nothing"
        assert first == second, "two runs with the same seed differ"

    def test_another_seed_asks_for_other_genomes(self) -> None:
        assert self._run(seed=1).requests != self._run(seed=2).requests, "two runs with different seeds are the same"

    def test_a_resumed_run_equals_a_straight_one(self) -> None:
        straight = self._run(seed=3)
        generations = len(straight.batches)
        for stop in sorted({1, min(2, generations), max(1, generations // 2), generations}):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "log.sqlite"
                try:
                    self._run(seed=3, path=path, observe=_stop_after(stop))
                except _StoppedError:
                    pass
                else:
                    raise AssertionError(f"the run had no generation {stop}")
                with EvaluationLog(path) as log:
                    table, _ = log.history("search", 3)
                    logged = set(zip(table["context"], table["digest"], strict=True))
                evaluated: list[Key] = []
                resumed = self._run(seed=3, path=path, evaluated=evaluated)
            assert logged, f"nothing was logged in {stop} generations"
            assert not logged & set(evaluated), "a resumed run evaluated what the log holds"
            assert resumed == straight, f"a run interrupted after generation {stop} differs once it is resumed"

    def test_global_random_states_stay_untouched(self) -> None:
        with global_random_states_kept("the algorithm"):
            self._run(seed=4)

    def test_it_asks_for_batches(self) -> None:
        if self.make_problem().n_obj == 1:
            return
        batches = self._run(seed=5).batches
        assert np.median(batches) > 1, f"the algorithm asked for one candidate at a time (batches: {list(batches)})"

    def _run(
        self,
        *,
        seed: int,
        path: Path | None = None,
        observe: Observer | None = None,
        evaluated: list[Key] | None = None,
    ) -> "_Trace":
        problem = self.make_problem()
        if evaluated is not None:
            _note_evaluations(problem, evaluated)
        algorithm = self.make_algorithm(problem)
        asked = [0]

        def count(progress: Progress) -> None:
            asked.append(progress.evaluations)
            if observe is not None:
                observe(progress)

        with EvaluationLog(path) as log:
            run_algorithm(problem, algorithm, n_eval=self.n_eval, seed=seed, log=log, observe=count)
            table, _ = log.history("search", seed)
            requests = log.requests("search", seed)
        rows = [
            tuple(value.tobytes() if isinstance(value, np.ndarray) else value for value in row.values())
            for row in table.drop(columns="seconds").to_dict("records")
        ]
        return _Trace(requests, rows, np.diff(asked).tolist())


@dataclass(frozen=True)
class _Trace:
    """What a run asked for: digests in order; position, generation, key and values (bytes); sizes of batches."""

    requests: list[str]
    rows: list[tuple[Any, ...]]
    batches: list[int]


class _StoppedError(Exception):
    """Stands for whatever may interrupt a run."""


def _stop_after(generations: int) -> Observer:
    seen: list[Progress] = []

    def observe(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == generations:
            raise _StoppedError

    return observe


def _note_evaluations(problem: Problem, keys: list[Key]) -> None:
    """Makes the problem note the key of everything it evaluates."""
    evaluate = problem.evaluate
    whole = str(getattr(problem, "context", ""))

    def noting(X: Genomes, *arguments: Any, **options: Any) -> Any:
        contexts = options.get("contexts") or [PLAIN] * len(X)
        keys.extend((f"{whole} {context}".strip(), genome_digest(x)) for context, x in zip(contexts, X, strict=True))
        return evaluate(X, *arguments, **options)

    problem.evaluate = noting
