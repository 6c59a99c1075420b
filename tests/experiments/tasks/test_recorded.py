"""Genotypes that are read off a log decode as those of the problem did, without the network."""

import json

import numpy as np
import pytest

from experiments.tasks.recorded import gene_columns, tunings
from moprune.networks import DigitsNet
from moprune.networks.units import units
from problems.selection import Graded, Importances

NETWORK = DigitsNet(4)


@pytest.mark.parametrize(
    "genotype",
    [
        Importances(units(NETWORK)),
        Importances(units(NETWORK, "block")),
        Graded(NETWORK, units(NETWORK, "block"), ranks=(1, 4), log_rates=(-1.5, 0.5)),
        Graded(NETWORK, units(NETWORK, "block", "split"), ranks=()),
    ],
    ids=lambda genotype: f"{type(genotype).__name__}-{len(genotype.units)}",
)
def test_what_is_recorded_decodes_as_the_genotype_itself(genotype):
    genomes = np.random.default_rng(0).uniform(genotype.lower, genotype.upper, (50, genotype.n_var))
    genomes = np.vstack([genomes, genotype.lower, genotype.upper])
    recorded = json.loads(json.dumps(genotype.describe()))
    expected = [genotype.decode(genome) for genome in genomes]
    assert tunings(recorded, genomes) == expected
    columns = gene_columns(recorded, genomes)
    for unit in genotype.units:
        assert columns[f"rate_{unit.name}"].tolist() == [each.rates[unit.name] for each in expected]
        assert columns[f"grade_{unit.name}"].tolist() == [str(each.grade(unit.name)) for each in expected]
    frozen = columns[[name for name in columns if name.startswith("grade_")]].to_numpy() == "frozen"
    rates = columns[[name for name in columns if name.startswith("rate_")]].to_numpy(float)
    assert ((rates == 0) == frozen).all()
    assert frozen.any()
    assert not frozen.all()
