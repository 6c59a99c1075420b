import numpy as np
import pytest
import torch

from moprune.errors import UsageError
from moprune.networks import state_of
from problems.refinement.genomes import Mixing


@pytest.fixture(params=["network", "stage", "layer"])
def genotype(network, members, request):
    return Mixing(network, members, per=request.param)


def of_all(genotype, coefficients):
    return np.tile(np.asarray(coefficients, dtype=np.float64), genotype.n_var // len(coefficients))


def test_a_unit_vector_is_a_member_value_for_value(genotype, members):
    for k, member in enumerate(members):
        genome = of_all(genotype, np.eye(3)[k])
        state = genotype.weights(genome)
        assert all(torch.equal(tensor, member[name]) for name, tensor in state.items())
        assert np.array_equal(genotype.genome(member), genome)


def test_tiny_members_of_large_weights_are_themselves_too():
    network = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(network.weight, 1e8)
    member = {"weight": torch.tensor([[1e-12, -3e8]])}
    assert torch.equal(Mixing(network, [member]).weights(np.ones(1))["weight"], member["weight"])


def test_equal_shares_are_the_uniform_soup(genotype, members):
    state = genotype.weights(of_all(genotype, [1 / 3] * 3))
    for name, tensor in state.items():
        mean = torch.stack([member[name].double() for member in members]).mean(0)
        torch.testing.assert_close(tensor, mean.float(), rtol=2e-7, atol=1e-7)


def test_running_statistics_mix_and_counters_do_not(genotype):
    assert {"stem.1.running_mean", "stem.1.running_var"} <= set(genotype.changed)
    assert "stem.1.num_batches_tracked" not in genotype.changed


def test_variances_beyond_the_members_do_not_fall_below_zero(network, members):
    shrunk = [{**members[0], "stem.1.running_var": 0.1 * network.get_buffer("stem.1.running_var")}]
    genotype = Mixing(network, shrunk, high=3.0)
    variance = genotype.weights(np.array([3.0]))["stem.1.running_var"]
    assert (variance == 0).all()
    half = genotype.weights(np.array([0.5]))["stem.1.running_var"]
    torch.testing.assert_close(half, 0.55 * network.get_buffer("stem.1.running_var"))


def test_each_group_has_its_own_coefficients(network, members):
    expected = {
        "stage": ["stem", "body", "fc"],
        "layer": ["stem.0", "stem.1", "body.0", "body.2", "fc"],
    }
    own = state_of(network)
    for per, groups in expected.items():
        genotype = Mixing(network, members, per=per)
        assert genotype.names() == [f"{group} member {k}" for group in groups for k in (1, 2, 3)]
        assert genotype.blocks.tolist() == np.repeat(range(len(groups)), 3).tolist()
        genome = genotype.start.copy()
        genome[-2] = 1
        state = genotype.weights(genome)
        for name, tensor in state.items():
            assert torch.equal(tensor, members[1][name] if name.startswith("fc.") else own[name])
    assert Mixing(network, members).blocks is None


def test_least_squares_is_numpys(network, members):
    genotype = Mixing(network, members, low=-9, high=9)
    own = state_of(network)
    target = {name: tensor + 0.3 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0))
              for name, tensor in own.items()}  # fmt: skip

    def move(state):
        return np.concatenate([(state[n].double() - own[n].double()).reshape(-1).numpy() for n in genotype.changed])

    matrix = np.stack([move(member) for member in members], 1)
    expected = np.linalg.lstsq(matrix, move(target), rcond=None)[0]
    np.testing.assert_allclose(genotype.genome(target), expected, atol=1e-9)


def test_members_that_nearly_agree_are_still_told_apart(network, members):
    near = {name: tensor + 1e-6 * members[1][name] for name, tensor in members[0].items()}
    genotype = Mixing(network, [members[0], near], low=-1)
    target = {name: 0.25 * tensor.double() + 0.75 * near[name].double() for name, tensor in members[0].items()}
    np.testing.assert_allclose(genotype.genome(target), [0.25, 0.75], atol=1e-7)


def test_in_a_group_of_few_weights_members_are_still_themselves(network, members):
    few = [{"scale": torch.tensor(value)} for value in (1.7, 1.9)]
    genotype = Mixing(network, few)
    assert [genotype.genome(member).tolist() for member in few] == [[1, 0], [0, 1]]


def test_the_same_member_twice_gets_the_least_norm(network, members):
    genotype = Mixing(network, [members[0], members[0]])
    np.testing.assert_allclose(genotype.genome(genotype.weights(np.array([0.5, 0]))), [0.25, 0.25], atol=1e-6)
    assert np.array_equal(genotype.genome(members[0]), [1, 0])


def test_what_no_member_changed_is_not_changed(network, members):
    own = state_of(network)
    head = {name: members[0][name] if name.startswith("fc.") else tensor for name, tensor in own.items()}
    assert Mixing(network, [head, own]).changed == ("fc.weight", "fc.bias")
    assert Mixing(network, [{"fc.bias": members[0]["fc.bias"]}]).changed == ("fc.bias",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda own: [], "at least one"),
        (lambda own: [own], "no member differs"),
        (lambda own: [{"fc.wight": own["fc.weight"]}], "fc.wight is not the network's"),
        (lambda own: [own, {"fc.bias": own["fc.weight"]}], "member 2: fc.bias is not"),
        (lambda own: [{"fc.bias": own["fc.bias"] / 0}], "not finite"),
    ],
)
def test_members_that_do_not_fit_are_refused(change, words, network):
    with pytest.raises(UsageError, match=words):
        Mixing(network, change(state_of(network)))


@pytest.mark.parametrize(("low", "high"), [(0.1, 1), (0, 0.9), (float("-inf"), 1), (0, float("nan"))])
def test_bounds_that_leave_out_start_or_members_are_refused(low, high, network, members):
    with pytest.raises(UsageError, match="give bounds around"):
        Mixing(network, members, low=low, high=high)


def test_an_unknown_grain_is_refused(network, members):
    with pytest.raises(UsageError, match="did you mean 'layer'"):
        Mixing(network, members, per="layers")
