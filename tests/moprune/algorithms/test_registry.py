"""Every algorithm by name keeps the contract, and what cannot keep it is refused."""

import importlib.util

import numpy as np
import pytest
import torch
from pymoo.algorithms.moo.cmopso import CMOPSO
from pymoo.algorithms.moo.moead import MOEAD
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.operators.crossover.ux import UX
from pymoo.operators.mutation.bitflip import BitflipMutation
from pymoo.operators.sampling.rnd import BinaryRandomSampling, FloatRandomSampling
from pymoo.util.ref_dirs import get_reference_directions

from moprune.algorithms import NAMES, RandomSearch, SizePreservingCrossover, make
from moprune.algorithms.single_objective import ADAPTIVE_DE, SINGLE_OBJECTIVE, UNBOUNDED
from moprune.errors import UsageError
from moprune.fronts import hypervolume
from moprune.log import EvaluationLog
from moprune.objectives import Objective, Outcome
from moprune.problem import SearchProblem
from moprune.search import run_algorithm, search
from moprune.testing import AlgorithmContract, ProblemContract, toy_problem

REAL_ONLY = ("gde3", "nsde", *SINGLE_OBJECTIVE)
BITS_ONLY = ("nsga2_published", "sparseea", "ssga")  # ssga is for one objective: test_steady_state.py
EITHER = tuple(sorted(set(NAMES) - {*REAL_ONLY, *BITS_ONLY}))


class Parabolas(SearchProblem):
    """Real numbers: the mean squared distances to two points."""

    def __init__(self):
        goals = [Objective("f1", "", True, 1.0, first), Objective("f2", "", True, 1.0, second)]
        super().__init__(n_var=3, boolean=False, objectives=goals, xl=[0.0] * 3, xu=[1.0] * 3)

    def outcomes(self, X, splits):
        for x in X:
            costs = {f"x{i}": float(v) for i, v in enumerate(x)}
            outcome = Outcome(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), costs=costs)
            yield {split: [outcome] for split in splits}

    def fingerprint(self):
        return {"problem": "parabolas"}


class Parabola(Problem):
    """One objective; its optimum is at 0.3."""

    def __init__(self, low=0.0, high=1.0):
        super().__init__(n_var=4, n_obj=1, xl=low, xu=high)
        self.first = None

    def _evaluate(self, X, out, *_, **__):
        self.first = X.copy() if self.first is None else self.first
        out["F"] = ((X - 0.3) ** 2).sum(axis=1)


def first(outcome):
    return sum(v**2 for v in outcome.costs.values()) / 3


def second(outcome):
    return sum((v - 0.5) ** 2 for v in outcome.costs.values()) / 3


class TestParabolas(ProblemContract):
    def make_problem(self):
        return Parabolas()


def need_numba(name):
    if name == "agemoea2" and importlib.util.find_spec("numba") is None:
        pytest.skip("agemoea2 needs numba, which is not installed")


class Named(AlgorithmContract):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        need_numba(name)
        self.name = name

    def make_algorithm(self, problem):
        return make(self.name, problem, pop_size=12)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {*REAL_ONLY, "ssga"}))
class TestNamedOnBits(Named):
    pass


@pytest.mark.parametrize("name", sorted(set(NAMES) - {*BITS_ONLY, *SINGLE_OBJECTIVE}))
class TestNamedOnReals(Named):
    def make_problem(self):
        return Parabolas()


@pytest.mark.parametrize("name", sorted(SINGLE_OBJECTIVE))
class TestNamedForOneObjective(Named):
    def make_problem(self):
        return Parabola()


class TestSteadyOffspring(AlgorithmContract):
    def make_algorithm(self, problem):
        return make("nsga2", problem, pop_size=10, n_offsprings=4)


class TestSparseOperators(AlgorithmContract):
    def make_algorithm(self, problem):
        return make("nsga2", problem, pop_size=10, scores=range(problem.n_var))


class TestRandomSearch(AlgorithmContract):
    def make_algorithm(self, problem):
        return RandomSearch(batch=9)


class TestRandomSearchOnReals(AlgorithmContract):
    def make_problem(self):
        return Parabolas()

    def make_algorithm(self, problem):
        return RandomSearch(sampling=FloatRandomSampling(), batch=9)


class TestPlainPymoo(AlgorithmContract):
    def make_algorithm(self, problem):
        operators = {"sampling": BinaryRandomSampling(), "crossover": UX(), "mutation": BitflipMutation()}
        return NSGA2(pop_size=12, **operators)


