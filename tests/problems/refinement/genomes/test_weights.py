import numpy as np
import pytest
import torch

from moprune.errors import UsageError
from problems.refinement.genomes import Weights


def test_variables_are_the_weights_in_the_networks_order(network):
    genotype = Weights(network, ["norms", "stem.0"], delta=0.25)
    own = network.state_dict()
    assert genotype.changed == ("stem.0.weight", "stem.1.weight", "stem.1.bias")
    expected = torch.cat([own[name].reshape(-1) for name in genotype.changed]).double().numpy()
    assert np.array_equal(genotype.start, expected)
    np.testing.assert_array_equal(genotype.lower, expected - 0.25)
    np.testing.assert_array_equal(genotype.upper, expected + 0.25)
    genome = genotype.start.copy()
    at = genotype.names().index("stem.0.weight[2,1,0,2]")
    genome[at] = 7
    own["stem.0.weight"] = own["stem.0.weight"].clone()
    own["stem.0.weight"][2, 1, 0, 2] = 7
    assert all(torch.equal(tensor, own[name]) for name, tensor in genotype.weights(genome).items())


def test_blocks_are_filters_and_whole_vectors(network):
    genotype = Weights(network, ["stem", "scale"])
    of = dict(zip(genotype.names(), genotype.blocks.tolist(), strict=True))
    assert [of[f"stem.0.weight[{i},1,2,2]"] for i in range(4)] == [of[f"stem.0.weight[{i},0,0,0]"] for i in range(4)]
    assert len({of[f"stem.0.weight[{i},0,0,0]"] for i in range(4)}) == 4
    assert len({of[f"stem.1.bias[{i}]"] for i in range(4)}) == 1
    assert len(set(of.values())) == 4 + 3


def test_no_bounds(network):
    genotype = Weights(network, ["all"])
    assert np.isneginf(genotype.lower).all()
    assert np.isposinf(genotype.upper).all()
    assert genotype.genome({"scale": torch.tensor(1e6)})[genotype.names().index("scale[]")] == 1e6


def test_each_weight_is_cut_at_its_own_side_of_the_box(network):
    genotype = Weights(network, ["fc"], delta=0.5)
    weight = network.fc.weight.detach().clone()
    weight[0, 0] += 9
    weight[4, 2] -= 9
    weight[1, 1] += 0.25
    expected = genotype.start.copy()
    expected[[0, 4, 14]] += [0.5, 0, -0.5]
    expected[4] = float(weight[1, 1])
    assert np.array_equal(genotype.genome({"fc.weight": weight}), expected)


@pytest.mark.parametrize("delta", [0, -1, float("inf"), float("nan")])
def test_a_box_without_room_is_refused(delta, network):
    with pytest.raises(UsageError, match="delta is"):
        Weights(network, ["all"], delta)
