"""Pictures say what the report says: every operation, no box over another, and what gradients say that a unit sees."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import rcParams
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image
from torch import Tensor, nn

from striate.errors import InputError
from striate.geometry import Report, describe, draw_network, draw_receptive_field, trace
from striate.geometry.layout import blocks
from striate.geometry.pictures import DPI, SEEN, breadth, fit
from striate.geometry.seen import seen_by


def drawn(figure: Figure) -> np.ndarray[Any, Any]:
    """Drawing is where matplotlib warns (missing letters, collapsed axes), so every figure is drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two boxes (left, top, right, bottom) share more than a side."""
    return min(a[2], b[2]) - max(a[0], b[0]) > 1e-9 and min(a[3], b[3]) - max(a[1], b[1]) > 1e-9


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in (*figure.texts, *(text for axes in figure.axes for text in axes.texts))]


class UNet(nn.Module):
    """Two levels, with skips."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ((1, 4), (4, 8), (8, 16)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in ((16, 8), (8, 4)))
        self.mix = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ((16, 8), (8, 4)))

    def forward(self, x: Tensor) -> Tensor:
        one = torch.relu(self.down[0](x))
        two = torch.relu(self.down[1](nn.functional.max_pool2d(one, 2)))
        x = torch.relu(self.down[2](nn.functional.max_pool2d(two, 2)))
        for skip, up, mix in zip((two, one), self.up, self.mix, strict=True):
            x = torch.relu(mix(torch.cat([skip, up(x)], 1)))
        return x


class Branches(nn.Module):
    """As in GoogLeNet, four ways to the same place; two of them begin alike."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 4, 3, padding=1))
        self.pool, self.norm = nn.AvgPool2d(3, 1, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.pool(x), self.norm(x), x], 1)


class Dense(nn.Module):
    """Every layer reads all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2 + 2 * k, 2, 3, padding=1) for k in range(6))

    def forward(self, x: Tensor) -> Tensor:
        kept = [x]
        for layer in self.layers:
            kept.append(torch.relu(layer(torch.cat(kept, 1))))
        return torch.cat(kept, 1)


class Two(nn.Module):
    """Two inputs, three outputs, of which one is an input."""

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        both = left + right
        return both.flatten(1), torch.sigmoid(both), right


NETWORKS: dict[str, tuple[nn.Module, Any]] = {
    "chain": (
        nn.Sequential(*(nn.Conv1d(2, 2, 3, padding=1) for _ in range(25)), nn.Flatten(), nn.Linear(16, 3)),
        (2, 8),
    ),
    "unet": (UNet(), (1, 16, 16)),
    "branches": (nn.Sequential(Branches(), nn.Conv2d(17, 3, 1), Branches()), (3, 8, 8)),
    "dense": (Dense(), (2, 8, 8)),
    "two": (Two(), ((2, 4, 4), (2, 4, 4))),
    "nothing": (nn.Identity(), (1, 4, 4)),
}


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return {name: describe(network, shape, training=False) for name, (network, shape) in NETWORKS.items()}


# The network drawn


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operation_stands_in_one_box_that_says_it(reports: dict[str, Report], name: str) -> None:
    report = reports[name]
    found = blocks(report)
    shown = [row for block in found for row in block.rows]
    assert len(set(shown)) == len(shown)
    left_out = [layer for row, layer in enumerate(report.layers) if row not in shown]
    assert all(layer.kind == "shape" and not layer.parameters and not layer.activation_bytes for layer in left_out)
    figure = draw_network(report)
    drawn(figure)
    texts = words(figure)
    assert sum(isinstance(patch, FancyBboxPatch) for patch in figure.axes[0].patches) >= len(found)
    for block in found:
        first, *later = (report.layers[row] for row in block.rows) if block.rows else (None,)
        if first is None:
            assert any(text in (block.name, f"input {block.name}") for text in texts)
            continue
        assert any(text.split()[0] == first.operation for text in texts if text)
        assert " ".join(f"+ {layer.operation}" for layer in later) in ["", *texts]
        assert not first.path or first.path in texts
    assert sum(report.layers[row].parameters for row in shown) == report.parameters


