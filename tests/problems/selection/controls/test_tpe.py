"""TPE over the search's genome."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moprune.networks import DigitsNet, units
from problems.selection import Graded, Importances
from problems.selection.controls import points
from problems.selection.controls.tpe import genome_of, values_of

pytest.importorskip("optuna")

NETWORK = DigitsNet(3, width=4, seed=1)
GENOTYPES = [Graded(NETWORK, units(NETWORK, "block"), ranks=(1, 2)), Importances(units(NETWORK, "block"))]


@pytest.mark.parametrize("genotype", GENOTYPES, ids=["graded", "importances"])
def test_values_stand_for_the_same_tuning(genotype):
    @given(st.tuples(*(st.floats(a, b) for a, b in zip(genotype.lower, genotype.upper, strict=True))).map(np.array))
    def holds(genome):
        values = values_of(genotype, genome)
        assert list(values) == genotype.names()
        assert genotype.decode(genome_of(genotype, values)) == genotype.decode(genome)
        grades = [value for name, value in values.items() if name.startswith("grade")]
        assert all(isinstance(value, int) for value in grades)

    holds()


@pytest.mark.parametrize("genotype", GENOTYPES, ids=["graded", "importances"])
def test_it_is_no_worse_than_where_it_starts(make_setting, genotype):
    setting = make_setting(candidates=12, genotype=genotype, epochs=1)
    problem, (point,) = setting.problem, points("tpe", setting)
    starts = problem.values(problem.first_population(6))[:, 0, 0]
    assert problem.losses([point.fitted])[0] <= starts.min()
    # A genome of importances may select nothing, and costs nothing then.
    assert 0.5 * setting.budget <= point.images <= setting.budget
    number = int(point.name.removeprefix("evaluation "))
    assert 1 <= number <= 12


def test_draws_follow_the_seed(make_setting):
    setting = make_setting(candidates=6, epochs=1)
    assert points("tpe", setting)[0].name == points("tpe", setting)[0].name
