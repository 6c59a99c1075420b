"""Random search: what it begins with, and that it draws nothing twice in a generation."""

import numpy as np
from pymoo.operators.sampling.rnd import FloatRandomSampling
from pymoo.problems import get_problem

from moprune.algorithms import GivenGenomes, RandomSearch


def test_the_first_generation_begins_with_what_is_given_and_later_ones_do_not():
    problem = get_problem("sphere", n_var=3)
    given = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    algorithm = RandomSearch(FloatRandomSampling(), batch=5, first=GivenGenomes(given))
    algorithm.setup(problem, termination=("n_gen", 2), seed=1)
    generations = []
    while algorithm.has_next():
        asked = algorithm.ask()
        generations.append(asked.get("X"))
        algorithm.evaluator.eval(problem, asked)
        algorithm.tell(infills=asked)
    first, second = generations
    assert np.array_equal(first[:2], given)
    assert [len(each) for each in generations] == [5, 5]
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 10
