import numpy as np
import pytest
from torch import nn

from moprune.networks import DigitsNet, cifar_resnet, units
from problems.selection import Graded, Importances, trained
from problems.selection.anchors import anchors, of_norms, of_rank, of_units

NETWORK = cifar_resnet(20)
UNITS = units(NETWORK)  # conv1 with bn1, layer1, layer2, layer3, linear
NAMES = [unit.name for unit in UNITS]
STEM, ONE, TWO, THREE, HEAD = NAMES
GRADED = Graded(NETWORK, UNITS, ranks=(2, 4))


def shown(tuning):
    return {name: (tuning.grade(name), round(rate, 6)) for name, rate in tuning.rates.items() if rate}


def test_graded_anchors_by_hand():
    body = NAMES[:-1]

    def full(*chosen, rate=1.0):
        return dict.fromkeys([*chosen, HEAD], ("full", rate))

    def graded(grade):
        return {**dict.fromkeys(body, (grade, 1.0)), HEAD: ("full", 1.0)}

    assert [(name, shown(tuning)) for name, tuning in anchors(NETWORK, UNITS, GRADED)] == [
        ("head alone", full()),
        ("norms", graded("norms")),
        ("everything at 1", full(*body)),
        ("everything at 0.1", full(*body, rate=0.1)),
        ("everything at 0.01", full(*body, rate=0.01)),
        ("last 1", full(THREE)),
        ("last 2", full(TWO, THREE)),
        ("last 3", full(ONE, TWO, THREE)),
        ("first 1", full(STEM)),
        ("first 2", full(STEM, ONE)),
        # the first and the last alone are there already
        (f"{ONE} alone", full(ONE)),
        (f"{TWO} alone", full(TWO)),
        ("rank 2", graded(2)),
        ("rank 4", graded(4)),
    ]


def test_importances_have_neither_grades_nor_small_rates():
    found = dict(anchors(NETWORK, UNITS, Importances(UNITS)))
    # A hundredth of the rate is a tenth at least, which is there already.
    assert [name for name in found if "everything" in name] == ["everything at 1", "everything at 0.1"]
    assert not any(name.startswith(("norms", "rank")) for name in found)
    assert found["everything at 0.1"].rates == pytest.approx(dict.fromkeys(NAMES, 0.1))
    assert all(tuning.rates[HEAD] > 0 for tuning in found.values())


@pytest.mark.parametrize(
    "network",
    [NETWORK, DigitsNet(5), nn.Sequential(nn.Flatten(), nn.Linear(64, 5))],
    ids=["resnet", "digits", "linear"],
)
@pytest.mark.parametrize("parts", ["whole", "split"])
@pytest.mark.parametrize("log_rates", [(-2.0, 1.0), (-0.5, -0.2), (0.3, 1.0)])
def test_each_anchor_is_a_genome_of_its_own(network, parts, log_rates):
    own = units(network, parts=parts)
    for genotype in (Graded(network, own, (1, 4), log_rates), Importances(own)):
        found = anchors(network, own, genotype)
        genomes = np.array([genotype.encode(tuning) for _, tuning in found])
        assert len(np.unique(genomes, axis=0)) == len(found) == len({name for name, _ in found})
        assert all(genotype.decode(genome) == tuning for genome, (_, tuning) in zip(genomes, found, strict=True))
        assert found[0][0] == "head alone"


def test_split_units_of_norms_need_no_grade():
    own = units(NETWORK, parts="split")
    tuning = dict(anchors(NETWORK, own, Importances(own)))["norms"]
    whole, ranks = trained(NETWORK, own, tuning)
    norms = {name for name, _ in NETWORK.named_parameters() if "bn" in name or "downsample.1" in name}
    assert set(whole) == norms | {"linear.weight", "linear.bias"}
    assert not ranks


def test_what_tunings_train():
    everything = {name for name, _ in NETWORK.named_parameters()}
    head = {"linear.weight", "linear.bias"}
    assert set(trained(NETWORK, UNITS, of_units(UNITS, [ONE], 0.5))[0]) == head | set(UNITS[1].parameters)
    assert set(trained(NETWORK, UNITS, of_norms(NETWORK, UNITS))[0]) == head | {n for n in everything if "bn" in n}
    whole, ranks = trained(NETWORK, UNITS, of_rank(NETWORK, UNITS, 4))
    assert {*whole, *ranks} == everything
    assert head <= set(whole)
    assert all("conv" in name for name in ranks)
    # Of rank 100 no factors are smaller than the tensor.
    assert of_rank(NETWORK, UNITS, 100) == of_units(UNITS, NAMES)
