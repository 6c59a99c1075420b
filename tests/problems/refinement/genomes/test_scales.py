import numpy as np
import pytest
import torch
from torch import nn

from moprune.errors import UsageError
from problems.refinement.genomes import Scales


def genome_of(genotype, **values):
    genome = genotype.start.copy()
    names = genotype.names()
    for name, value in values.items():
        genome[names.index(name.replace("__", " ").replace("_", ".", 1))] = value
    return genome


def test_a_tensor_is_stretched_and_shifted_by_its_standard_deviation(network):
    genotype = Scales(network, ["fc"], per="tensor", spread=1)
    assert genotype.names() == ["fc.weight scale", "fc.weight shift", "fc.bias scale", "fc.bias shift"]
    state = genotype.weights(np.array([0.5, -0.25, 0, 0]))
    own = network.fc.weight.detach().numpy().astype(np.float64)
    np.testing.assert_allclose(state["fc.weight"].numpy(), 1.5 * own - 0.25 * own.std(), rtol=1e-6)
    assert torch.equal(state["fc.bias"], network.fc.bias)


def test_a_filter_is_stretched_and_shifted_by_its_own(network):
    genotype = Scales(network, ["stem.0"], per="filter", spread=1)
    genome = genotype.start.copy()
    genome[genotype.names().index("stem.0.weight[2] scale")] = -0.5
    genome[genotype.names().index("stem.0.weight[3] shift")] = 1
    changed = genotype.weights(genome)["stem.0.weight"].numpy()
    own = network.stem[0].weight.detach().numpy().astype(np.float64)
    expected = own.copy()
    expected[2] *= 0.5
    expected[3] += own[3].std()
    np.testing.assert_allclose(changed, expected, rtol=1e-6)
    assert list(genotype.blocks) == [0, 1, 2, 3, 0, 1, 2, 3]


def test_an_element_of_a_vector_has_a_shift_alone(network):
    genotype = Scales(network, ["fc.bias"], per="filter", spread=1)
    assert genotype.names() == [f"fc.bias[{i}] shift" for i in range(5)]
    own = network.fc.bias.detach().double().numpy()
    changed = genotype.weights(np.array([1, 0, 0, 0, -1.0]))["fc.bias"].numpy()
    np.testing.assert_allclose(changed - own, own.std() * np.array([1, 0, 0, 0, -1]), atol=1e-6)


@pytest.mark.parametrize(("value", "unit"), [(0.0, 1.0), (-4.0, 4.0)])
@pytest.mark.parametrize("per", ["tensor", "filter"])
def test_equal_weights_move_by_their_size_or_by_one(per, value, unit):
    network = nn.BatchNorm1d(3)
    nn.init.constant_(network.bias, value)
    genotype = Scales(network, ["bias"], per=per, spread=1)
    assert genotype.n_var == (1 if per == "tensor" else 3)
    np.testing.assert_allclose(genotype.weights(genotype.upper)["bias"].numpy(), value + unit)


def test_an_unknown_grain_is_refused(network):
    with pytest.raises(UsageError, match="did you mean 'filter'"):
        Scales(network, ["all"], per="filters")