@pytest.mark.parametrize("name", NETWORKS)
def test_lines_are_the_reads_of_the_report(reports: dict[str, Report], name: str) -> None:
    """Each operation reads what its row says, through the views that have no box."""
    report, found = reports[name], blocks(reports[name])
    box = {row: number for number, block in enumerate(found) for row in block.rows}

    def boxes_of(row: int) -> set[int]:
        if row < 0:
            return {-1 - row}
        return {box[row]} if row in box else set().union(*map(boxes_of, report.layers[row].inputs))

    for number, block in enumerate(found):
        read = {b for row in block.rows for source in report.layers[row].inputs for b in boxes_of(source)} - {number}
        if block.rows:
            assert set(block.sources) == read
        assert all(0 <= source < number for source in block.sources)


def test_shapes_stand_on_the_lines(reports: dict[str, Report]) -> None:
    texts = words(draw_network(reports["unet"]))
    assert [texts.count(text) for text in ("1x16x16", "4x16x16", "16x4x4", "8x16x16")] == [1, 3, 1, 1]


@pytest.mark.parametrize("name", ["unet", "dense", "long"])
def test_texts_keep_to_their_boxes(reports: dict[str, Report], name: str) -> None:
    if name == "long":
        network = nn.Sequential()
        network.add_module("$a very long name_{$ 日本 " * 9, nn.Conv2d(1, 1_000_000, 1, device="meta"))
        report = describe(network, (1, 2, 2), training=False)
    else:
        report = reports[name]
    figure = draw_network(report)
    drawn(figure)
    axes = figure.axes[0]
    frames = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    frames = [frame for frame in frames if frame.width > DPI]
    placed = [(text.get_text(), text.get_window_extent()) for text in axes.texts]
    whole = figure.bbox
    for (_, a), (_, b) in itertools.combinations(placed, 2):
        assert not overlap(a.extents, b.extents)
    for text, extent in placed:
        assert whole.x0 <= extent.x0 <= extent.x1 <= whole.x1, text
        inside = [f for f in frames if f.y0 < (extent.y0 + extent.y1) / 2 < f.y1 and overlap(f.extents, extent.extents)]
        assert all(frame.x0 < extent.x0 < extent.x1 < frame.x1 for frame in inside), text


def test_a_kernel_is_said_where_it_is_a_parameter_as_it_stands() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 5, 7))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, self.weight.view(2, 2, 5, 7))

    assert "conv2d" in words(draw_network(describe(Table(), (2, 9, 9))))
    for rank, text in ((1, "conv1d 3"), (3, "conv3d 3x3x3")):
        network = getattr(nn, f"Conv{rank}d")(1, 1, 3)
        assert text in words(draw_network(describe(network, (1, *[5] * rank))))


def test_a_text_is_shortened_to_its_room() -> None:
    text = "a name that is too long"
    assert fit(text, 9, 8) == text
    assert fit(text, 0.8, 8).endswith("…")
    assert fit(text, 0.8, 8, keep_end=True).startswith("…")
    assert breadth(fit("W" * 50, 0.8, 8), 8) <= 0.8 < breadth(fit("W" * 50, 0.8, 8) + "W", 8)
    assert breadth(text, 8) < breadth(text, 8, bold=True)
    assert fit("日\n本", 9, 8) == "□ □"
    assert fit("abc", 0, 8) == "…"


# What a unit sees


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


@settings(max_examples=60, deadline=None)
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


def test_drawing_leaves_no_global_state(reports: dict[str, Report]) -> None:
    before = dict(rcParams)
    drawn(reports["unet"].plot())
    reports["unet"].html()
    assert dict(rcParams) == before
