from __future__ import annotations

import io
import math
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from striate.errors import InputError
from striate.interpret import feature_maps
from striate.interpret.features.filters import Filters
from striate.interpret.features.maps import FeatureMaps


def pixels(figure: Figure) -> np.ndarray[Any, Any]:
    """Drawing is where matplotlib warns (missing letters, collapsed axes), so every figure is drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def images(figure: Figure) -> list[Any]:
    return list(figure.axes[0].images)


def drawn(weights: Tensor, way: str = "auto") -> Figure:
    return Filters("", weights).plot(way)


def maps(of: dict[str, Tensor], channels: int = 3) -> FeatureMaps:
    return FeatureMaps(torch.rand(1, channels, 6, 8), of)


@pytest.mark.parametrize(
    ("shape", "title", "tiles"),
    [
        ((96, 3, 11, 11), "96 filters of 11×11×3", 96),
        ((200, 1, 5, 5), "96 of 200 filters of 5×5×1", 96),
        ((1, 1, 3, 3), "1 filter of 3×3×1", 1),
        ((64, 16, 3, 3), "16 of 64 filters of 3×3×16 (rows), 12 of 16 channels (columns)", 192),
        ((16, 4, 24), "16 filters of 24×4", 16),
        ((8, 1, 3, 5, 5), "8 filters of 3×5×5×1 (rows), 3 planes (columns)", 24),
        ((2, 2, 3, 5, 5), "2 filters of 3×5×5×2 (middle plane) (rows), 2 channels (columns)", 4),
    ],
)
def test_filters_say_what_is_shown(shape: tuple[int, ...], title: str, tiles: int) -> None:
    figure = drawn(torch.randn(shape))
    pixels(figure)
    assert words(figure)[0] == title
    assert len(images(figure)) == tiles


def test_filters_of_colors_are_stretched_and_of_gray_symmetric_about_zero() -> None:
    colors = images(drawn(torch.randn(2, 3, 4, 4)))[1].get_array()
    assert (colors.min(), colors.max()) == (0, 1)
    weights = torch.tensor([[[[-0.5, 0.2], [0.0, 0.1]]]])
    gray = images(drawn(weights))[0]
    assert np.array_equal(gray.get_array(), weights[0, 0])
    assert gray.get_clim() == (-0.5, 0.5)
    assert to_hex(gray.cmap(gray.norm(0.0))) == to_hex(matplotlib.colormaps["RdBu_r"](0.5))


def test_channels_of_a_filter_share_a_scale() -> None:
    weights = torch.tensor([[[[1.0]], [[-4.0]]], [[[2.0]], [[0.5]]]])
    assert [tile.get_clim()[1] for tile in images(drawn(weights))] == [4, 4, 2, 2]


def test_dead_and_broken_filters_are_drawn_without_a_warning() -> None:
    for channels in (1, 2, 3):
        weights = torch.zeros(3, channels, 3, 3)
        weights[1], weights[2, 0, 0, 0] = math.nan, math.inf
        pixels(drawn(weights))


@pytest.mark.parametrize("shape", [(8, 3), (0, 3, 5, 5)])
def test_weights_that_are_no_filters_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="cannot draw filters: expected weights"):
        drawn(torch.zeros(shape))


def test_feature_maps_show_the_most_varied_channels_of_every_layer() -> None:
    layer = torch.randn(12, 4, 4) * torch.tensor([1.0, 9, 9, 0, 9, 9, 9, 0, 9, 9, 9, 1])[:, None, None]
    figure = maps({"stem.conv": layer, "pool": layer[:3]}).plot()
    pixels(figure)
    assert len(images(figure)) == 1 + 8 + 3
    assert words(figure)[0] == "2 layers"
    assert words(figure)[4:6] == ["stem.conv", "12 × 4 × 4"]
    assert words(figure)[6:14] == ["1", "2", "4", "5", "6", "8", "9", "10"]
    assert np.array_equal(images(figure)[1].get_array(), layer[1])


def test_feature_maps_of_many_layers_are_an_even_choice() -> None:
    figure = maps({f"layer{i}": torch.rand(2, 3, 3) for i in range(50)}).plot()
    pixels(figure)
    shown = [int(word[5:]) for word in words(figure) if word.startswith("layer")]
    assert words(figure)[0] == "12 of 50 layers"
    assert (shown[0], shown[-1], len(shown)) == (0, 49, 12)
    assert set(np.diff(shown)) == {4, 5}


def test_feature_maps_of_signals_volumes_and_constant_or_broken_values() -> None:
    broken = torch.full((2, 3, 3), math.nan)
    broken[1] = math.inf
    of = {"t": torch.rand(2, 40), "v": torch.rand(2, 3, 4, 5), "zero": torch.zeros(2, 3, 3), "nan": broken}
    figure = maps(of).plot()
    pixels(figure)
    assert len(images(figure)) == 1 + 8


def test_many_channels_as_their_principal_components() -> None:
    color = torch.randn(6, 3, 4, 4)
    mixed = torch.einsum("kchw,cd->kdhw", color, torch.randn(3, 20))  # three components are all of it
    figure = drawn(mixed, "principal")
    pixels(figure)
    assert words(figure)[0] == "6 filters of 4×4×20"
    assert "(100% of the squared weights)" in " ".join(words(figure)[1:3])
    with pytest.raises(InputError, match="no principal components to draw: expected at least 3 channels in 2-D"):
        drawn(torch.randn(2, 2, 3, 3), "principal")
    with pytest.raises(InputError, match="unknown way to draw kernels: expected auto, slices, principal, got rows"):
        drawn(color, "rows")


def test_slices_of_color_and_of_time() -> None:
    assert words(drawn(torch.randn(4, 3, 5, 5), "slices"))[0] == "4 filters of 5×5×3 (rows), 3 channels (columns)"
    figure = drawn(torch.randn(4, 7, 9), "slices")
    pixels(figure)
    assert len(images(figure)) == 4 * 7


def test_a_layer_shows_the_strongest_unit_of_each_channel_and_the_box_that_it_sees() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.Conv2d(3, 5, 3))
    found = feature_maps(net, torch.rand(1, 1, 21, 31))
    figure = found.plot("2", [4, 0])
    pixels(figure)
    assert words(figure)[0] == "2: 5 × 8 × 13, 2 of 5 channels"
    ring, box = figure.axes[0].patches[:2]
    channel, row, column = found.strongest("2", 4)
    assert channel == 4
    assert found["2"][4].max() == found["2"][4, row, column]
    inches = 1.25
    assert ring.center == pytest.approx((0.2 + (column + 0.5) / 13 * inches, 1.0 + (row + 0.5) / 8 * inches))
    # A 3x3 convolution on one of stride 2: rows 2 row to 2 row + 6.
    assert box.get_xy() == pytest.approx((0.2 + inches + 0.04 + 2 * column / 31 * inches, 1.0 + 2 * row / 21 * inches))
    assert (box.get_width(), box.get_height()) == pytest.approx((7 / 31 * inches, 7 / 21 * inches))


@pytest.mark.parametrize(
    ("net", "x"),
    [(nn.Conv1d(2, 3, 3, padding=1), torch.rand(1, 2, 40)), (nn.Conv3d(1, 3, 3), torch.rand(1, 1, 5, 6, 7))],
)
def test_layers_of_signals_and_volumes_are_drawn(net: nn.Module, x: Tensor) -> None:
    found = feature_maps(net, x)
    pixels(found.plot())
    pixels(found.plot(next(iter(found))))
