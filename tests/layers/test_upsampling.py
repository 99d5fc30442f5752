from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.errors import InputError
from striate.layers import EvenTranspose, SubPixelConv, UpsampleConv
from striate.layers.by_rank import CONV_TRANSPOSE

SPACE = (6, 5, 4)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("build", [UpsampleConv, SubPixelConv, EvenTranspose])
def test_sizes_are_multiplied(build: Callable[..., nn.Module], scale: int, rank: int) -> None:
    for kernel in {UpsampleConv: (1, 3, 5), SubPixelConv: (1, 3), EvenTranspose: (scale, 2 * scale, 3 * scale)}[build]:
        y = build(2, 3, scale, kernel, rank=rank)(torch.rand(1, 2, *SPACE[:rank]))
        assert y.shape == (1, 3, *(scale * side for side in SPACE[:rank]))


def unevenness(layer: nn.Module, rank: int = 2) -> float:
    """How much outputs of a map of ones differ away from the border: 0 without a checkerboard."""
    y = layer(torch.ones(1, 2, *(15,) * rank)).detach().double()
    inside = y[(..., *[slice(8, -8)] * rank)]
    return float((inside.amax(tuple(range(2, y.ndim))) - inside.amin(tuple(range(2, y.ndim)))).max())


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_convolution_has_no_checkerboard_whatever_its_weights(mode: str, rank: int) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        assert unevenness(UpsampleConv(2, 3, 3, mode=mode, rank=rank), rank) < 1e-6


@pytest.mark.parametrize("rank", [1, 2])
def test_sub_pixel_convolution_starts_as_nearest_enlarging_and_without_a_checkerboard(rank: int) -> None:
    layer = SubPixelConv(2, 3, 3, rank=rank)
    assert unevenness(layer, rank) < 1e-6
    x = torch.rand(1, 2, *(9,) * rank)
    conv = {1: F.conv1d, 2: F.conv2d}[rank](x, layer.conv.weight[:: 3**rank], layer.conv.bias[:: 3**rank], padding=1)
    torch.testing.assert_close(layer(x), F.interpolate(conv, scale_factor=3))
    layer.conv.reset_parameters()
    assert unevenness(layer, rank) > 1e-2  # without ICNR


@pytest.mark.parametrize("scale", [2, 3])
def test_a_transposed_kernel_of_a_multiple_gives_each_output_as_many_terms(scale: int) -> None:
    def ones(layer: nn.Module) -> nn.Module:
        for parameter in layer.parameters():
            nn.init.ones_(parameter)
        return layer

    for kernel in (scale, 2 * scale, 3 * scale):
        assert unevenness(ones(EvenTranspose(2, 3, scale, kernel))) == 0
    uneven = CONV_TRANSPOSE[2](2, 3, 2 * scale - 1, scale, scale - 1)
    assert unevenness(ones(uneven)) > 0


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: EvenTranspose(1, 1, 2, 3), "a checkerboard: expected a kernel size that is a multiple of 2, .* got 3"),
        (lambda: EvenTranspose(1, 1, 2, 0), "a checkerboard: .* got 0. Or use UpsampleConv"),
        (lambda: EvenTranspose(1, 1, 1), "cannot use this scale"),
        (lambda: SubPixelConv(1, 1, rank=4), "1, 2 or 3 spatial axes: got 4"),
        (lambda: UpsampleConv(1, 1, 1), "cannot use this scale"),
        (lambda: UpsampleConv(1, 1, mode="cubic"), "unknown way of enlarging: expected nearest or linear, got 'cubic'"),
        (lambda: UpsampleConv(1, 1, 2, 4), "only an odd kernel keeps the size .*: got 4"),
        (lambda: SubPixelConv(1, 1, 2, 2), "only an odd kernel keeps the size .*: got 2"),
    ],
)
def test_wrong_options_fail_at_construction(build: Callable[[], nn.Module], text: str) -> None:
    with pytest.raises(InputError, match=text):
        build()
