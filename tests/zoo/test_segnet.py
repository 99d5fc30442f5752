from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import describe, zoo


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def convolutions(*widths: int, given: int = 3, norm: bool = True) -> int:
    """Parameters of 3x3 convolutions in a row, each with batch norm."""
    return sum(9 * a * b + b + 2 * b * norm for a, b in zip((given, *widths), widths, strict=False))


ENCODER = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


def test_segnet_is_vgg16_and_its_mirror() -> None:
    with torch.device("meta"):
        net = zoo.build("segnet")
    assert count(net.encoder) == convolutions(*ENCODER) == 14_714_688 + 2 * sum(ENCODER)
    mirror = (512, 512, 512, 512, 512, 256, 256, 256, 128, 128, 64, 64)
    assert count(net.decoder) == convolutions(*mirror, given=512)
    assert count(net.score) == 9 * 64 * 11 + 11
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(layers) == 26  # 13 each way
    # The decoder's are the encoder's in reverse, from output to input.
    there, back = layers[1:13], layers[24:12:-1]
    assert [(m.in_channels, m.out_channels) for m in there] == [(m.out_channels, m.in_channels) for m in back]


def test_sizes_of_segnet() -> None:
    with torch.device("meta"):
        layers = describe(zoo.build("segnet").eval(), torch.rand(1, 3, 360, 480)).layers
    assert [layer.shape[-2] for layer in layers if layer.kind == "pooling"] == [180, 90, 45, 23, 12]
    assert [layer.shape[-2] for layer in layers if layer.kind == "resampling"] == [23, 45, 90, 180, 360]


def test_parameters_of_the_deconvolution_network() -> None:
    with torch.device("meta"):
        net = zoo.build("deconvnet")
    fc6, fc7 = 49 * 512 * 4096 + 4096, 4096 * 4096 + 4096
    assert count(net.middle) == fc6 + fc7 + (49 * 4096 * 512 + 512) + 2 * (4096 + 4096 + 512)
    assert round(count(net) / 1e6) == 252
    kinds = [type(m) for m in net.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.ConvTranspose2d)) == (13 + 2 + 1, 13 + 1)


def test_sizes_of_the_deconvolution_network() -> None:
    with torch.device("meta"):
        layers = describe(zoo.build("deconvnet").eval(), torch.rand(1, 3, 224, 224)).layers
    assert [layer.shape[-1] for layer in layers if layer.kind == "pooling"] == [112, 56, 28, 14, 7]
    middle = [layer.shape[-1] for layer in layers if layer.path.startswith("middle") and layer.kind == "convolution"]
    assert middle == [1, 1, 7]
    assert [layer.shape[-1] for layer in layers if layer.kind == "resampling"] == [14, 28, 56, 112, 224]


@pytest.mark.parametrize("name", ["segnet", "deconvnet"])
@pytest.mark.parametrize("size", [(32, 32), (45, 70)])
def test_values_return_to_where_the_maxima_were(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    options = {"input_size": size} if name == "deconvnet" else {}
    net = zoo.build(name, width=0.05, **options).eval()
    pooled, unpooled = [], []
    for stage in net.encoder:
        stage.register_forward_hook(lambda _m, _i, y: pooled.append(y))
    for stage in net.decoder:
        stage.register_forward_pre_hook(lambda _m, i: unpooled.append(i[0]))
    assert net(torch.rand(2, 3, *size)).shape[2:] == size
    for before, after in zip(pooled, reversed(unpooled), strict=True):
        assert before.shape[2:] == after.shape[2:]
        highest = F.max_pool2d(before, 2, ceil_mode=True).repeat_interleave(2, 2).repeat_interleave(2, 3)
        is_maximum = before == highest[:, :, : before.shape[2], : before.shape[3]]
        assert after.count_nonzero() > 0
        assert bool(is_maximum[after != 0].all())


def test_transposed_convolutions_start_from_small_gaussians() -> None:
    torch.manual_seed(0)
    net = zoo.build("deconvnet", width=0.25)
    assert net.decoder[0].conv1.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert net.encoder[4].conv1.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.05)
