"""What a unit sees, and what is marked of it, is what gradients say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from tests.geometry.figures import drawn, words
from torch import Tensor, nn

from striate.errors import InputError
from striate.geometry import draw_receptive_field, trace
from striate.geometry.pictures import SEEN
from striate.geometry.seen import seen_by


@st.composite
def looks(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    """A network of positive weights, the shape of its input, a unit of its output."""
    rank = draw(st.integers(1, 3))
    layers: list[nn.Module] = []
    space = [draw(st.integers(5, (40, 14, 8)[rank - 1])) for _ in range(rank)]
    shape = (1, *space)
    for _ in range(draw(st.integers(1, 3))):
        kernel, stride, padding, dilation = (draw(st.integers(1, 3)) for _ in range(4))
        turned = draw(st.integers(0, 3)) == 0
        make = getattr(nn, f"Conv{'Transpose' * turned}{rank}d")
        layer = make(1, 1, kernel, stride, min(padding, kernel) - 1, dilation=dilation)
        nn.init.uniform_(layer.weight, 0.5, 1)
        sizes = [
            (size - 1) * stride + dilation * (kernel - 1) + 1 - 2 * layer.padding[0]
            if turned
            else (size + 2 * layer.padding[0] - dilation * (kernel - 1) - 1) // stride + 1
            for size in space
        ]
        if min(sizes) > 0 and math.prod(sizes) < 3000:
            layers.append(layer)
            space = sizes
    unit = tuple(draw(st.integers(0, size - 1)) for size in space)
    return nn.Sequential(*layers), shape, unit


def support(network: nn.Module, shape: tuple[int, ...], unit: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Where the gradient of a unit is not zero: all weights are positive, so nothing cancels."""
    x = torch.ones(1, *shape, requires_grad=True)
    out = network(x)[(0, 0, *unit)]
    return (torch.autograd.grad(out, x)[0][0, 0] > 0).numpy() if out.requires_grad else np.zeros(shape[1:], bool)


