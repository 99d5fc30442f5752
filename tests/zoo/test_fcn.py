from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import describe, zoo
from striate.geometry.report import Report


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def described(name: str, *shape: int, **options: float) -> Report:
    with torch.device("meta"):
        return describe(zoo.build(name, **options).eval(), torch.rand(1, *shape))


@pytest.mark.parametrize(
    ("name", "upsampling", "skips"),
    [("fcn32s", [64], []), ("fcn16s", [4, 32], [512]), ("fcn8s", [4, 4, 16], [512, 256])],
)
def test_parameters_are_vgg16s_and_those_of_the_scores(name: str, upsampling: list[int], skips: list[int]) -> None:
    with torch.device("meta"):
        net = zoo.build(name)
    convolutions = 14_714_688  # of VGG-16, Simonyan and Zisserman's configuration D: 138,357,544 less its dense layers
    assert count(net.stages) == convolutions
    assert (count(net.fc6), count(net.fc7)) == (102_764_544, 16_781_312)
    assert convolutions + 102_764_544 + 16_781_312 + 4096 * 1000 + 1000 == 138_357_544
    scores = sum(21 * channels + 21 for channels in (4096, *skips))
    kernels = sum(21 * 21 * side**2 for side in upsampling)
    assert count(net) == convolutions + 102_764_544 + 16_781_312 + scores + kernels
    assert round((count(net) - kernels) / 1e6) == 134


def test_scores_see_404_pixels_at_stride_32_as_the_papers_table_1_says() -> None:
    scores = next(layer for layer in described("fcn32s", 3, 500, 500).layers if layer.path == "score")
    assert scores.receptive_field == (404, 404)
    assert scores.stride == (32, 32)
    assert scores.shape[-2:] == (16, 16)


def test_sizes_of_fcn8s_at_500() -> None:
    layers = described("fcn8s", 3, 500, 500).layers
    pooled = [layer.shape[-1] for layer in layers if layer.kind == "pooling"]
    assert pooled == [349, 175, 88, 44, 22]  # 698 halved, the rest of an odd side kept
    assert [layer.shape[-1] for layer in layers if layer.path.startswith(("doublings", "enlarge"))] == [34, 70, 568]


@pytest.mark.parametrize(("name", "skips"), [("fcn32s", 0), ("fcn16s", 1), ("fcn8s", 2)])
def test_crops_put_scores_over_the_pixels_that_they_are_of(name: str, skips: int) -> None:
    """The center of output o of a layer lies at pixel scale*o + at."""
    at, scale, pooled = 1.0 - 100, 1, []  # conv1: kernel 3, padding 100
    for _ in range(5):
        at, scale = at + 0.5 * scale, 2 * scale
        pooled.append((at, scale))
    at += 3 * scale  # fc6: kernel 7
    offsets = []
    for skip_at, skip_scale in pooled[3 : 3 - skips : -1]:
        scale //= 2
        at -= 1.5 * scale  # a transposed convolution of kernel 4
        offsets.append((at - skip_at) / skip_scale)
    at -= scale - 0.5  # one of twice the stride
    with torch.device("meta"):
        net = zoo.build(name)
    assert [*offsets, -at] == list(net.offsets)


@pytest.mark.parametrize("size", [(1, 1), (37, 64)])
def test_fcn8s_is_the_authors_graph(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = zoo.build("fcn8s", width=0.02, num_classes=3).eval()
    x = torch.rand(2, 3, *size)
    pools, y = [], x
    for number, stage in enumerate(net.stages):
        for layer in stage:
            first = number == 0 and layer is stage[0]
            y = (
                F.conv2d(y, layer.weight, layer.bias, padding=100 if first else 1)
                if hasattr(layer, "weight")
                else y.relu()
            )
        y = F.max_pool2d(F.pad(y, (0, y.shape[3] % 2, 0, y.shape[2] % 2), value=-math.inf), 2)
        pools.append(y)
    y = net.score(net.fc7(net.fc6(y).relu()).relu())
    up2 = F.conv_transpose2d(y, net.doublings[0].weight, stride=2)
    h, w = up2.shape[2:]
    fused4 = up2 + net.skip_scores[0](pools[3])[:, :, 5 : 5 + h, 5 : 5 + w]
    up4 = F.conv_transpose2d(fused4, net.doublings[1].weight, stride=2)
    h, w = up4.shape[2:]
    fused3 = up4 + net.skip_scores[1](pools[2])[:, :, 9 : 9 + h, 9 : 9 + w]
    want = F.conv_transpose2d(fused3, net.enlarge.weight, stride=8)[:, :, 31 : 31 + size[0], 31 : 31 + size[1]]
    torch.testing.assert_close(net(x), want)


def test_only_the_last_upsampling_is_fixed() -> None:
    net = zoo.build("fcn8s", width=0.02)
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["enlarge.weight"]


def test_resnet_halves_five_times_and_enlarges_32_times() -> None:
    layers = described("fcn_resnet18", 3, 320, 480).layers
    sizes = [layer.shape[-2:] for layer in layers if layer.kind in ("convolution", "pooling")]
    assert sizes[:2] == [(160, 240), (80, 120)]
    assert sizes[-3:-1] == [(10, 15), (10, 15)]  # the last of the backbone, and the scores
    assert sizes[-1] == (320, 480)


def test_resnets_parameters_are_resnet18s_and_those_of_the_scores() -> None:
    with torch.device("meta"):
        net = zoo.build("fcn_resnet18")
    backbone = 11_689_512 - (512 * 1000 + 1000)  # ResNet-18 for 1,000 classes less its dense layer
    assert count(net) == backbone + (512 * 21 + 21) + (21 * 21 * 64**2 + 21)


def test_resnets_upsampling_starts_as_bilinear_interpolation() -> None:
    torch.manual_seed(0)
    net = zoo.build("fcn_resnet18", width=0.02, num_classes=2)
    scores = torch.rand(1, 2, 4, 5)
    want = F.interpolate(scores, scale_factor=32, mode="bilinear")
    inner = (..., slice(16, -16), slice(16, -16))  # at the border the layer adds zeros, interpolation repeats
    torch.testing.assert_close(net.enlarge(scores)[inner], want[inner])


def test_a_narrow_resnet_still_halves() -> None:
    with torch.device("meta"):
        net = zoo.build("fcn_resnet18", width=0.001)
    assert [net.get_submodule(f"layer{i}.0.conv1").stride for i in (1, 2, 3, 4)] == [(1, 1), (2, 2), (2, 2), (2, 2)]
