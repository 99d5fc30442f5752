"""A drawn network says what the report says: every operation, every line, legibly."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from matplotlib import rcParams
from matplotlib.patches import FancyBboxPatch
from tests.geometry.figures import drawn, overlap, words
from torch import Tensor, nn

from striate.geometry import Report, describe, draw_network
from striate.geometry.layout import blocks
from striate.geometry.pictures import DPI, breadth, fit


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
    return {name: describe(network, shape) for name, (network, shape) in NETWORKS.items()}


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
        report = describe(network, (1, 2, 2))
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


def test_drawing_leaves_no_global_state(reports: dict[str, Report]) -> None:
    before = dict(rcParams)
    drawn(reports["unet"].plot())
    reports["unet"].html()
    assert dict(rcParams) == before
