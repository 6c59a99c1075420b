import pytest
import torch
from torch.nn import functional

from moprune.errors import UsageError
from moprune.networks import cifar_resnet, parameters


@pytest.mark.parametrize(("depth", "count"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018)])
def test_parameter_counts_are_the_published_ones(depth: int, count: int) -> None:
    assert parameters(cifar_resnet(depth)) == count


@pytest.mark.parametrize("size", [32, 33, 8])
def test_logits_for_any_size(size: int) -> None:
    network = cifar_resnet(20, num_classes=7, in_channels=1).eval()
    assert network(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_forward_is_that_of_the_reference_implementation() -> None:
    """Written out from akamaster/pytorch_resnet_cifar10's resnet.py, on the state dict alone."""
    network = cifar_resnet(20, seed=3).eval()
    state = network.state_dict()
    for name, value in state.items():  # batch normalisation must not be the identity here
        if name.endswith(("running_var", "bn1.weight", "bn2.weight")):
            value.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))

    def bn(x: torch.Tensor, name: str) -> torch.Tensor:
        values = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *values)

    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    x = bn(functional.conv2d(images, state["conv1.weight"], padding=1), "bn1").relu()
    for stage in (1, 2, 3):
        for block in range(3):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = functional.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            out = functional.conv2d(bn(out, f"{name}.bn1").relu(), state[f"{name}.conv2.weight"], padding=1)
            if stride == 2:
                quarter = out.shape[1] // 4
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))
            x = (bn(out, f"{name}.bn2") + x).relu()
    logits = functional.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"])
    torch.testing.assert_close(network(images), logits)


def test_weights_come_from_the_seed_alone() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (cifar_resnet(20, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    std = first["layer3.2.conv2.weight"].std()  # Kaiming: sqrt(2 / fan-in)
    assert std == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(UsageError, match="depth 18 is not known"):
        cifar_resnet(18)
    with pytest.raises(UsageError, match="num_classes is 0"):
        cifar_resnet(20, num_classes=0)
