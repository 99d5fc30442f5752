"""Fully convolutional networks (Long, Shelhamer, Darrell 2015): VGG-16 with three output strides, and ResNet-18."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from striate.layers.fit import crop
from striate.layers.initialization import initialize_bilinear, initialize_he
from striate.layers.residual import BasicBlock
from striate.layers.stage import conv_stage
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture
from striate.zoo.resnet import DEPTHS, Trunk
from striate.zoo.vgg import VGG16

PAPER = "Long, Shelhamer, Darrell 2015, Fully Convolutional Networks for Semantic Segmentation, sections 3-4"
NOTE = (
    "The counts include the upsampling kernels, which join all pairs of classes as in the authors' Caffe files; the "
    "last one stays bilinear, the others are learned. The authors start from VGG-16's weights and from zero scores; "
    "without those weights zero scores would teach the rest nothing, so all layers start from He's Gaussian."
)
# Where the crops of the authors' Caffe files begin: those of the skips' scores, then that of the output.
OFFSETS = {32: (19,), 16: (5, 27), 8: (5, 9, 31)}


@architecture(
    paper=PAPER,
    year=2015,
    input=(3, 500, 500),
    output=(21, 500, 500),
    least=1,
    parameters=136_152_917,
    macs=181_365_854_976,
    lectures="convolution at several scales, maps fused, upsampling learned; any size of input",
    published="134 M for VGG-16 made convolutional",
    note=NOTE,
)
def fcn32s(num_classes: int = 21, in_channels: int = 3, width: Width = 1.0, dropout: Chance = 0.5) -> nn.Module:
    """VGG-16 as a fully convolutional network whose scores at stride 32 are enlarged at once.

    Maps of 500: padded by 100 to 698 -> 349 -> 175 -> 88 -> 44 -> 22, fc6 (7x7) 16, enlarged to 544, cropped to 500.
    Takes images of any size and gives one score per class and pixel. `width` multiplies the channels.
    """
    return FCN(num_classes, in_channels, 32, width, dropout)


@architecture(
    paper=PAPER,
    year=2015,
    input=(3, 500, 500),
    output=(21, 500, 500),
    least=1,
    parameters=134_815_994,
    macs=181_448_086_272,
    note=NOTE,
)
def fcn16s(num_classes: int = 21, in_channels: int = 3, width: Width = 1.0, dropout: Chance = 0.5) -> nn.Module:
    """FCN-32s with scores of pool4 added to the doubled ones, so that those enlarged are at stride 16.

    Maps as in `fcn32s`; the 16x16 scores become 34x34, and after the sum 560x560, cropped to 500. Options as there.
    """
    return FCN(num_classes, in_channels, 16, width, dropout)


@architecture(
    paper=PAPER,
    year=2015,
    input=(3, 500, 500),
    output=(21, 500, 500),
    least=1,
    parameters=134_489_759,
    macs=181_529_034_048,
    note=NOTE,
)
def fcn8s(num_classes: int = 21, in_channels: int = 3, width: Width = 1.0, dropout: Chance = 0.5) -> nn.Module:
    """FCN-16s with scores of pool3 added likewise, so that those enlarged are at stride 8.

    Maps as in `fcn32s`; scores 16 -> 34 (plus pool4's) -> 70 (plus pool3's) -> 568, cropped to 500. Options as there.
    """
    return FCN(num_classes, in_channels, 8, width, dropout)


class FCN(nn.Module):
    """VGG-16's convolutions, fc6 and fc7 as convolutions, and scores summed over strides; see `fcn8s`."""

    def __init__(self, num_classes: int, in_channels: int, stride: int, width: float, dropout: float) -> None:
        super().__init__()
        widths = [[scaled(channels, width) for channels in stage] for stage in VGG16]
        hidden = scaled(4096, width)
        self.offsets = OFFSETS[stride]
        skips = len(self.offsets) - 1
        self.stages = nn.ModuleList()
        for stage in widths:
            self.stages.append(conv_stage(in_channels, stage))
            in_channels = stage[-1]
        self.fc6 = nn.Conv2d(in_channels, hidden, 7)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.score = nn.Conv2d(hidden, num_classes, 1)
        self.skip_scores = nn.ModuleList(nn.Conv2d(widths[3 - i][-1], num_classes, 1) for i in range(skips))
        self.apply(initialize_he)
        self.doublings = nn.ModuleList(_enlarging(num_classes, 2) for _ in range(skips))
        self.enlarge = _enlarging(num_classes, stride)
        self.enlarge.weight.requires_grad_(False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        """Logits of each pixel."""
        size, pooled = x.shape[2:], []
        x = F.pad(x, (99, 99, 99, 99))  # 100 with conv1's own: fc6 has a 7x7 map even of the smallest image
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2, ceil_mode=True)
            pooled.append(x)
        x = self.dropout(F.relu(self.fc6(x)))
        x = self.score(self.dropout(F.relu(self.fc7(x))))
        skips = zip(self.skip_scores, self.doublings, reversed(pooled[:4]), self.offsets, strict=False)
        for score, double, maps, offset in skips:
            x = double(x)
            x = x + crop(score(maps), x.shape[2:], offset)
        return crop(self.enlarge(x), size, self.offsets[-1])


@architecture(
    paper="Long, Shelhamer, Darrell 2015 on He et al. 2015's ResNet-18, as the lectures build it (Dive into Deep "
    "Learning, section 14.11)",
    year=2015,
    input=(3, 320, 480),
    output=(21, 320, 480),
    least=1,
    parameters=12_993_642,
    macs=5_824_281_600,
    lectures="features before global average pooling, 1x1 convolution, x32 transposed convolution",
    note="The upsampling kernel joins all pairs of classes and has a bias, as torch has it by default. A side that "
    "is no multiple of 32 is enlarged to the next one, and the rest at its end left out.",
)
def fcn_resnet18(num_classes: int = 21, in_channels: int = 3, width: Width = 1.0) -> nn.Module:
    """ResNet-18 without its head, a 1x1 convolution to the classes and a bilinear x32 transposed convolution.

    Maps of 320: 160 -> 80 (pooled) -> 80 -> 40 -> 20 -> 10, then 320. Takes images of any size. `width` multiplies
    the channels. The backbone's names are torchvision's.
    """
    return ResNet18FCN(num_classes, in_channels, width)


class ResNet18FCN(Trunk):
    """See `fcn_resnet18`."""

    def __init__(self, num_classes: int, in_channels: int, width: float) -> None:
        super().__init__(BasicBlock, 1, DEPTHS[18], in_channels, width)
        self.score = nn.Conv2d(self.channels, num_classes, 1)
        initialize_he(self.score)
        self.enlarge = nn.ConvTranspose2d(num_classes, num_classes, 64, stride=32, padding=16)
        initialize_bilinear(self.enlarge)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        """Logits of each pixel."""
        return crop(self.enlarge(self.score(super().forward(x))), x.shape[2:], 0)


def _enlarging(channels: int, stride: int) -> nn.ConvTranspose2d:
    """A transposed convolution that starts as bilinear interpolation."""
    layer = nn.ConvTranspose2d(channels, channels, 2 * stride, stride=stride, bias=False)
    initialize_bilinear(layer)
    return layer
