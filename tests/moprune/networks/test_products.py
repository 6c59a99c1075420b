"""Matrix products by either library are those of float64, in any memory layout, and the same for the same input."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from moprune.networks.products import affine, onednn_affine, plain_affine

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")

SHAPES = [(1, 1, 1), (32, 3, 512), (32, 512, 1024), (512, 32, 2048), (1000, 10, 1280), (7, 0, 5), (0, 4, 3), (4, 3, 0)]


@pytest.mark.parametrize(
    "library", [pytest.param(onednn_affine, marks=needs_onednn), plain_affine], ids=["onednn", "torch"]
)
@pytest.mark.parametrize(("rows", "outputs", "inputs"), SHAPES)
@pytest.mark.parametrize("layout", ["plain", "turned"])
def test_products_are_those_of_float64(rows, outputs, inputs, layout, library):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, inputs, generator=generator)
    weight, bias = torch.randn(outputs, inputs, generator=generator), torch.randn(outputs, generator=generator)
    expected = x.double() @ weight.double().T
    if layout == "turned":
        x, weight = x.T.contiguous().T, weight.T.contiguous().T
    for b, added in ((None, 0), (bias, bias.double())):
        found = library(x, weight, b)
        assert found.shape == (rows, outputs)
        assert torch.allclose(found.double(), expected + added, rtol=0, atol=1e-5 * max(1, inputs) ** 0.5)
        assert torch.equal(found, library(x, weight, b))
        assert torch.equal(found.relu(), library(x, weight, b, relu=True))


@needs_onednn
def test_large_products_of_single_precision_are_onednn_s():
    x, weight = torch.randn(32, 1024), torch.randn(512, 1024)
    assert _by_onednn(lambda: affine(x, weight))
    assert not _by_onednn(lambda: affine(x[:, :10], weight[:, :10]))  # small
    assert not _by_onednn(lambda: affine(x.double(), weight.double()))
    assert not _by_onednn(lambda: affine(x, weight.requires_grad_()).sum().backward())
    assert torch.allclose(weight.grad, x.sum(0).expand(512, -1), atol=1e-4)


def _by_onednn(work):
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        work()
    return any(event.key == "mkldnn::_linear_pointwise" for event in seen.key_averages())
