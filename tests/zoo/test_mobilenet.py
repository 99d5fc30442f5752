from __future__ import annotations

import pytest
import torch
from torch import nn

from striate import describe, zoo
from striate.zoo.mobilenet import InvertedResidual


def on_meta(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name, **options)


# Howard et al. 2017, tables 6 and 7: multiply-adds and parameters in millions.
@pytest.mark.parametrize(
    ("width", "size", "macs", "parameters"),
    [
        (1.0, 224, 569, 4.2),
        (0.75, 224, 325, 2.6),
        (0.5, 224, 149, 1.3),
        (0.25, 224, 41, 0.5),
        (1.0, 192, 418, 4.2),
        (1.0, 160, 290, 4.2),
        (1.0, 128, 186, 4.2),
    ],
)
def test_width_and_resolution_cost_what_the_paper_says(width: float, size: int, macs: int, parameters: float) -> None:
    report = describe(on_meta("mobilenet_v1", width=width), (3, size, size))
    assert abs(report.macs / 1e6 - macs) < 1
    assert round(report.parameters / 1e6, 1) == parameters


def test_maps_of_v1_are_those_of_its_table() -> None:
    rows = describe(on_meta("mobilenet_v1"), (3, 224, 224)).layers
    ends = {".".join(row.path.split(".")[:2]): row.shape for row in rows}
    assert [ends[f"features.{i}"] for i in (0, 1, 3, 5, 11, 13)] == [
        *((32, 112, 112), (64, 112, 112), (128, 56, 56)),
        *((256, 28, 28), (512, 14, 14), (1024, 7, 7)),
    ]


def test_a_separable_convolution_is_a_filter_a_map_and_a_1x1() -> None:
    depthwise, pointwise = (part[0] for part in on_meta("mobilenet_v1").features[6])
    assert depthwise.weight.shape == (256, 1, 3, 3)
    assert pointwise.weight.shape == (512, 256, 1, 1)


def test_v2_costs_what_its_paper_says() -> None:
    report = describe(on_meta("mobilenet_v2"), (3, 224, 224))
    assert round(report.macs / 1e6, -1) == 300
    norms = sum(p.numel() for m in on_meta("mobilenet_v2").modules() for p in norm_values(m))
    assert norms == 34_112
    assert round((report.parameters - norms) / 1e6, 2) == 3.47  # 3.4 million in the paper


def norm_values(module: nn.Module) -> list[nn.Parameter]:
    return list(module.parameters(recurse=False)) if isinstance(module, nn.BatchNorm2d) else []


def test_maps_of_v2_are_those_of_its_table() -> None:
    rows = describe(on_meta("mobilenet_v2"), (3, 224, 224)).layers
    ends = {".".join(row.path.split(".")[:2]): row.shape for row in rows}
    assert [ends[f"features.{i}"] for i in (0, 1, 3, 6, 10, 13, 16, 17, 18)] == [
        *((32, 112, 112), (16, 112, 112), (24, 56, 56), (32, 28, 28), (64, 14, 14)),
        *((96, 14, 14), (160, 7, 7), (320, 7, 7), (1280, 7, 7)),
    ]


@pytest.mark.parametrize(("in_channels", "stride", "adds"), [(8, 1, True), (8, 2, False), (4, 1, False)])
def test_a_block_of_v2_adds_its_input_where_the_shape_is_the_same(in_channels: int, stride: int, adds: bool) -> None:
    torch.manual_seed(0)
    block, x = InvertedResidual(in_channels, 8, stride, 6).eval(), torch.randn(2, in_channels, 6, 6)
    torch.testing.assert_close(block(x), block.conv(x) + x if adds else block.conv(x))
    assert block.conv(x).lt(0).any()  # no ReLU at the end
    assert block.conv[0][0].out_channels == 6 * in_channels


@pytest.mark.parametrize(
    ("width", "first", "sixth", "last"),
    [(1.0, 32, 32, 1280), (0.5, 16, 16, 1280), (0.35, 16, 16, 1280), (1.4, 48, 48, 1792)],
)
def test_width_of_v2_gives_multiples_of_8_and_never_a_narrower_end(
    width: float, first: int, sixth: int, last: int
) -> None:
    net = on_meta("mobilenet_v2", width=width)
    assert net.features[0][0].out_channels == first
    assert net.features[6].conv[-1].num_features == sixth
    assert net.features[18][0].out_channels == net.classifier[1].in_features == last
    assert all(m.out_channels % 8 == 0 for m in net.modules() if isinstance(m, nn.Conv2d))


def test_dropout_acts_before_the_classifier() -> None:
    assert on_meta("mobilenet_v1", dropout=0.1).dropout.p == 0.1
    assert on_meta("mobilenet_v2", dropout=0.3).classifier[0].p == 0.3


def test_the_classifier_of_v2_starts_small() -> None:
    net = zoo.build("mobilenet_v2", width=0.35)
    assert abs(net.classifier[1].weight.std().item() - 0.01) < 1e-4
    assert not net.classifier[1].bias.any()
