import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from moprune.errors import UsageError
from moprune.networks import cifar_resnet, units
from problems.selection import Graded, Importances, Tuning

NETWORK = cifar_resnet(20)
UNITS = units(NETWORK)
NAMES = [unit.name for unit in UNITS]
IMPORTANCES = Importances(UNITS)
GRADED = Graded(NETWORK, UNITS, ranks=(2, 4))
LIMITS = Graded(NETWORK, UNITS, ranks=(), log_rates=(-1.234567, 0.765432))


def genomes(genotype):
    genes = [st.floats(low, high) for low, high in zip(genotype.lower, genotype.upper, strict=True)]
    return st.tuples(*genes).map(np.array)


@given(genomes(IMPORTANCES))
def test_importances_are_decoded_as_published(genome):
    tuning = IMPORTANCES.decode(genome)
    expected = [math.exp(math.log(100) * (v - 0.5)) if v > genome[-1] else 0 for v in genome[:-1]]
    assert list(tuning.rates.values()) == pytest.approx(expected, rel=1e-12)
    assert list(tuning.rates) == NAMES
    assert not tuning.grades
    assert all(rate == 0 or 0.1 <= rate <= 10 for rate in tuning.rates.values())


def test_importances_by_hand():
    tuning = IMPORTANCES.decode(np.array([0.5, 1.0, 0.25, 0.2, 0.2 + 1e-9, 0.2]))
    assert list(tuning.rates.values()) == pytest.approx([1.0, 10.0, 10**-0.5, 0.0, 10**-0.6])
    assert set(IMPORTANCES.decode(np.ones(6)).rates.values()) == {0.0}
    assert IMPORTANCES.names() == [*(f"importance {name}" for name in NAMES), "threshold"]


@given(genomes(IMPORTANCES))
def test_importances_come_back(genome):
    tuning = IMPORTANCES.decode(genome)
    again = IMPORTANCES.decode(IMPORTANCES.encode(tuning))
    assert again.rates == pytest.approx(tuning.rates, rel=1e-12)
    assert [rate > 0 for rate in again.rates.values()] == [rate > 0 for rate in tuning.rates.values()]


@pytest.mark.parametrize("genotype", [GRADED, LIMITS], ids=["ranks", "odd bounds"])
def test_graded_genomes_come_back_exactly(genotype):
    @given(genomes(genotype))
    def holds(genome):
        tuning = genotype.decode(genome)
        code = genotype.encode(tuning)
        assert (genotype.lower <= code).all()
        assert (code <= genotype.upper).all()
        assert genotype.decode(code) == tuning
        assert (genotype.encode(genotype.decode(code)) == code).all()

    holds()


@given(genomes(GRADED))
def test_grades_and_rates_are_independent(genome):
    tuning = GRADED.decode(genome)
    for i, (unit, offered) in enumerate(GRADED.grades.items()):
        assert tuning.grade(unit) == offered[min(math.floor(genome[i]), 4)]
    assert tuning.grade("linear") == "full"
    for name, gene in zip(NAMES, genome[len(GRADED.grades) :], strict=True):
        if tuning.grade(name) != "frozen":
            assert math.log10(tuning.rates[name]) == pytest.approx(gene, abs=0.005 + 1e-9)
    moved = GRADED.decode(np.concatenate([genome[:4], np.zeros(5)]))
    assert all(moved.grade(name) == tuning.grade(name) for name in NAMES)


def test_grades_are_choices_and_nothing_else_is():
    assert not IMPORTANCES.choices.any()
    assert GRADED.choices.tolist() == [True] * 4 + [False] * 5
    bounds = [(GRADED.lower[i], GRADED.upper[i]) for i in np.flatnonzero(GRADED.choices)]
    assert bounds == [(0, len(offered)) for offered in GRADED.grades.values()]


@given(genomes(GRADED))
def test_the_whole_part_of_a_choice_is_all_that_counts(genome):
    whole = np.minimum(np.floor(genome), GRADED.upper - 1)
    middle = np.where(GRADED.choices, whole + 0.5, genome)
    assert GRADED.decode(middle) == GRADED.decode(genome)


