from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.layers.weights import bilinear_kernel, start_bilinear, start_from_he


@pytest.mark.parametrize("size", [3, 4, 16, 64])
def test_a_bilinear_kernel_has_the_sum_of_the_positions_it_makes(size: int) -> None:
    stride = (size + 1) // 2
    assert bilinear_kernel(size).sum().item() == pytest.approx(stride**2)
    assert torch.equal(bilinear_kernel(size), bilinear_kernel(size).T)
    assert torch.equal(bilinear_kernel(size), bilinear_kernel(size).flip(0))


@pytest.mark.parametrize("stride", [2, 8])
def test_started_bilinear_a_transposed_convolution_interpolates_each_map(stride: int) -> None:
    layer = nn.ConvTranspose2d(3, 3, 2 * stride, stride=stride, padding=stride // 2)
    start_bilinear(layer)
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    want = F.interpolate(x, scale_factor=stride, mode="bilinear")
    inner = slice(stride, -stride)
    torch.testing.assert_close(layer(x)[..., inner, inner], want[..., inner, inner])


def test_he_keeps_the_variance_through_relus() -> None:
    torch.manual_seed(0)
    x = torch.randn(4096, 256)
    for layer in (nn.Linear(256, 512), nn.Linear(512, 256)):
        start_from_he(layer)
        x = layer(x.relu() if x.shape[1] == 512 else x)
        assert not layer.bias.any()
    # The first layer doubles the variance (no ReLU halves its input); the second keeps it.
    assert x.var().item() == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("layer", [nn.Conv2d(64, 16, 3), nn.ConvTranspose2d(64, 16, 3), nn.ConvTranspose3d(64, 8, 2)])
def test_fan_in_is_the_input_channels_times_the_kernel(layer: nn.Conv2d) -> None:
    torch.manual_seed(0)
    start_from_he(layer)
    taps = layer.weight[0, 0].numel()
    assert layer.weight.std().item() == pytest.approx((2 / (64 * taps)) ** 0.5, rel=0.05)
