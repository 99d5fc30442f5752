"""Residual networks for ImageNet (He et al. 2015) and the one with squeeze-and-excitation (Hu et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch.nn.functional as F
from torch import nn

from striate.layers.initialization import initialize_he
from striate.layers.residual import BasicBlock, Bottleneck
from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.options import Width, scaled
from striate.zoo.registry import architecture

PAPER = "He, Zhang, Ren, Sun 2015, Deep residual learning for image recognition, table 1"
WIDTHS = (64, 128, 256, 512)
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
PUBLISHED = "none; {}e9 multiply-adds"
STRIDE_NOTE = (
    "The paper halves the maps in the first 1x1 convolution of a stage ({}e9 MACs, stride_in_1x1=True); by default it "
    "is the 3x3 that does, as in torchvision and most released weights: same parameters, more MACs."
)
Block = Callable[[int, int, int], nn.Module]


@architecture(
    paper=PAPER,
    year=2015,
    input=(3, 224, 224),
    least=1,
    parameters=11_689_512,
    macs=1_814_073_344,
    published=PUBLISHED.format("1.8"),
    lectures="named as a backbone whose last maps are 32 times smaller than the image",
)
def resnet18(num_classes: int = 1000, in_channels: int = 3, width: Width = 1.0) -> nn.Module:
    """Residual network of 8 blocks of two 3x3 convolutions, with a projection where the shape changes.

    Maps 224 -> 112 -> 56 (max pooling), then four stages of 56, 28, 14, 7 with 64 to 512 channels, global average.
    `width` multiplies all channels. Batch norm after each convolution; He initialization. Modules are named as in
    torchvision.
    """
    return ResNet(BasicBlock, 1, DEPTHS[18], num_classes, in_channels, width)


@architecture(
    paper=PAPER,
    year=2015,
    input=(3, 224, 224),
    least=1,
    parameters=21_797_672,
    macs=3_663_761_408,
    published=PUBLISHED.format("3.6"),
)
def resnet34(num_classes: int = 1000, in_channels: int = 3, width: Width = 1.0) -> nn.Module:
    """Residual network of 16 blocks of two 3x3 convolutions; shapes and options as in `resnet18`."""
    return ResNet(BasicBlock, 1, DEPTHS[34], num_classes, in_channels, width)


@architecture(
    paper=PAPER,
    year=2015,
    input=(3, 224, 224),
    least=1,
    parameters=25_557_032,
    macs=4_089_184_256,
    published=PUBLISHED.format("3.8"),
    note=STRIDE_NOTE.format("3.86"),
)
def resnet50(
    num_classes: int = 1000, in_channels: int = 3, width: Width = 1.0, stride_in_1x1: bool = False
) -> nn.Module:
    """Residual network of 16 bottleneck blocks: 1x1 down to a quarter of the channels, 3x3, 1x1 up again.

    Shapes and `width` as in `resnet18`, with 256 to 2048 channels. `stride_in_1x1` halves the maps in the first
    convolution of a block, as the paper says, instead of the second.
    """
    return _bottlenecks(50, num_classes, in_channels, width, stride_in_1x1)


@architecture(
    paper=PAPER,
    year=2015,
    input=(3, 224, 224),
    least=1,
    parameters=44_549_160,
    macs=7_801_405_440,
    published=PUBLISHED.format("7.6"),
    note=STRIDE_NOTE.format("7.57"),
)
def resnet101(
    num_classes: int = 1000, in_channels: int = 3, width: Width = 1.0, stride_in_1x1: bool = False
) -> nn.Module:
    """Residual network of 33 bottleneck blocks; shapes and options as in `resnet50`."""
    return _bottlenecks(101, num_classes, in_channels, width, stride_in_1x1)


@architecture(
    paper=PAPER,
    year=2015,
    input=(3, 224, 224),
    least=1,
    parameters=60_192_808,
    macs=11_513_626_624,
    published=PUBLISHED.format("11.3"),
    lectures="152 layers, 3.57 % (3.6 %) top-5 error; more than 100 convolutions",
    note=STRIDE_NOTE.format("11.28"),
)
def resnet152(
    num_classes: int = 1000, in_channels: int = 3, width: Width = 1.0, stride_in_1x1: bool = False
) -> nn.Module:
    """Residual network of 50 bottleneck blocks; shapes and options as in `resnet50`."""
    return _bottlenecks(152, num_classes, in_channels, width, stride_in_1x1)


@architecture(
    paper="Hu, Shen, Albanie, Sun, Wu 2017, Squeeze-and-excitation networks, table 1",
    year=2017,
    input=(3, 224, 224),
    least=1,
    parameters=28_088_024,
    macs=4_091_699_200,
    published="about 2.5 million more than ResNet-50; 3.87e9 multiply-adds",
    lectures="cited",
    note="The gates have biases: 16,048 of the 2,530,992 parameters more than ResNet-50. " + STRIDE_NOTE.format("3.86"),
)
def se_resnet50(
    num_classes: int = 1000,
    in_channels: int = 3,
    width: Width = 1.0,
    reduction: Annotated[int, Between(1, 64, whole=True)] = 16,
    stride_in_1x1: bool = False,
) -> nn.Module:
    """ResNet-50 in which each block weighs its channels by what it sees in the whole image.

    Each block's maps are averaged, taken through two layers (down by `reduction`, and back) and a sigmoid, and
    multiplied by the result before the addition. Else as `resnet50`. Modules are named as in timm (seresnet50).
    """
    return _bottlenecks(50, num_classes, in_channels, width, stride_in_1x1, reduction)


class Trunk(nn.Module):
    """Four stages of residual blocks, the last of which returns `channels` maps at 1/32 of the size."""

    def __init__(self, block: Block, expansion: int, depths: tuple[int, ...], in_channels: int, width: float) -> None:
        super().__init__()
        widths = [scaled(channels, width) for channels in WIDTHS]
        self.conv1 = nn.Conv2d(in_channels, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = [widths[0], *(expansion * c for c in widths)]
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            stage(block, channels[i], channels[i + 1], 1 if i == 0 else 2, depth) for i, depth in enumerate(depths)
        )
        self.channels = channels[-1]
        self.apply(partial(initialize_he, mode="fan_out"))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d v u"]:
        """The last maps."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        maps: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return maps


class ResNet(Trunk):
    """Global average and one dense layer on the trunk; see `resnet18`."""

    def __init__(
        self, block: Block, expansion: int, depths: tuple[int, ...], num_classes: int, in_channels: int, width: float
    ) -> None:
        super().__init__(block, expansion, depths, in_channels, width)
        self.fc = nn.Linear(self.channels, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        logits: Tensor = self.fc(super().forward(x).mean((2, 3)))
        return logits


def stage(block: Block, in_channels: int, out_channels: int, stride: int, depth: int) -> nn.Sequential:
    """`depth` blocks, the first of which changes the shape."""
    rest = (block(out_channels, out_channels, 1) for _ in range(depth - 1))
    return nn.Sequential(block(in_channels, out_channels, stride), *rest)


def _bottlenecks(
    layers: int, num_classes: int, in_channels: int, width: float, stride_in_1x1: bool, reduction: int = 0
) -> nn.Module:
    block = partial(Bottleneck, stride_in_1x1=stride_in_1x1, reduction=reduction)
    return ResNet(block, 4, DEPTHS[layers], num_classes, in_channels, width)