def marked(figure: Figure, rank: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The positions that the picture of an image of ones leaves bright, or that of a signal shades."""
    axes = figure.axes[0]
    if rank == 2:
        return np.asarray(axes.images[0].get_array())[..., 0] == 1
    [shade] = axes.collections
    bright = np.zeros(shape[1:], bool)
    for path in shade.get_paths():
        left, right = path.vertices[:, 0].min(), path.vertices[:, 0].max()
        bright[math.ceil(left) : math.floor(right) + 1] = True
    return bright


@settings(max_examples=40, deadline=None)
@given(looks())
def test_what_is_marked_is_the_support_of_the_gradient(
    look: tuple[nn.Module, tuple[int, ...], tuple[int, ...]],
) -> None:
    network, shape, unit = look
    rank, expected = len(shape) - 1, support(*look)
    seen = seen_by(trace(network, shape), "", unit)
    assert np.array_equal(seen.mask, expected)
    figure = draw_receptive_field(network, torch.ones(shape), "", unit)
    if rank < 3:
        assert np.array_equal(marked(figure, rank, shape), expected)
    else:
        cuts = [(axis, int(axes.get_title(loc="left").split()[1])) for axis, axes in enumerate(figure.axes)]
        for axes, (axis, at) in zip(figure.axes, cuts, strict=True):
            bright = np.asarray(axes.images[0].get_array())[..., 0] == 1
            assert np.array_equal(bright, expected.take(at, axis))
            assert bright.any() == expected.any()
    if rank == 2 and expected.any():
        rows, columns = (np.flatnonzero(expected.any(axis)) for axis in (1, 0))
        frame = [p for p in figure.axes[0].patches if isinstance(p, Rectangle) and to_hex(p.get_edgecolor()) == SEEN][
            -1
        ]
        assert frame.get_xy() == (columns[0] - 0.5, rows[0] - 0.5)
        assert (frame.get_width(), frame.get_height()) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
        assert f"rows {rows[0]} to {rows[-1]}, columns {columns[0]} to {columns[-1]}" in " ".join(words(figure))


def test_padding_holes_and_center_are_said() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=4, dilation=4))
    figure = draw_receptive_field(network, torch.rand(1, 9, 9), "0", (0, 8))
    drawn(figure)
    assert words(figure)[0] == "0 (Conv2d, conv2d), unit 0, 8"
    said = " ".join(words(figure)[1:])
    assert said == (
        "Sees 4 of 81 positions, with holes: rows 0 to 4, columns 4 to 8 (5x5, solid); center 0, 8 (+). "
        "With the padding: 9x9 (dashed)."
    )
    alone = draw_receptive_field(nn.Conv2d(1, 1, 1, padding=1), torch.rand(1, 3, 3), "", (0, 0))
    drawn(alone)
    assert words(alone)[1] == "Sees nothing of the input."


@pytest.mark.parametrize(
    "image",
    [
        torch.rand(3, 12, 10),
        torch.randint(0, 256, (3, 12, 10), dtype=torch.uint8),
        np.random.default_rng(0).random((12, 10, 3)),
        Image.new("RGBA", (10, 12)),
        torch.randn(3, 12, 10) * 5,
    ],
    ids=["tensor", "bytes", "array", "PIL", "normalized"],
)
def test_images_of_any_kind_are_drawn(image: Any) -> None:
    figure = draw_receptive_field(nn.Sequential(nn.Conv2d(3, 2, 3)), image, "0")
    drawn(figure)
    array = np.asarray(figure.axes[0].images[0].get_array())
    assert array.shape == (12, 10, 3)
    assert array.min() >= 0
    assert array.max() <= 1
    assert words(figure)[0].endswith("unit 5, 4")


def test_pictures_and_slices_are_the_numbers_given() -> None:
    """The middle unit sees everything, so that nothing is darkened."""
    photo = torch.rand(3, 5, 4)
    for image in (photo, photo.permute(1, 2, 0).numpy()):
        axes = draw_receptive_field(nn.Conv2d(3, 1, 9, padding=4), image, "").axes[0]
        assert np.allclose(axes.images[0].get_array(), photo.permute(1, 2, 0))
    volume = torch.rand(1, 3, 4, 5)
    figure = draw_receptive_field(nn.Conv3d(1, 1, 9, padding=4), volume, "")
    for axis, (axes, title) in enumerate(zip(figure.axes, ("plane 1", "row 2", "column 2"), strict=True)):
        assert axes.get_title(loc="left") == title
        assert np.allclose(
            np.asarray(axes.images[0].get_array())[..., 0], volume[0].numpy().take((1, 2, 2)[axis], axis)
        )
    drawn(figure)


def test_an_image_is_resized_to_what_the_network_takes() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 3))
    figure = draw_receptive_field(network, np.ones((20, 30)), "2", input_shape=(1, 8, 8))
    drawn(figure)
    assert np.asarray(figure.axes[0].images[0].get_array()).shape == (8, 8, 3)
    assert words(figure)[0] == "2 (Linear, linear)"
    assert "Sees 64 of 64 positions" in words(figure)[1]


def test_a_layer_within_a_network_and_a_negative_unit() -> None:
    network = nn.Sequential(nn.Conv1d(2, 2, 3), nn.Conv1d(2, 2, 3), nn.Conv1d(2, 2, 3))
    seen = seen_by(trace(network, (2, 20)), "1", (-1,))
    assert (seen.unit, seen.hull, seen.center) == ((15,), ((15, 19),), (17.0,))


class Side(nn.Module):
    """A branch that the first input does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.one(a) + self.two(b)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            (nn.Conv2d(1, 1, 3), "a.png", ""),
            r"this is no image to mark: expected a tensor \(c, t\), .* or a PIL image, got str \(\)",
        ),
        ((nn.Conv2d(1, 1, 3), torch.rand(4), ""), r"this is no image to mark: .* got Tensor \(4,\)"),
        (
            (nn.Sequential(nn.Conv2d(1, 1, 3)), torch.rand(1, 8, 8), "0", (1,)),
            r"a unit is named by its position: 0 \(Conv2d, conv2d\): expected 2 numbers for outputs of 1x6x6, got \(1,",
        ),
        (
            (nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), torch.rand(1, 8, 8), "1", (1,)),
            "a unit is named by its position: .* expected none for a layer without space",
        ),
        (
            (nn.Sequential(nn.Conv2d(1, 1, 3)), torch.rand(1, 8, 8), "0", (6, 0)),
            r"there is no such unit: axis 2 of shape \(1, 1, 6, 6\): got 6",
        ),
        ((nn.Sequential(nn.Conv2d(1, 1, 3)), torch.rand(1, 8, 8), "1"), "no layer of this path was executed: got '1'"),
        ((nn.Conv2d(1, 1, 9), torch.rand(1, 8, 8), ""), "too small"),
    ],
)
def test_what_cannot_be_marked_is_an_error(call: tuple[Any, ...], text: str) -> None:
    with pytest.raises(InputError, match=text):
        draw_receptive_field(*call)


def test_inputs_that_do_not_fit_the_image_are_errors() -> None:
    text = "the image has not the axes of the network's input: expected 1 after the channels, got 1x8x8"
    with pytest.raises(InputError, match=text):
        draw_receptive_field(nn.Conv1d(1, 1, 3), torch.rand(1, 8, 8), "", input_shape=(1, 8))
    text = r"this layer does not depend on the network's first input: got two \(Conv2d, conv2d\)"
    with pytest.raises(InputError, match=text):
        draw_receptive_field(Side(), torch.rand(1, 8, 8), "two", input_shape=((1, 8, 8), (1, 8, 8)))
