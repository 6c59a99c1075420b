"""Matrix products by either library are those of float64, in any memory layout, and the same for the same input."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from moprune.networks.products import onednn_product, plain_product, product

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")

SHAPES = [(1, 1, 1), (32, 3, 512), (32, 512, 1024), (512, 32, 2048), (1000, 10, 1280), (7, 0, 5), (0, 4, 3), (4, 3, 0)]


@pytest.mark.parametrize(
    "library", [pytest.param(onednn_product, marks=needs_onednn), plain_product], ids=["onednn", "torch"]
)
@pytest.mark.parametrize(("n", "m", "k"), SHAPES)
@pytest.mark.parametrize("layout", ["plain", "turned"])
def test_products_are_those_of_float64(n, m, k, layout, library):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(n, k, generator=generator), torch.randn(k, m, generator=generator)
    of_columns, of_rows = torch.randn(m, generator=generator), torch.randn(n, 1, generator=generator)
    expected = a.double() @ b.double()
    if layout == "turned":
        a, b = a.T.contiguous().T, b.T.contiguous().T
    for bias, added in ((None, 0), (of_columns, of_columns.double()), (of_rows, of_rows.double())):
        found = library(a, b, bias)
        assert found.shape == (n, m)
        assert torch.allclose(found.double(), expected + added, rtol=0, atol=1e-5 * max(1, k) ** 0.5)
        assert torch.equal(found, library(a, b, bias))
        assert torch.equal(found.relu(), library(a, b, bias, relu=True))


@needs_onednn
def test_large_products_of_single_precision_are_onednn_s():
    a, b = torch.randn(32, 1024), torch.randn(1024, 512)
    assert _by_onednn(lambda: product(a, b))
    assert not _by_onednn(lambda: product(a[:, :10], b[:10]))  # small
    assert not _by_onednn(lambda: product(a.double(), b.double()))
    assert not _by_onednn(lambda: product(a, b.requires_grad_()).sum().backward())
    assert torch.allclose(b.grad, a.sum(0)[:, None].expand(-1, 512), atol=1e-4)


def _by_onednn(work):
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        work()
    return any(event.key == "mkldnn::_linear_pointwise" for event in seen.key_averages())
