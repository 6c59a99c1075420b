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

from moprune.testing.algorithms import AlgorithmContract
from moprune.testing.objectives import ObjectiveContract
from moprune.testing.problems import ProblemContract
from moprune.testing.strategies import StrategyContract, reference_fit
from moprune.testing.toy import ToyProblem, toy_problem

__all__ = [
    "AlgorithmContract",
    "ObjectiveContract",
    "ProblemContract",
    "StrategyContract",
    "ToyProblem",
    "reference_fit",
    "toy_problem",
]
