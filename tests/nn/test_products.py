"""Convolutions as products give what torch's convolutions give."""

import pytest
import torch
from torch import nn

from descant.nn.products import ConvProduct, ConvTransposeProduct


@torch.no_grad()
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(1, 1, 1), (7, 1, 1), (3, 1, 4), (8, 4, 1), (7, 4, 1), (5, 2, 3)]
)
@pytest.mark.parametrize(("channels_in", "channels_out"), [(1, 3), (32, 1), (16, 24)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_product_is_the_convolution(kernel, stride, dilation, channels_in, channels_out, has_bias):
    conv = nn.Conv1d(channels_in, channels_out, kernel, stride, dilation=dilation, bias=has_bias)
    product = ConvProduct(conv)
    for length in (dilation * (kernel - 1) + 1, 40, 41):
        values = torch.randn(2, channels_in, length)
        torch.testing.assert_close(product(values.mT).mT, conv(values), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (4, 2), (10, 5), (5, 5), (11, 2)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_product_is_the_transposed_convolution_where_all_its_inputs_are_known(kernel, stride, has_bias):
    conv = nn.ConvTranspose1d(6, 3, kernel, stride, bias=has_bias)
    product = ConvTransposeProduct(conv)
    values = torch.randn(2, 6, 20)
    known = slice(product.num_later * stride, 20 * stride)
    torch.testing.assert_close(product(values.mT.contiguous()).mT, conv(values)[..., known], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_row_of_a_batch_is_what_it_is_alone():
    conv, up = ConvProduct(nn.Conv1d(16, 8, 3)), ConvTransposeProduct(nn.ConvTranspose1d(16, 8, 4, 2))
    values = torch.randn(3, 50, 16)
    for product in (conv, up):
        assert torch.equal(product(values), torch.cat([product(row) for row in values.split(1)]))
