"""Run any pymoo algorithm on any pymoo Problem: logged, watched, interruptible, resumed by replay."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pymoo.core.algorithm import Algorithm
from pymoo.core.duplicate import DefaultDuplicateElimination
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from moprune.algorithms.duplicates import PackedDuplicateElimination
from moprune.algorithms.registry import refuse_unsuitable
from moprune.contexts import PLAIN, Context
from moprune.errors import MopruneError, UsageError
from moprune.executors import Executor, InProcess
from moprune.fronts import hypervolume, nondominated
from moprune.log import EvaluationLog, Key, Record, genome_digest
from moprune.problem import Genomes, SearchProblem

_LONELY_CALLS = 20


@dataclass(frozen=True)
class Progress:
    """Where a search stands after a generation.

    Attributes:
        stage: what is being run (``search``, or the name of a control).
        seed: the run seed.
        evaluations: evaluations asked for so far, those found in the log included.
        budget: evaluations to be asked for.
        replayed: how many of them were found in the log.
        seconds: time spent evaluating in this process.
        best: best value of each objective so far, natural units.
        hypervolume: of everything evaluated so far, see :func:`moprune.fronts.hypervolume`; None for a Problem
            that is not a :class:`SearchProblem`.
        provisional: whether ``best`` and ``hypervolume`` are those of this generation's scores in part alone (a subset,
            a rung, fewer training seeds), which do not compare with others.
    """

    stage: str
    seed: int
    evaluations: int
    budget: int
    replayed: int
    seconds: float
    best: dict[str, float]
    hypervolume: float | None
    provisional: bool = False


Observer = Callable[[Progress], None]


@dataclass(frozen=True)
class Run:
    """A search that has ended: its problem and its log.

    Attributes:
        problem: the problem searched.
        log: the evaluation log.
        seed: the run seed.
        stage: the stage of the log that holds it.
    """

    problem: SearchProblem
    log: EvaluationLog
    seed: int
    stage: str = "search"
    _memo: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def prefix(self) -> str:
        """What the ids of its solutions begin with: ``1-`` for the search of seed 1, ``r1-`` for its random masks."""
        return f"{'' if self.stage == 'search' else self.stage[0]}{self.seed}-"

    def history(self) -> pd.DataFrame:
        """Returns every genome evaluated in full, in order: ``solution``, ``generation`` and each objective.

        Objectives are those the search saw, in natural units, in columns ``<objective>_search``. Candidates that were
        dropped early or scored in part alone (:mod:`moprune.contexts`) are not among them.
        """
        return self._load()[0].copy()

    def genomes(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> Genomes:
        """Returns the genomes of :meth:`history`, all or some rows, ``(n, n_var)``.

        Raises:
            UsageError: one was too long to be logged with every evaluation.
        """
        history, genomes = self._load()
        wanted = range(len(genomes)) if rows is None else [int(row) for row in rows]
        chosen: list[Genomes] = []
        for row in wanted:
            genome = genomes[row]
            if genome is None:
                raise UsageError(
                    f"the genome of solution {history['solution'][row]!r} is too long to be logged; those of the last "
                    "population are kept"
                )
            chosen.append(genome)
        return np.stack(chosen) if chosen else np.empty((0, self.problem.n_var), dtype=self.problem.dtype)

    def images(self) -> int:
        """Returns the forward passes of single images that the evaluations took; 0 if the problem does not count."""
        logged, _ = self.log.history(self.stage, self.seed)
        return int(sum(np.sum(each) for each in logged["images"])) if "images" in logged else 0

    def front(self, splits: Sequence[str] = ("search", "select", "test")) -> pd.DataFrame:
        """Returns the non-dominated of every evaluated genome, assessed on the given splits in natural units.

        The index is that of :meth:`history`; a column ``<objective>_<split>`` each, beside ``solution``.
        """
        history, keep = self._load()[0], self.front_index()
        assessed = self.problem.assess(self.genomes(keep), splits)
        assessed.index = history.index[keep]
        return pd.concat([history.loc[keep, ["solution"]], assessed], axis=1)

    def front_index(self) -> NDArray[np.int64]:
        """Returns the rows of :meth:`history` that are non-dominated in what the search saw.

        Where genomes are too long to be logged, among those that were kept: the last population.
        """
        history, genomes = self._load()
        kept = np.array([row for row, genome in enumerate(genomes) if genome is not None], dtype=np.int64)
        natural = history[[f"{o.name}_search" for o in self.problem.objectives]].to_numpy()[kept]
        return kept[nondominated(self.problem.minimised(natural))]

    def genome(self, solution: str) -> Genomes:
        """Returns the genome of a solution id, ``(n_var,)``."""
        rows = np.flatnonzero(self._load()[0]["solution"] == solution)
        if not len(rows):
            raise UsageError(f"no solution {solution!r} in this run (ids look like {self.prefix}17)")
        genome: Genomes = self.genomes(rows[:1])[0]
        return genome

    def _load(self) -> tuple[pd.DataFrame, Genomes]:
        if "history" not in self._memo:
            logged, genomes = self.log.history(self.stage, self.seed)
            if "provisional" in logged:
                full = np.flatnonzero([not np.any(each) for each in logged["provisional"]])
                logged, genomes = logged.iloc[full].reset_index(drop=True), genomes[full]
            natural = np.stack(list(logged["natural"])) if len(logged) else np.empty((0, self.problem.n_obj))
            table = pd.DataFrame(
                {
                    "solution": [f"{self.prefix}{p}" for p in logged["position"]],
                    "generation": logged["generation"],
                    "seconds": logged["seconds"],
                    **{f"{o.name}_search": natural[:, i] for i, o in enumerate(self.problem.objectives)},
                }
            )
            self._memo["history"] = (table, genomes)
        table, genomes = self._memo["history"]
        return table, genomes


def search(
    problem: SearchProblem,
    algorithm: Algorithm,
    *,
    n_eval: int,
    seed: int,
    out: Path | str | None = None,
    log: EvaluationLog | None = None,
    stage: str = "search",
    observe: Observer | None = None,
    executor: Executor | None = None,
) -> Run:
    """Searches until ``n_eval`` evaluations were asked for (the last generation is completed).

    Started again with the same arguments on the same log, it goes on where it stopped and ends bit-identical to
    a search that was never interrupted.

    Args:
        problem: what to search.
        algorithm: any pymoo algorithm, not yet set up; it is copied.
        n_eval: evaluations asked of the problem, >= 1.
        seed: seeds the algorithm.
        out: folder for the log (``log.sqlite``); None keeps it in memory.
        log: an open log to use instead of ``out``.
        stage: the stage of the log to write to.
        observe: called after each generation.
        executor: evaluates what the log does not hold, such as :class:`moprune.distributed.RayExecutor`; by default
            this process does.

    Raises:
        UsageError: the algorithm is unsuitable, or the log belongs to another configuration.
        MopruneError: the log cannot be used, or the algorithm does not repeat itself on resuming.
    """
    if n_eval < 1:
        raise UsageError(f"n_eval must be >= 1, not {n_eval}")
    opened = None
    if log is None:
        log = opened = EvaluationLog(Path(out) / "log.sqlite" if out is not None else None)
    try:
        if opened is not None:
            opened.claim({"problem": problem.fingerprint(), "n_eval": n_eval})
        run_algorithm(
            problem, algorithm, n_eval=n_eval, seed=seed, log=log, stage=stage, observe=observe, executor=executor
        )
    except BaseException:
        if opened is not None:
            opened.close()  # else a notebook, whose traceback keeps it alive, could not go on with the file
        raise
    return Run(problem, log, seed, stage)


def run_algorithm(
    problem: Problem,
    algorithm: Algorithm,
    *,
    n_eval: int,
    seed: int,
    log: EvaluationLog,
    stage: str = "search",
    observe: Observer | None = None,
    executor: Executor | None = None,
) -> Algorithm:
    """Runs an algorithm on any pymoo Problem with a log; returns the algorithm as it ended."""
    refuse_unsuitable(algorithm)
    algorithm = copy.deepcopy(algorithm)
    _hash_duplicates(algorithm)
    evaluator = LoggedEvaluator(log, stage=stage, seed=seed, budget=n_eval, observe=observe, executor=executor)
    # A history would deep-copy the algorithm every generation; the log is the history.
    algorithm.setup(
        problem, termination=("n_eval", n_eval), seed=seed, evaluator=evaluator, save_history=False, verbose=False
    )  # fmt: skip
    while algorithm.has_next():
        algorithm.next()
    last = algorithm.pop if algorithm.pop is not None else Population.empty()
    _score_in_full(problem, last, evaluator)
    evaluator.finish()
    log.keep(individual.X for individual in last)
    return algorithm


def _score_in_full(problem: Problem, pop: Population, evaluator: "LoggedEvaluator") -> None:
    """Scores the members of the last population that are known in part alone: from a subset, a rung or some seeds."""
    partial = [individual.X for individual in pop if np.any(individual.get("provisional"))]
    if partial:
        evaluator.eval(problem, Population.new("X", partial))


class LoggedEvaluator(Evaluator):
    """Evaluates what the log does not hold yet, and logs each generation in one transaction.

    It can be handed to plain :func:`pymoo.optimize.minimize` as ``evaluator=``.

    Args:
        log: where to look and to write.
        stage: the stage of the log.
        seed: the run seed.
        budget: evaluations planned, for the observer.
        observe: called after each generation.
        executor: evaluates; by default this process does.
    """

    def __init__(
        self,
        log: EvaluationLog,
        *,
        stage: str = "search",
        seed: int = 0,
        budget: int = 0,
        observe: Observer | None = None,
        executor: Executor | None = None,
    ) -> None:
        super().__init__()
        self._executor = executor or InProcess()
        self._log, self._stage, self._seed = log, stage, seed
        self._budget, self._observe = budget, observe
        self._logged = log.requests(stage, seed)
        self._position = self._generation = self._replayed = self._lonely = 0
        self._seconds = 0.0
        self._front: NDArray[np.float64] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "LoggedEvaluator":
        return self  # one evaluator, one position in the log

    def finish(self) -> None:
        """Checks that the log holds nothing beyond what was asked for."""
        if self._position < len(self._logged):
            raise self._diverged(self._position)

    def _eval(self, problem: Problem, pop: Population, evaluate_values_of: list[str], **kwargs: Any) -> None:
        genomes = [np.asarray(individual.X) for individual in pop]  # not stacked: they may be whole networks
        if isinstance(problem, SearchProblem):
            genomes = [problem.checked(genome)[0] for genome in genomes]
        self._refuse_lonely(problem, len(genomes))
        contexts = _contexts(problem, pop)
        digests = [genome_digest(genome) for genome in genomes]
        self._check_replay(digests)
        whole = str(getattr(problem, "context", ""))
        keys = [(f"{whole} {context}".strip(), d) for context, d in zip(contexts, digests, strict=True)]
        known = self._log.lookup(dict.fromkeys(keys))
        new = [i for i, key in enumerate(keys) if key not in known and key not in keys[:i]]
        if any(contexts[i] != PLAIN for i in new):
            kwargs["contexts"] = [contexts[i] for i in new]
        records = self._evaluate_new(
            problem, [genomes[i] for i in new], [keys[i] for i in new], evaluate_values_of, kwargs
        )
        fresh = self._position + len(keys) > len(self._logged)
        if fresh:
            self._log.append(
                stage=self._stage, seed=self._seed, generation=self._generation, position=self._position,
                requests=keys, records=records,
            )  # fmt: skip
        else:
            self._replayed += len(keys)
        known.update((record.key, record) for record in records)
        rows = [known[key].values for key in keys]
        for name in rows[0]:
            pop.set(name, np.array([row[name] for row in rows]))
        pop.apply(lambda individual: individual.evaluated.update(rows[0].keys()))
        self._position += len(keys)
        self._generation += 1
        full = [row["F"] for row in rows if not np.any(row.get("provisional"))]
        self._report(problem, np.array(full or [row["F"] for row in rows]), provisional=not full)

    def _evaluate_new(
        self, problem: Problem, genomes: list[Genomes], keys: list[Key], values_of: list[str], kwargs: dict[str, Any]
    ) -> list[Record]:
        if not genomes:
            return []
        started = time.perf_counter()
        arrays = self._executor.evaluate(problem, genomes, values_of, kwargs)
        seconds = time.perf_counter() - started
        self._seconds += seconds
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                where = int(np.argwhere(~np.isfinite(array))[0, 0])
                raise MopruneError(
                    f"{type(problem).__name__} gave {name} = {array[where].tolist()} for a candidate; every value "
                    "must be finite (an objective that is never set counts as inf in pymoo)"
                )
        return [
            Record(
                digest, x, {name: array[i].tolist() for name, array in arrays.items()}, seconds / len(genomes), context
            )
            for i, ((context, digest), x) in enumerate(zip(keys, genomes, strict=True))
        ]

    def _check_replay(self, digests: list[str]) -> None:
        logged = self._logged[self._position : self._position + len(digests)]
        for i, digest in enumerate(logged):
            if digest != digests[i]:
                raise self._diverged(self._position + i)
        if 0 < len(logged) < len(digests):  # generations are logged whole
            raise self._diverged(self._position + len(logged))

    def _diverged(self, position: int) -> MopruneError:
        return MopruneError(
            f"cannot resume: at evaluation {position} of {self._log.path or 'the log'} the algorithm asked for "
            "another genome than last time; it does not repeat itself for a fixed seed, or its settings or pymoo's "
            "version changed; start again in another output folder"
        )

    def _refuse_lonely(self, problem: Problem, count: int) -> None:
        """A multi-objective algorithm that asks for one candidate at a time wastes the batch: say so early."""
        self._lonely = self._lonely + 1 if count == 1 and problem.n_obj > 1 else 0
        if self._lonely >= _LONELY_CALLS:
            raise UsageError(
                f"the algorithm asked for one candidate at a time {self._lonely} times in a row; populations are "
                "scored as a batch: set n_offsprings >= 2, or choose another algorithm"
            )

    def _report(self, problem: Problem, F: NDArray[np.float64], *, provisional: bool) -> None:
        """Tells the observer; provisional values are told and forgotten, for those of two subsets do not compare."""
        if self._observe is None:
            return
        front = F if self._front is None or provisional else np.concatenate([self._front, F])
        front = front[nondominated(front)]
        if not provisional:
            self._front = front
        best = front.min(axis=0)
        volume = None
        names = [f"f{i + 1}" for i in range(problem.n_obj)]
        if isinstance(problem, SearchProblem):
            volume = hypervolume(front, problem.objectives)
            names = [o.name for o in problem.objectives]
            best = np.array([o.natural(best[i : i + 1])[0] for i, o in enumerate(problem.objectives)])
        self._observe(
            Progress(
                self._stage, self._seed, self._position, self._budget, self._replayed, self._seconds,
                dict(zip(names, best.tolist(), strict=True)), volume, provisional,
            )
        )  # fmt: skip


def _contexts(problem: Problem, pop: Population) -> list[Context]:
    """Returns what is in force for each candidate; a problem that knows no contexts is asked for nothing special."""
    contexts = [individual.get("context") or PLAIN for individual in pop]
    if getattr(problem, "contextual", False):
        return contexts
    for name, what in (("subset", "on subsets"), ("rung", "on rungs"), ("seeds", "with fewer training seeds")):
        if any(getattr(context, name) is not None for context in contexts):
            raise UsageError(f"the algorithm asks for scores {what}, which {type(problem).__name__} does not have")
    return [PLAIN] * len(contexts)


def _hash_duplicates(algorithm: Algorithm) -> None:
    """Replaces pymoo's duplicate elimination by distances of all pairs, which takes longer than many a candidate."""
    holders: list[Any] = [algorithm, getattr(algorithm, "mating", None), getattr(algorithm, "initialization", None)]
    for holder in holders:
        if type(getattr(holder, "eliminate_duplicates", None)) is DefaultDuplicateElimination:
            holder.eliminate_duplicates = PackedDuplicateElimination()