def test_graded_by_hand():
    assert dict(GRADED.grades) == dict.fromkeys(NAMES[:-1], ("frozen", "norms", 2, 4, "full"))
    assert GRADED.n_var == 4 + 5
    assert GRADED.lower.tolist() == [0] * 4 + [-2] * 5
    assert GRADED.upper.tolist() == [5] * 4 + [1] * 5
    tuning = GRADED.decode(np.array([0.99, 1.0, 3.5, 5.0, 1.0, -2.0, 1.0, 0.0, -0.301]))
    rates = dict(zip(NAMES, [0.0, 0.01, 10.0, 1.0, 10**-0.3], strict=True))
    assert tuning == Tuning(rates, {"layer1": "norms", "layer2": 4})
    assert GRADED.names() == [*(f"grade {name}" for name in NAMES[:-1]), *(f"log-rate {name}" for name in NAMES)]


def test_units_offer_what_makes_a_difference():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 9, 3), nn.BatchNorm2d(9), nn.Linear(9, 2))
    assert dict(Graded(network, units(network, "block"), ranks=(3, 8)).grades) == {
        "0": ("frozen", "full"), "1..2": ("frozen", "norms", 3, "full"),
    }  # fmt: skip
    split = Graded(network, units(network, "block", "split"), ranks=(3,))
    assert split.grades["1..2/norms"] == ("frozen", "full")


def test_names_and_descriptions():
    for genotype in (IMPORTANCES, GRADED, LIMITS):
        assert len(set(genotype.names())) == genotype.n_var == len(genotype.lower) == len(genotype.upper)
        assert json.loads(json.dumps(genotype.describe())) == genotype.describe()
    described = [json.dumps(genotype.describe()) for genotype in (IMPORTANCES, GRADED, LIMITS)]
    assert len(set(described)) == 3


def rates(**changed):
    return {**dict.fromkeys(NAMES, 1.0), **changed}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: IMPORTANCES.decode(np.zeros(5)), r"its shape is \(5,\); this genotype has 6 genes"),
        (lambda: IMPORTANCES.decode(np.full(6, np.nan)), "importance conv1..bn1 is nan"),
        (lambda: IMPORTANCES.decode(np.array([0, 0, 0, 0, 0, 1.1])), r"threshold is 1.1; keep it within \[0, 1\]"),
        (lambda: IMPORTANCES.encode(Tuning(rates(layer1=0.09))), "'layer1' is tuned to 'full' at 0.09 times"),
        (lambda: IMPORTANCES.encode(Tuning(rates(layer1=11.0))), "'layer1' is tuned to 'full' at 11 times"),
        (lambda: IMPORTANCES.encode(Tuning(rates(), {"layer1": "norms"})), "'layer1' is tuned to 'norms'"),
        (lambda: IMPORTANCES.encode(Tuning(rates(other=1.0))), "'other' is a unit of the network or the tuning alone"),
        (lambda: GRADED.encode(Tuning(rates(linear=0.0))), "'linear' cannot be tuned to 'frozen'"),
        (lambda: GRADED.encode(Tuning(rates(), {"layer1": 3})), "'layer1' cannot be tuned to 3"),
        (lambda: GRADED.encode(Tuning(rates(layer1=1e-3))), r"the rate of 'layer1' is 10\^-3"),
        (lambda: Graded(NETWORK, UNITS[:-1]), "no unit is the head"),
        (lambda: Graded(NETWORK, UNITS, ranks=(4, 2)), r"ranks \(4, 2\)"),
        (lambda: Graded(NETWORK, UNITS, log_rates=(1.0, 1.0)), "log_rates"),
        (lambda: Importances([]), "give one or more"),
        (lambda: Importances([UNITS[0], UNITS[0]]), "different names"),
    ],
)
def test_what_is_refused(call, said):
    with pytest.raises(UsageError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
