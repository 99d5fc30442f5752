from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from striate import describe, zoo
from striate.geometry.report import Report

# Table 1 of the paper: theoretical receptive fields.
LEFT, RIGHT = (5, 22, 72, 172, 372), (476, 528, 546, 551)


def described() -> Report:
    with torch.device("meta"):
        return describe(zoo.build("vnet").eval(), torch.rand(1, 1, 128, 128, 64))


def fields(report: Report, side: str) -> list[int]:
    rows = {layer.path: layer.receptive_field[0] for layer in report.layers if layer.path.endswith("activation")}
    return [field for path, field in rows.items() if path.startswith(side)]


def test_the_left_half_sees_what_the_papers_table_says() -> None:
    assert tuple(fields(described(), "left")) == LEFT


def seen(stages: int) -> int:
    """The most inputs that one output of the right half's stage sees, by following the coarsest path back."""
    convolutions = (1, 2, 3, 3, 3)
    widest = 0
    for position in range(64, 96):
        low = high = position
        for depth in range(stages, 4):
            low, high = low - 2 * convolutions[depth], high + 2 * convolutions[depth]
            low, high = low // 2, high // 2  # an output of the up-convolution reads one input
        for depth in range(4, -1, -1):
            low, high = low - 2 * convolutions[depth], high + 2 * convolutions[depth]
            if depth:
                low, high = 2 * low, 2 * high + 1
        widest = max(widest, high - low + 1)
    return widest


def test_the_right_half_sees_less_than_the_papers_table_says() -> None:
    got = fields(described(), "right")
    assert got == [seen(stages) for stages in (3, 2, 1, 0)] == [468, 516, 532, 548]
    # As printed: each up-convolution counted as a kernel of 2 at its outputs' stride.
    field, printed = 372, []
    for stride, convolutions in ((8, 3), (4, 3), (2, 2), (1, 1)):
        field += stride + 4 * convolutions * stride
        printed.append(field)
    assert tuple(printed) == RIGHT


def test_sizes_and_channels_by_figure_2() -> None:
    rows = [layer for layer in described().layers if layer.path.endswith("activation")]
    sizes = [layer.shape[-3:] for layer in rows]
    left = [(128, 128, 64), (64, 64, 32), (32, 32, 16), (16, 16, 8), (8, 8, 4)]
    assert sizes == [*left, *left[3::-1]]
    assert [layer.shape[-4] for layer in rows] == [16, 32, 64, 128, 256, 256, 128, 64, 32]


def test_parameters_of_each_stage() -> None:
    with torch.device("meta"):
        net = zoo.build("vnet")

    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    def stage(channels: int, depth: int) -> int:
        return depth * (125 * channels + 2) * channels  # weights, bias and PReLU

    left = [125 * 16 + 2 * 16, stage(32, 2), stage(64, 3), stage(128, 3), stage(256, 3)]
    assert [count(part) for part in net.left] == left
    assert [count(part) for part in net.right] == [stage(256, 3), stage(128, 3), stage(64, 2), stage(32, 1)]
    assert [count(part) for part in net.down] == [8 * c * 2 * c + 4 * c for c in (16, 32, 64, 128)]
    assert [count(part) for part in net.up] == [
        8 * a * b + 2 * b for a, b in ((256, 128), (256, 64), (128, 32), (64, 16))
    ]


def test_a_stage_adds_its_input_before_the_last_prelu() -> None:
    torch.manual_seed(0)
    net = zoo.build("vnet", in_channels=3, width=0.25)
    first, x = net.left[0], torch.randn(1, 3, 5, 5, 5)
    shortcut = x[:, [0, 1, 2, 0]]  # four channels of three
    torch.testing.assert_close(first(x), F.prelu(first.layers[0](x) + shortcut, first.activation.weight))
    for layer in net.right[0].modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.zeros_(layer.weight)
    x = torch.rand(1, 64, 2, 2, 2)
    assert torch.equal(net.right[0](x), x)
