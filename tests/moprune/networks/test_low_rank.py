import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from moprune.errors import UsageError
from moprune.networks import Factors, factor_shapes, merged
from moprune.seeding import torch_generator


def test_a_convolution_is_one_to_few_channels_and_back():
    """What PEFT libraries compute for a convolution: k x k filters to r channels, 1 x 1 filters behind them."""
    generator = torch_generator(0, "low rank")
    layer = nn.Conv2d(3, 8, 3, padding=1, bias=False).double()
    up, down = (torch.randn(size, generator=generator).double() for size in factor_shapes(layer.weight.shape, 2))
    images = torch.randn(2, 3, 5, 5, generator=generator).double()
    narrow = nn.functional.conv2d(images, down.view(2, 3, 3, 3), padding=1)
    expected = layer(images) + nn.functional.conv2d(narrow, up.view(8, 2, 1, 1))
    weight = merged(layer.weight, Factors(up, down))
    torch.testing.assert_close(nn.functional.conv2d(images, weight, padding=1), expected)


@given(st.lists(st.integers(1, 9), max_size=4), st.integers(1, 5))
def test_factors_are_used_where_they_are_smaller(shape, rank):
    found = factor_shapes(shape, rank)
    if len(shape) < 2:
        assert found is None
        return
    sizes = [shape[0] * rank, rank * int(np.prod(shape[1:]))]
    assert (found is not None) == (sum(sizes) < np.prod(shape))
    if found is not None:
        assert [int(np.prod(size)) for size in found] == sizes


def test_gradients_reach_the_factors_alone():
    base, up, down = torch.zeros(3, 2), torch.ones(3, 1, requires_grad=True), torch.ones(1, 2, requires_grad=True)
    result = merged(base, Factors(up, down))
    assert result.dtype == torch.float32
    result.sum().backward()
    assert up.grad.tolist() == [[2.0]] * 3
    assert down.grad.tolist() == [[3.0, 3.0]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="rank is 0"):
        factor_shapes((3, 3), 0)
    for up, down in [((3, 1), (2, 4)), ((2, 1), (1, 4)), ((3, 1), (1, 5)), ((3,), (1, 4))]:
        with pytest.raises(UsageError, match="do not fit a tensor"):
            merged(torch.zeros(3, 2, 2), Factors(torch.zeros(up), torch.zeros(down)))
