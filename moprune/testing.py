"""The contracts of moprune as test suites, for pytest: its own classes run through them, and so can yours.

Subclass a contract in a test file under a name that starts with ``Test`` and say what to test::

    from moprune.testing import AlgorithmContract, ProblemContract

    class TestMyProblem(ProblemContract):
        def make_problem(self):
            return MyProblem(...)

    class TestMyAlgorithm(AlgorithmContract):       # on toy_problem(), unless make_problem is overridden
        def make_algorithm(self, problem):
            return MyAlgorithm(pop_size=10)

* :class:`ProblemContract`: values are a pure function of genome and problem;
* :class:`AlgorithmContract`: a search repeats itself, and resumes where it was interrupted;
* :class:`ObjectiveContract`: a goal is finite, bounded, and blind to the order of images;
* :class:`StrategyContract`: a way to train a population gives the heads :func:`reference_fit` gives.
"""

import copy
import functools
import importlib.util
import inspect
import json
import multiprocessing
import os
import pickle
import random
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pymoo.core.algorithm import Algorithm
from pymoo.core.problem import Problem
from torch import Tensor

from moprune.algorithms import make
from moprune.errors import UsageError
from moprune.log import EvaluationLog, genome_digest
from moprune.networks.heads import ACTIVATIONS, HeadSpec, HeadWeights, Masks, TrainedHead, initial_weights
from moprune.objectives import Objective, Outcome
from moprune.population import Training, TrainingSet
from moprune.problem import Genomes, Outcomes, SearchProblem
from moprune.search import Observer, Progress, run_algorithm
from moprune.seeding import numpy_generator, torch_generator

Values = NDArray[np.float64]