@pytest.mark.parametrize("name", ["nsga2", "nsga3", "smsemoa", "spea2", "rvea", "moead"])
def test_algorithms_find_the_front_of_the_toy_problem(name):
    problem = toy_problem(8)
    with EvaluationLog() as log:
        run = search(problem, make(name, problem, pop_size=16), n_eval=400, seed=1, log=log)
        F = problem.minimised(run.history()[["leading_ones_search", "trailing_zeros_search"]].to_numpy())
        best = hypervolume(problem.minimised(problem.values(problem.optimum())[:, 0]), problem.objectives)
        assert hypervolume(F, problem.objectives) > 0.8 * best
        front = run.front(splits=("search",))
        assert len(front) == len(run.front_index())


@pytest.mark.parametrize("name", EITHER)
def test_every_name_takes_sparse_operators_and_scores(name):
    need_numba(name)
    problem = toy_problem(20)
    asked = []
    for scores in (None, range(20)):
        with EvaluationLog() as log:
            algorithm = make(name, problem, pop_size=12, operators="sparse", scores=scores)
            run_algorithm(problem, algorithm, n_eval=60, seed=1, log=log)
            table, genomes = log.history("search", 1)
        assert (table["generation"] == 0).sum() == 12
        assert len(np.unique(genomes, axis=0)) > 30
        assert genomes[0].all()
        asked.append(genomes)
    assert np.flatnonzero(asked[1][1]).tolist() == [19]  # the best single bit


def test_scores_alone_mean_sparse_operators():
    kinds = [
        type(make("nsga2", toy_problem(), operators=operators, scores=scores).mating.crossover)
        for operators, scores in ((None, None), ("uniform", None), ("sparse", None), (None, np.zeros(12)))
    ]
    assert kinds == [UX, UX, SizePreservingCrossover, SizePreservingCrossover]


def test_the_first_population_on_bits_has_the_unpruned_network():
    problem = toy_problem()
    with EvaluationLog() as log:
        run = search(problem, make("nsga2", problem, pop_size=10), n_eval=10, seed=3, log=log)
        assert run.genomes()[0].all()


def test_random_search_draws_distinct_genomes_of_its_batch():
    with EvaluationLog() as log:
        run_algorithm(Parabolas(), RandomSearch(FloatRandomSampling(), batch=7), n_eval=21, seed=0, log=log)
        table, genomes = log.history("search", 0)
    assert table["generation"].tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert len(np.unique(genomes, axis=0)) == 21


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nsga", {}, "did you mean 'nsga"),
        ("gde3", {}, "cannot search bits"),
        ("nsde", {}, "cannot search bits"),
        ("nsga2", {"pop_size": 3}, "pop_size must be >= 4"),
        ("nsga2", {"n_offsprings": 1}, "scored as a batch"),
        ("moead", {"n_offsprings": 5}, "takes no n_offsprings"),
        ("nsga2", {"operators": "sparce"}, "did you mean 'sparse'"),
        ("nsga2", {"operators": "uniform", "scores": [0.0] * 12}, "uniform operators take no scores"),
        ("nsga2", {"scores": [0.0] * 11}, r"of shape \(12,\), not \(11,\)"),
        ("nsga2", {"scores": [np.inf] * 12}, "bit 0 is not finite"),
        ("nsga2_published", {"operators": "sparse"}, "takes neither operators nor scores"),
        ("sparseea", {"scores": [0.0] * 12}, "takes neither operators nor scores"),
    ],
)
def test_what_cannot_be_made_is_refused(name, options, message):
    with pytest.raises(UsageError, match=message):
        make(name, toy_problem(), **options)


@pytest.mark.parametrize("name", BITS_ONLY)
def test_what_searches_bits_is_refused_for_numbers(name):
    with pytest.raises(UsageError, match=r"searches bits, not real numbers; use one of: .*nsga2,"):
        make(name, Parabolas())


def test_numbers_take_no_operators_for_bits():
    with pytest.raises(UsageError, match="takes neither operators nor scores"):
        make("nsga2", Parabolas(), operators="sparse")


def test_agemoea2_without_numba_says_what_to_install():
    if importlib.util.find_spec("numba") is not None:
        pytest.skip("numba is installed")
    with pytest.raises(UsageError, match="pip install numba"):
        make("agemoea2", toy_problem())


@pytest.mark.parametrize("name", sorted(SINGLE_OBJECTIVE))
def test_every_search_for_one_objective_approaches_the_optimum(name):
    problem = Parabola()
    with EvaluationLog() as log:
        start = run_algorithm(problem, make(name, problem, pop_size=10), n_eval=10, seed=2, log=log).opt[0].F[0]
    with EvaluationLog() as log:
        end = run_algorithm(problem, make(name, problem, pop_size=10), n_eval=400, seed=2, log=log).opt[0].F[0]
    assert end < 0.1 * start


