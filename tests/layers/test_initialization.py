from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.layers.initialization import (
    bilinear_kernel,
    initialize_bilinear,
    initialize_gaussian,
    initialize_he,
    initialize_keras,
    initialize_xavier,
)


@pytest.mark.parametrize("size", [3, 4, 16, 64])
def test_a_bilinear_kernel_has_the_sum_of_the_positions_it_makes(size: int) -> None:
    stride = (size + 1) // 2
    assert bilinear_kernel(size).sum().item() == pytest.approx(stride**2)
    assert torch.equal(bilinear_kernel(size), bilinear_kernel(size).T)
    assert torch.equal(bilinear_kernel(size), bilinear_kernel(size).flip(0))


@pytest.mark.parametrize("stride", [2, 8])
def test_started_bilinear_a_transposed_convolution_interpolates_each_map(stride: int) -> None:
    layer = nn.ConvTranspose2d(3, 3, 2 * stride, stride=stride, padding=stride // 2)
    initialize_bilinear(layer)
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    want = F.interpolate(x, scale_factor=stride, mode="bilinear")
    inner = slice(stride, -stride)
    torch.testing.assert_close(layer(x)[..., inner, inner], want[..., inner, inner])


def test_he_keeps_the_variance_through_relus() -> None:
    torch.manual_seed(0)
    x = torch.randn(4096, 256)
    for layer in (nn.Linear(256, 512), nn.Linear(512, 256)):
        initialize_he(layer)
        x = layer(x.relu() if x.shape[1] == 512 else x)
        assert not layer.bias.any()
    # The first layer doubles the variance (no ReLU halves its input); the second keeps it.
    assert x.var().item() == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("layer", [nn.Conv2d(64, 16, 3), nn.ConvTranspose2d(64, 16, 3), nn.ConvTranspose3d(64, 8, 2)])
def test_fan_in_is_the_input_channels_times_the_kernel(layer: nn.Conv2d) -> None:
    torch.manual_seed(0)
    initialize_he(layer)
    taps = layer.weight[0, 0].numel()
    assert layer.weight.std().item() == pytest.approx((2 / (64 * taps)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("layer", [nn.Conv2d(8, 64, 3), nn.ConvTranspose2d(8, 64, 3)])
def test_fan_out_is_the_output_channels_times_the_kernel(layer: nn.Conv2d) -> None:
    torch.manual_seed(0)
    initialize_he(layer, "fan_out")
    assert layer.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert not layer.bias.any()


def test_uniform_weights_have_he_variance_and_its_bounds() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 3)
    initialize_he(layer, uniform=True)
    std = (2 / (64 * 9)) ** 0.5
    assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
    assert 0.99 * std * 3**0.5 < layer.weight.abs().max().item() <= std * 3**0.5


def test_xavier_weighs_both_fans() -> None:
    torch.manual_seed(0)
    layer = nn.Conv1d(96, 32, 5)
    initialize_xavier(layer)
    assert layer.weight.std().item() == pytest.approx((2 / (128 * 5)) ** 0.5, rel=0.05)
    assert not layer.bias.any()


def test_keras_draws_word_vectors_within_a_twentieth_and_the_rest_like_xavier() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(100, 50), nn.Linear(50, 200, bias=False), nn.BatchNorm1d(200))
    net.apply(initialize_keras)
    assert 0.049 < net[0].weight.abs().max().item() <= 0.05
    assert net[1].weight.std().item() == pytest.approx((2 / 250) ** 0.5, rel=0.05)
    assert net[2].weight.eq(1).all()


def test_gaussian_weights_have_the_deviation_given() -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose1d(64, 64, 3)
    initialize_gaussian(layer, std=0.3)
    assert layer.weight.std().item() == pytest.approx(0.3, rel=0.05)
    assert not layer.bias.any()