class ProblemContract:
    """A :class:`moprune.problem.SearchProblem` scores a genome the same way whatever is scored beside it.

    Attributes:
        tolerance: largest difference of an objective value between ways to score the same genome.
        exact: whether on a CPU these have to be the same bit for bit.
        population: genomes scored together.
        splits: splits the problem can be assessed on; the first is what the search sees.
    """

    tolerance = 1e-6
    exact = True
    population = 64
    splits: Sequence[str] = ("search", "select", "test")

    def make_problem(self) -> SearchProblem:
        """Returns the problem under test; every call must build the same one."""
        raise NotImplementedError("override make_problem")

    def make_genomes(self, problem: SearchProblem, n: int) -> Genomes:
        """Returns ``n`` genomes: bits of every density from none to all on, or floats within the bounds."""
        rng = numpy_generator(0, "contract genomes")
        if not problem.boolean:
            floats: Genomes = rng.uniform(problem.xl, problem.xu, (n, problem.n_var))
            return floats
        bits: Genomes = rng.random((n, problem.n_var)) < np.linspace(0, 1, n)[:, None]
        return bits

    def test_values_are_finite_and_of_the_right_shape(self) -> None:
        problem = self.make_problem()
        X = self.make_genomes(problem, self.population)
        values = problem.values(X, self.splits)
        expected = (len(X), len(self.splits), problem.n_obj)
        assert values.shape == expected, f"values have shape {values.shape}, not {expected}"
        assert values.dtype == np.float64, f"values are {values.dtype}, not float64"
        assert np.isfinite(values).all(), "a value is not finite"
        assert list(problem.assess(X[:1], self.splits)) == [
            f"{o.name}_{split}" for o in problem.objectives for split in self.splits
        ], "assess must return a column <objective>_<split> for each objective and split"

    def test_pymoo_sees_what_follows_from_the_natural_values(self) -> None:
        problem = self.make_problem()
        X = self.make_genomes(problem, self.population)
        out = problem.evaluate(X, return_as_dictionary=True)
        self._same(problem, problem.values(X, self.splits[:1])[:, 0], out["natural"], "evaluate and values")
        for i, objective in enumerate(problem.objectives):
            natural, minimised = out["natural"][:, i], out["F"][:, i]
            assert np.array_equal(objective.minimised(natural), minimised), (
                f"F of {objective.name} is not the minimised form of its natural value"
            )

    def test_a_split_does_not_depend_on_the_others_asked_for(self) -> None:
        problem = self.make_problem()
        X = self.make_genomes(problem, min(8, self.population))
        together = problem.values(X, self.splits)
        for s, split in enumerate(self.splits):
            self._same(problem, together[:, s], problem.values(X, [split])[:, 0], f"split {split} by itself")
        for i, objective in enumerate(problem.objectives):
            if objective.is_cost:
                assert (together[:, :, i] == together[:, :1, i]).all(), f"cost {objective.name} differs by split"

    def test_alone_as_in_a_population(self) -> None:
        problem = self.make_problem()
        X = self.make_genomes(problem, self.population)
        some = np.unique(np.linspace(0, len(X) - 1, 8).astype(int))
        alone = np.concatenate([problem.values(X[i : i + 1]) for i in some])
        self._same(problem, problem.values(X)[some], alone, "a genome alone and in a population")

    def test_the_order_of_a_population_does_not_matter(self) -> None:
        problem = self.make_problem()
        X = self.make_genomes(problem, self.population)
        order = numpy_generator(1, "contract order").permutation(len(X))
        self._same(problem, problem.values(X)[order], problem.values(X[order]), "a population and its shuffle")

    def test_pieces_of_a_population_do_not_matter(self) -> None:
        problem = self.make_problem()
        X = self.make_genomes(problem, self.population)
        whole = problem.values(X)
        pieces = np.concatenate([problem.values(X[i : i + 3]) for i in range(0, len(X), 3)])
        self._same(problem, whole, pieces, "a population and its pieces of 3")
        if hasattr(problem, "chunk"):
            chunked: Any = self.make_problem()
            chunked.chunk = 3
            self._same(problem, whole, chunked.values(X), "a population and the same in chunks of 3")

    def test_the_same_in_another_process(self) -> None:
        problem = self.make_problem()
        X = self.make_genomes(problem, min(8, self.population))
        elsewhere = _in_another_process(problem, X, type(self))
        self._same(problem, problem.values(X), elsewhere, "this process and another one")

    def test_a_deep_copy_shares_everything(self) -> None:
        problem = self.make_problem()
        X = self.make_genomes(problem, min(4, self.population))
        before = problem.values(X)  # what is made on first use is there to be copied
        copied = copy.deepcopy(problem)
        for name, value in vars(problem).items():
            assert vars(copied)[name] is value, f"a deep copy has its own {name}; pymoo deep-copies problems, share it"
        self._same(problem, before, copied.values(X), "a problem and its deep copy")

    def test_global_random_states_stay_untouched(self) -> None:
        problem = self.make_problem()  # outside, since to build a network for it may well draw
        with _global_random_states_kept("the problem"):
            problem.values(self.make_genomes(problem, min(4, self.population)), self.splits)

    def test_genomes_are_not_modified(self) -> None:
        problem = self.make_problem()
        X = self.make_genomes(problem, min(8, self.population))
        before = X.copy()
        problem.evaluate(X)
        assert np.array_equal(X, before), "evaluating changed the genomes it was given"

    def test_the_fingerprint_is_json_and_repeats_itself(self) -> None:
        first, second = self.make_problem(), self.make_problem()
        texts = [json.dumps(p.fingerprint(), sort_keys=True, allow_nan=False) for p in (first, second)]
        assert texts[0] == texts[1], "two problems made alike have different fingerprints"
        assert str(getattr(first, "context", "")) == str(getattr(second, "context", "")), "their contexts differ"
        first.values(self.make_genomes(first, 2))
        assert json.dumps(first.fingerprint(), sort_keys=True) == texts[1], "evaluating changed the fingerprint"

    def test_genomes_that_do_not_fit_are_refused(self) -> None:
        problem = self.make_problem()
        X = self.make_genomes(problem, 2)
        _refused("genomes of a wrong length", problem.values, np.concatenate([X, X[:, :1]], axis=1))
        if problem.boolean:
            _refused("float genomes on bits", problem.values, X.astype(np.float64))
            _refused("integer genomes on bits", problem.values, X.astype(np.int64))
        else:
            _refused("genomes with NaN", problem.values, np.full_like(X, np.nan))
            _refused("bit genomes on floats", problem.values, X > 0)

    def test_it_runs_under_plain_pymoo(self) -> None:
        from pymoo.optimize import minimize

        problem = self.make_problem()
        result = minimize(problem, make("nsga2", problem, pop_size=8), ("n_gen", 3), seed=1)
        X, F = np.atleast_2d(result.X), np.atleast_2d(result.F)
        natural = problem.values(X.astype(bool) if problem.boolean else X)[:, 0]
        self._same(problem, problem.minimised(natural), F, "pymoo's result and the values of its genomes")

    def _same(self, problem: SearchProblem, first: Values, second: Values, what: str) -> None:
        cpu = torch.device(getattr(problem, "device", "cpu")).type == "cpu"
        if self.exact and cpu:
            assert np.array_equal(first, second), f"{what}: not the same bit for bit ({_gap(first, second)})"
        else:
            close = np.allclose(first, second, rtol=0, atol=self.tolerance)
            assert close, f"{what}: differ by more than {self.tolerance} ({_gap(first, second)})"


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
                    logged = set(log.requests("search", 3))
                evaluated: list[str] = []
                resumed = self._run(seed=3, path=path, evaluated=evaluated)
            assert logged, f"nothing was logged in {stop} generations"
            assert not logged & set(evaluated), "a resumed run evaluated a genome that the log holds"
            assert resumed == straight, f"a run interrupted after generation {stop} differs once it is resumed"

    def test_global_random_states_stay_untouched(self) -> None:
        with _global_random_states_kept("the algorithm"):
            self._run(seed=4)

    def test_it_asks_for_batches(self) -> None:
        if self.make_problem().n_obj == 1:
            return
        batches = self._run(seed=5).batches
        assert min(batches) > 1, f"the algorithm asked for one candidate at a time (batches: {list(batches)})"

    def _run(
        self,
        *,
        seed: int,
        path: Path | None = None,
        observe: Observer | None = None,
        evaluated: list[str] | None = None,
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
            table, genomes = log.history("search", seed)
            requests = log.requests("search", seed)
        table["genome"] = [genome_digest(genome) for genome in genomes]
        rows = [
            tuple(value.tobytes() if isinstance(value, np.ndarray) else value for value in row.values())
            for row in table.drop(columns="seconds").to_dict("records")
        ]
        return _Trace(requests, rows, np.diff(asked).tolist())


class ObjectiveContract:
    """An :class:`moprune.objectives.Objective` measures an outcome and nothing else."""

    def make_objective(self) -> Objective:
        """Returns the objective under test."""
        raise NotImplementedError("override make_objective")

    def make_outcome(self, seed: int) -> Outcome:
        """Returns an outcome: every class present, two OOD pools, and the costs of a pruned head."""
        generator = torch_generator(seed, "contract outcome")
        labels = torch.arange(90) % 5
        logits = torch.randn(90, 5, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 5)
        pools = {name: torch.randn(size, 5, generator=generator) for name, size in (("a", 30), ("b", 41))}
        share = float(torch.rand((), generator=generator))
        costs = {"active_fraction": share, "active_units": round(share * 10), "head_parameters": round(share * 100)}
        return Outcome(logits, labels, pools, costs)

    def outcomes(self) -> Iterator[Outcome]:
        """Yields ordinary outcomes and extreme ones: saturated, all wrong, and undecided."""
        for seed in range(3):
            outcome = self.make_outcome(seed)
            yield outcome
            right = torch.nn.functional.one_hot(outcome.labels, outcome.logits.shape[1]).float()
            for factor in (1e4, -1e4, 0.0):
                yield replace(outcome, logits=factor * right)

    def test_values_are_finite_and_no_worse_than_the_worst(self) -> None:
        objective = self.make_objective()
        assert np.isfinite(objective.worst), "worst is not finite"
        assert objective.scale > 0, "scale must be positive"
        for outcome in self.outcomes():
            value = objective.compute(outcome)
            assert np.isfinite(value), f"{objective.name} is {value}"
            beyond = value - objective.worst if objective.minimise else objective.worst - value
            assert beyond <= 1e-12, f"{objective.name} is {value}, worse than its declared worst {objective.worst}"

    def test_it_is_deterministic(self) -> None:
        objective = self.make_objective()
        with _global_random_states_kept(objective.name):
            for outcome in self.outcomes():
                assert objective.compute(outcome) == objective.compute(outcome), f"{objective.name} varies"

    def test_natural_and_minimised_are_inverse(self) -> None:
        objective = self.make_objective()
        natural = np.linspace(objective.worst - 1, objective.worst + 1, 11)
        back = objective.natural(objective.minimised(natural))
        assert np.allclose(back, natural, rtol=0, atol=1e-12), "natural(minimised(v)) is not v"
        rising = (np.diff(objective.minimised(natural)) > 0).all()
        assert rising == objective.minimise, "minimised values must fall as natural values get better"

    def test_the_order_of_images_does_not_matter(self) -> None:
        objective = self.make_objective()
        generator = torch_generator(0, "contract image order")

        def shuffled(tensor: Tensor) -> Tensor:
            return tensor[torch.randperm(len(tensor), generator=generator)]

        for outcome in self.outcomes():
            order = torch.randperm(len(outcome.labels), generator=generator)
            other = replace(
                outcome,
                logits=outcome.logits[order],
                labels=outcome.labels[order],
                ood_logits={name: shuffled(pool) for name, pool in outcome.ood_logits.items()},
            )
            gap = abs(objective.compute(outcome) - objective.compute(other))
            assert gap <= 1e-12, f"{objective.name} changes by {gap} with the order of images"

    def test_a_cost_does_not_read_images_nor_a_measure_costs(self) -> None:
        objective = self.make_objective()
        outcome = self.make_outcome(0)
        if objective.is_cost:
            pools = {name: -pool for name, pool in outcome.ood_logits.items()}
            other = replace(outcome, logits=-outcome.logits, ood_logits=pools)
            reason = "is declared a cost but depends on logits"
        else:
            other = replace(outcome, costs={name: value + 1 for name, value in outcome.costs.items()})
            reason = "depends on costs but is not declared a cost"
        assert objective.compute(outcome) == objective.compute(other), f"{objective.name} {reason}"

    def test_it_reads_ood_pools_only_if_it_says_so(self) -> None:
        objective = self.make_objective()
        if not objective.needs_ood:
            outcome = self.make_outcome(0)
            without = replace(outcome, ood_logits={})
            assert objective.compute(outcome) == objective.compute(without), f"{objective.name} reads OOD pools"

    def test_it_can_be_pickled(self) -> None:
        try:
            pickle.dumps(self.make_objective())
        except Exception as error:
            raise AssertionError(f"the objective cannot go to another process: {error}") from error


class StrategyContract:
    """A way to train a population of masked heads gives those of :func:`reference_fit`, to float tolerance.

    Attributes:
        tolerance: largest difference of a weight or logit, the reference being in double precision.
    """

    tolerance = 2e-4

    def fit(
        self,
        spec: HeadSpec,
        masks: Sequence[Masks],
        data: TrainingSet,
        start: HeadWeights,
        training: Training,
        seed: int,
    ) -> Sequence[TrainedHead]:
        """Trains a head for each candidate's masks; arguments as for :func:`moprune.population.fit_heads`."""
        raise NotImplementedError("override fit")

    def test_every_shape_and_activation(self) -> None:
        training = Training(epochs=4, batch_size=16, learning_rate=0.1, decay=0.01, weight_decay=0.05)
        for hidden in ((), (6,), (6, 5)):
            for bias in (False, True):
                for activation in ACTIVATIONS:
                    self._compare(HeadSpec(8, hidden, 3, activation, bias), training)

    def test_every_update_rule(self) -> None:
        for momentum, nesterov in ((0.0, False), (0.0, True), (0.9, False), (0.9, True)):
            for weight_decay in (0.0, 0.1):
                self._compare(
                    HeadSpec(8, (6,), 3, hidden_bias=True),
                    Training(
                        epochs=3, batch_size=25, learning_rate=0.05, momentum=momentum, nesterov=nesterov,
                        decay=0.1, weight_decay=weight_decay,
                    ),
                )  # fmt: skip

    def test_batches_larger_than_the_set_and_of_one_image(self) -> None:
        for batch_size in (1, 40, 1000):
            self._compare(HeadSpec(8, (6,), 3), Training(epochs=2, batch_size=batch_size))

    def test_no_epochs_leave_the_initial_weights(self) -> None:
        self._compare(HeadSpec(8, (6,), 3, hidden_bias=True), Training(epochs=0, restore_best=True))

    def test_early_stopping(self) -> None:
        base = Training(epochs=12, batch_size=10, learning_rate=0.4, momentum=0.5, weight_decay=0.0)
        for training in (
            replace(base, patience=1, min_delta=0.0),
            replace(base, patience=2, min_delta=0.02),
            replace(base, patience=2, min_delta=0.02, restore_best=True),
            replace(base, patience=None, restore_best=True, epochs=5),
            replace(base, patience=1, min_delta=1e9),
        ):
            self._compare(HeadSpec(8, (6,), 3, hidden_bias=True), training)

    def _compare(self, spec: HeadSpec, training: Training) -> None:
        data, masks = _blobs(spec), _all_kinds_of_masks(spec)
        start = initial_weights(spec, 5)
        found = list(self.fit(spec, masks, data, start, training, 7))
        expected = reference_fit(spec, masks, data, start, training, seed=7)
        assert len(found) == len(masks), f"{len(found)} heads came back for {len(masks)} candidates"
        for i, (head, reference) in enumerate(zip(found, expected, strict=True)):
            where = f"candidate {i} of {spec} with {training}"
            assert head.epochs == reference.epochs, f"{where}: {head.epochs} epochs, not {reference.epochs}"
            assert head.widths == reference.widths, f"{where}: widths {head.widths}, not {reference.widths}"
            assert torch.equal(head.kept.cpu(), reference.kept), f"{where}: it reads other features"
            assert not head.failed, f"{where}: it is marked as failed"
            tensors = zip(_tensors(head.weights), _tensors(reference.weights), strict=True)
            gaps = [float((a.cpu().double() - b).abs().max()) for a, b in tensors if b.numel()]
            logits = head.logits(data.features).cpu().double() - reference.logits(data.features.double())
            worst = max([*gaps, float(logits.abs().max())])
            assert worst <= self.tolerance, f"{where}: weights or logits differ by {worst}"


def reference_fit(
    spec: HeadSpec,
    masks: Sequence[Masks],
    data: TrainingSet,
    start: HeadWeights,
    training: Training,
    *,
    seed: int,
) -> list[TrainedHead]:
    """Trains masked heads the plain way: dense layers in double precision, autograd and ``torch.optim.SGD``.

    A mask multiplies the (post-activation) outputs of its layer. Slow, and written to be compared with.

    Returns:
        One head for each candidate, its float64 weights cut to the units that are on.
    """
    return [_reference_fit_one(spec, candidate, data, start, training, seed) for candidate in masks]


def _reference_fit_one(
    spec: HeadSpec, masks: Masks, data: TrainingSet, start: HeadWeights, training: Training, seed: int
) -> TrainedHead:
    features, labels = data.features.cpu().double(), data.labels.cpu()
    matrices = [m.cpu().double().requires_grad_() for m in start.matrices]
    biases = [None if b is None else b.cpu().double().requires_grad_() for b in start.biases]
    parameters = [*matrices, *(b for b in biases if b is not None)]
    nesterov = training.nesterov and training.momentum > 0  # torch refuses the one without the other
    optimizer = torch.optim.SGD(parameters, lr=training.learning_rate, momentum=training.momentum, nesterov=nesterov)
    activation = ACTIVATIONS[spec.activation]()

    def logits(x: Tensor) -> Tensor:
        for layer, (mask, matrix, bias) in enumerate(zip(masks, matrices, biases, strict=True)):
            x = (x if layer == 0 else activation(x)) * mask.double()
            x = x @ matrix + (0.0 if bias is None else bias)
        return x

    least, waited, epoch, step = float("inf"), 0, 0, 0
    best: list[Tensor] | None = None
    for epoch in range(1, training.epochs + 1):
        total = 0.0
        for batch in training.batches(len(features), epoch, seed, torch.device("cpu")):
            rate = training.learning_rate / (1 + training.decay * step)
            optimizer.param_groups[0]["lr"] = rate
            loss = torch.nn.functional.cross_entropy(logits(features[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            with torch.no_grad():
                for matrix in matrices:
                    matrix *= 1 - rate * training.weight_decay
            optimizer.step()
            total += loss.item() * len(batch)
            step += 1
        mean = total / len(features)
        if mean < least - training.min_delta:
            least, waited = mean, 0
            best = [p.detach().clone() for p in parameters]
        else:
            waited += 1
        if training.patience is not None and waited >= training.patience:
            break
    with torch.no_grad():
        if training.restore_best and best is not None:
            for parameter, value in zip(parameters, best, strict=True):
                parameter.copy_(value)
        weights = HeadWeights(
            tuple(m.detach() for m in matrices), tuple(None if b is None else b.detach() for b in biases)
        ).compact(masks)
    return TrainedHead(spec, masks[0].nonzero()[:, 0], weights, epoch)


class ToyProblem(SearchProblem):
    """Bits with a known front: as many ones at the start and as many zeros at the end as possible.

    Both counts are shares of the length and maximised. The front is the ``length + 1`` genomes ``1...10...0``.
    """

    def __init__(self, length: int = 12) -> None:
        objectives = [
            Objective(name, "share of bits", False, 0.0, functools.partial(_cost_of, name), is_cost=True)
            for name in ("leading_ones", "trailing_zeros")
        ]
        super().__init__(n_var=length, boolean=True, objectives=objectives)

    def outcomes(self, X: Genomes, splits: Sequence[str]) -> Iterator[Outcomes]:
        """Yields the two shares, the same on every split."""
        for genome in X:
            ones = np.cumprod(genome).sum() / self.n_var
            zeros = np.cumprod(~genome[::-1].astype(bool)).sum() / self.n_var
            costs = {"leading_ones": float(ones), "trailing_zeros": float(zeros)}
            outcome = Outcome(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), costs=costs)
            yield {split: [outcome] for split in splits}

    def fingerprint(self) -> dict[str, Any]:
        """Returns the name and the length."""
        return {"problem": "leading ones, trailing zeros", "length": self.n_var}

    def optimum(self) -> NDArray[np.bool_]:
        """Returns the genomes of the front, ``(length + 1, length)``, by rising number of ones."""
        return np.tri(self.n_var + 1, self.n_var, k=-1, dtype=bool)


def toy_problem(length: int = 12) -> ToyProblem:
    """Returns a cheap problem on bits whose front is known, to try an algorithm on."""
    return ToyProblem(length)


def _cost_of(name: str, outcome: Outcome) -> float:
    return outcome.costs[name]


def _refused(what: str, call: Callable[..., object], *arguments: object) -> None:
    try:
        call(*arguments)
    except UsageError:
        return
    raise AssertionError(f"{what} were accepted; they must raise a UsageError")


def _gap(first: Values, second: Values) -> str:
    if first.shape != second.shape:
        return f"shapes {first.shape} and {second.shape}"
    return f"largest difference {np.abs(first - second).max():.3g}"


@contextmanager
def _global_random_states_kept(who: str) -> Iterator[None]:
    def states() -> dict[str, object]:
        return {
            "random": random.getstate(),
            "numpy": str(np.random.get_state(legacy=False)),  # noqa: NPY002
            "torch": torch.get_rng_state().tolist(),
        }

    before = states()
    yield
    changed = [library for library, state in states().items() if state != before[library]]
    assert not changed, f"{who} drew from the global random state of {', '.join(changed)}; use moprune.seeding"


@dataclass(frozen=True)
class _Trace:
    """What a run asked for: digests in order; position, generation, genome and values (bytes); sizes of batches."""

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


def _note_evaluations(problem: Problem, digests: list[str]) -> None:
    """Makes the problem note the digest of every genome it evaluates."""
    evaluate = problem.evaluate

    def noting(X: Genomes, *arguments: Any, **options: Any) -> Any:
        digests.extend(genome_digest(x) for x in X)
        return evaluate(X, *arguments, **options)

    problem.evaluate = noting


def _digests(path: Path) -> set[str]:
    with EvaluationLog(path) as log:
        return set(log.requests("search", 3))


def _in_another_process(problem: SearchProblem, X: Genomes, suite: type) -> Values:
    """Returns the values a freshly started interpreter computes, with other string hashes than here."""
    worker = _worker()
    try:
        # The file first: what the problem is made of may be defined in it, and pytest may not import it by name.
        worker.submit(_import_file, suite.__module__, inspect.getfile(suite)).result()
        return worker.submit(_values_of, problem, X).result()
    except BrokenProcessPool as error:
        _worker.cache_clear()
        raise AssertionError("the problem arrived in another process but could not be rebuilt there") from error
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(f"the problem cannot go to another process: {error}") from error


@functools.cache
def _worker() -> ProcessPoolExecutor:
    """Returns a process shared by all suites, since each takes seconds to import torch."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "2" if before == "1" else "1"
    try:
        pool.submit(os.getpid).result()
    finally:
        del os.environ["PYTHONHASHSEED"]
        if before is not None:
            os.environ["PYTHONHASHSEED"] = before
    return pool


def _import_file(name: str, path: str) -> None:
    if name in sys.modules or name == "__main__":
        return
    parents = name.split(".")[:-1]
    for depth in range(1, len(parents) + 1):  # pytest names a file after its folders, which need not be packages
        package = types.ModuleType(".".join(parents[:depth]))
        package.__path__ = []
        sys.modules.setdefault(package.__name__, package)
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is not None and specification.loader is not None:
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module
        specification.loader.exec_module(module)


def _values_of(problem: SearchProblem, X: Genomes) -> Values:
    return problem.values(X)


def _blobs(spec: HeadSpec, images: int = 50) -> TrainingSet:
    generator = torch_generator(0, "contract features")
    labels = torch.arange(images) % spec.classes
    centres = torch.randn(spec.classes, spec.features, generator=generator)
    return TrainingSet(centres[labels] + torch.randn(images, spec.features, generator=generator), labels)


def _all_kinds_of_masks(spec: HeadSpec) -> list[Masks]:
    """Returns masks of all units, of none, of one a layer, of none in the last layer alone, and random ones."""
    generator = torch_generator(0, "contract masks")
    widths = spec.units
    kinds = [
        spec.all_on(),
        tuple(torch.zeros(width, dtype=torch.bool) for width in widths),
        tuple(torch.arange(width) == 0 for width in widths),
        tuple(torch.arange(width) == width - 1 for width in widths),
        (*spec.all_on()[:-1], torch.zeros(widths[-1], dtype=torch.bool)),
    ]
    for density in (0.2, 0.5, 0.8):
        kinds.append(tuple(torch.rand(width, generator=generator) < density for width in widths))
    return kinds


def _tensors(weights: HeadWeights) -> list[Tensor]:
    return [*weights.matrices, *(b for b in weights.biases if b is not None)]