@pytest.mark.parametrize("name", UNBOUNDED)
def test_without_bounds_all_first_members_have_to_be_given(name):
    problem = Parabola(-np.inf, np.inf)
    rows = np.random.default_rng(0).normal(size=(8, 4))
    with EvaluationLog() as log:
        end = run_algorithm(problem, make(name, problem, pop_size=8, first=rows), n_eval=80, seed=2, log=log)
        np.testing.assert_array_equal(problem.first, rows)
        assert end.opt[0].F[0] <= ((rows - 0.3) ** 2).sum(axis=1).min()
        with pytest.raises(UsageError, match="1 of 9 first members"):
            run_algorithm(problem, make(name, problem, pop_size=9, first=rows), n_eval=80, seed=2, log=log)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {*BITS_ONLY, *UNBOUNDED}))
def test_what_needs_a_box_says_so(name):
    with pytest.raises(UsageError, match=r"needs finite bounds; .*use one of: sade, "):
        make(name, Parabola(-np.inf, np.inf))


@pytest.mark.parametrize("name", sorted(ADAPTIVE_DE))
def test_differential_evolution_crosses_over_whole_blocks(name):
    problem = Parabola()
    blocks = np.array([0, 0, 1, 1])
    algorithm = make(name, problem, pop_size=8, blocks=blocks)
    assert algorithm.crossover.blocks is blocks
    algorithm.setup(problem, termination=("n_eval", 100), seed=1)
    algorithm.next()
    changed = algorithm.pop.get("X") != algorithm.ask().get("X")
    assert changed.any()
    assert not changed.all()
    assert (changed[:, 0] == changed[:, 1]).all()
    assert (changed[:, 2] == changed[:, 3]).all()


@pytest.mark.parametrize("name", sorted(SINGLE_OBJECTIVE))
def test_what_is_for_one_objective_names_those_for_several(name):
    with pytest.raises(UsageError, match=r"one objective and the problem has 2; use one of: .*gde3, .*nsga2, "):
        make(name, Parabolas())


@pytest.mark.parametrize("name", ["moead", "nsga3", "rvea"])
def test_reference_directions_need_several_objectives(name):
    with pytest.raises(UsageError, match="several objectives"):
        make(name, Parabola())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bat", {"blocks": np.zeros(4, int)}, "takes no blocks; use one of: sade"),
        ("jade", {"n_offsprings": 8}, "takes no n_offsprings"),
        ("jade", {"operators": "sparse"}, "takes neither operators nor scores"),
        ("sa_shad", {}, "did you mean 'sa_shade'"),
        ("jade", {"first": np.zeros((9, 4)), "pop_size": 8}, "9 first members"),
        ("jade", {"first": np.full((1, 4), 2.0)}, "row 0"),
        ("jade", {"first": np.zeros((1, 3))}, "row 0"),
        ("pso", {"first": np.zeros((1, 3))}, "row 0"),
    ],
)
def test_options_that_do_not_suit_real_numbers_are_refused(name, options, message):
    problem = Parabola()
    with EvaluationLog() as log, pytest.raises(UsageError, match=message):
        run_algorithm(problem, make(name, problem, **options), n_eval=20, seed=1, log=log)


def test_bits_take_no_first_members():
    with pytest.raises(UsageError, match="leave out first"):
        make("nsga2", toy_problem(), first=np.zeros((1, 12)))


def refused(problem, algorithm, message):
    with EvaluationLog() as log, pytest.raises(UsageError, match=message):
        run_algorithm(problem, algorithm, n_eval=50, seed=1, log=log)


def test_algorithms_that_cannot_be_batched_or_repeated_are_refused():
    refused(toy_problem(), MOEAD(get_reference_directions("uniform", 2, n_partitions=9)), "one candidate at a time")
    refused(Parabolas(), CMOPSO(pop_size=10), "does not repeat itself")


def test_one_candidate_at_a_time_is_refused_early():
    algorithm = make("nsga2", Parabolas(), pop_size=6)
    algorithm.n_offsprings = 1
    refused(Parabolas(), algorithm, "one candidate at a time 20 times in a row")


def test_float_operators_on_bits_are_refused():
    refused(toy_problem(), NSGA2(pop_size=10), "boolean genomes, not float64")


def test_bit_operators_on_floats_are_refused():
    refused(Parabolas(), RandomSearch(batch=10), "bool")


def test_an_algorithm_that_has_run_is_refused():
    algorithm = make("nsga2", toy_problem(), pop_size=8)
    algorithm.setup(toy_problem(), termination=("n_eval", 8), seed=1)
    algorithm.next()
    refused(toy_problem(), algorithm, "already run")


def test_a_search_leaves_the_algorithm_it_is_given_fresh():
    problem = toy_problem()
    algorithm = make("nsga2", problem, pop_size=8)
    with EvaluationLog() as log:
        runs = [search(problem, algorithm, n_eval=24, seed=seed, log=log) for seed in (1, 2, 1)]
        assert runs[0].history().equals(runs[2].history())
