"""The contract of problems."""

import copy
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moprune.algorithms import make
from moprune.problem import Genomes, SearchProblem
from moprune.seeding import numpy_generator
from moprune.testing.checks import gap, global_random_states_kept, refused
from moprune.testing.processes import in_another_process

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
        table = problem.assess(X[:1], self.splits)
        assert list(table) == [
            f"{o.name}_{split}" for o in (*problem.objectives, *problem.reported) for split in self.splits
        ], "assess must return a column <objective>_<split> for each objective and report, and each split"
        assert np.isfinite(table.to_numpy()).all(), "what is reported is not finite"

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
        elsewhere = in_another_process(problem, X, type(self))
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
        with global_random_states_kept("the problem"):
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
        refused("genomes of a wrong length", problem.values, np.concatenate([X, X[:, :1]], axis=1))
        if problem.boolean:
            refused("float genomes on bits", problem.values, X.astype(np.float64))
            refused("integer genomes on bits", problem.values, X.astype(np.int64))
        else:
            refused("genomes with NaN", problem.values, np.full_like(X, np.nan))
            refused("bit genomes on floats", problem.values, X > 0)

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
            assert np.array_equal(first, second), f"{what}: not the same bit for bit ({gap(first, second)})"
        else:
            close = np.allclose(first, second, rtol=0, atol=self.tolerance)
            assert close, f"{what}: differ by more than {self.tolerance} ({gap(first, second)})"
