"""Inception v2 (with batch norm, Ioffe & Szegedy 2015), v3 (Szegedy et al. 2015) and v4 (Szegedy et al. 2016)."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import nn

from striate.layers.branches import Branches, ConvUnit
from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.googlenet import LogitsOrMore
from striate.zoo.options import Chance
from striate.zoo.registry import architecture

Depth = Annotated[int, Between(1, 64, whole=True)]


@architecture(
    paper="Ioffe, Szegedy 2015, Batch normalization: accelerating deep network training by reducing internal "
    "covariate shift, appendix, figure 5",
    year=2015,
    input=(3, 224, 224),
    least=1,
    parameters=11_188_288,
    macs=1_934_857_216,
    published="13.6e6 (section 4.2)",
    lectures="more factorization of filters, much batch norm",
    note="BN-Inception; table 1 of Szegedy et al. 2015 is another network. Figure 5 adds up to the count here (so does "
    "the authors' released code); the paper does not say what else its 13.6e6 are. The first convolution is separable, "
    "as the appendix says: 8 maps of each channel. The padding is not stated: all strides halve the size rounded up. "
    "Average poolings leave the border out, as in the released code. Initialization is not stated: torch's.",
    aliases=("bn_inception",),
)
def inception_v2(
    num_classes: int = 1000, in_channels: int = 3, separable: bool = True, dropout: Chance = 0.2
) -> nn.Module:
    """GoogLeNet with batch norm, two 3x3 convolutions for each 5x5, and strides within the modules.

    Maps 224 -> 112 -> 56 -> 28 (3 modules) -> 14 (5) -> 7 (2), then the global average. `separable=False` makes
    the first convolution an ordinary one.
    """
    return InceptionV2(num_classes, in_channels, separable, dropout)


@architecture(
    paper="Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2015, Rethinking the Inception architecture for computer vision, "
    "table 1 and figures 5 to 7, 10",
    year=2015,
    input=(3, 299, 299),
    least=75,
    parameters=23_834_568,
    macs=5_713_216_096,
    published="fewer than 25 million (abstract); 5e9 multiply-adds",
    lectures="more factorization of filters, much batch norm",
    note="As the authors released it. Table 1 has other layers between the first pooling and the modules (3x3 "
    "convolutions of 80, of 192 with stride 2 and of 288 maps for 1x1 of 80, 3x3 of 192 and a pooling) and lacks the "
    "asymmetric modules' widths. Modules are named as in torchvision, whose average poolings count the border's zeros. "
    "Initialization is not stated: torch's.",
)
def inception_v3(num_classes: int = 1000, in_channels: int = 3, aux: bool = False, dropout: Chance = 0.2) -> nn.Module:
    """Inception with convolutions factored into 1x7 and 7x1, and into parallel 1x3 and 3x1.

    Maps 299 -> 149 -> 147 -> 73 -> 71 -> 35 (3 modules) -> 17 (4) -> 8 (2), then the global average. With `aux`,
    a head on the last 17x17 maps learns with it: in training mode the result is (main, head), for images from 299.
    """
    return InceptionV3(num_classes, in_channels, aux, dropout)


@architecture(
    paper="Szegedy, Ioffe, Vanhoucke, Alemi 2016, Inception-v4, Inception-ResNet and the impact of residual "
    "connections on learning, figures 3 to 9",
    year=2016,
    input=(3, 299, 299),
    least=75,
    parameters=42_679_816,
    macs=12_253_974_624,
    published="none",
    lectures="more factorization of filters, much batch norm",
    note="Modules are named as in timm. Initialization is not stated: torch's.",
)
def inception_v4(
    num_classes: int = 1000,
    in_channels: int = 3,
    modules_a: Depth = 4,
    modules_b: Depth = 7,
    modules_c: Depth = 3,
    dropout: Chance = 0.2,
) -> nn.Module:
    """Inception with uniform modules: four at 35x35, seven at 17x17, three at 8x8.

    Maps 299 -> 149 -> 147 -> 73 -> 71 -> 35 -> 17 -> 8, then the global average of 1536 maps. `modules_a`, `modules_b`
    and `modules_c` are how many there are of each size.
    """
    return InceptionV4(num_classes, in_channels, (modules_a, modules_b, modules_c), dropout)


class InceptionV2(nn.Module):
    """See `inception_v2`."""

    def __init__(self, num_classes: int, in_channels: int, separable: bool, dropout: float) -> None:
        super().__init__()
        self.conv1 = _separable(in_channels, 64) if separable else ConvUnit(in_channels, 64, 7, 2)
        self.conv2 = ConvUnit(64, 64, 1)
        self.conv3 = ConvUnit(64, 192, 3)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.inception3a = _module_v2(192, 64, 64, 64, 64, 96, 32)
        self.inception3b = _module_v2(256, 64, 64, 96, 64, 96, 64)
        self.inception3c = _reduction_v2(320, 128, 160, 64, 96)
        self.inception4a = _module_v2(576, 224, 64, 96, 96, 128, 128)
        self.inception4b = _module_v2(576, 192, 96, 128, 96, 128, 128)
        self.inception4c = _module_v2(576, 160, 128, 160, 128, 160, 96)
        self.inception4d = _module_v2(576, 96, 128, 192, 160, 192, 96)
        self.inception4e = _reduction_v2(576, 128, 192, 192, 256)
        self.inception5a = _module_v2(1024, 352, 192, 320, 160, 224, 128)
        self.inception5b = _module_v2(1024, 352, 192, 320, 192, 224, 128, nn.MaxPool2d(3, 1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = self.pool(self.conv1(x))
        x = self.pool(self.conv3(self.conv2(x)))
        x = self.inception3c(self.inception3b(self.inception3a(x)))
        x = self.inception4b(self.inception4a(x))
        x = self.inception4e(self.inception4d(self.inception4c(x)))
        x = self.inception5b(self.inception5a(x))
        logits: Tensor = self.fc(self.dropout(x.mean((2, 3))))
        return logits


def _separable(c: int, out: int) -> nn.Sequential:
    """A 7x7 convolution with stride 2 that makes 8 maps of each channel, and a 1x1 over all of them."""
    return nn.Sequential(nn.Conv2d(c, 8 * c, 7, 2, 3, groups=c, bias=False), ConvUnit(8 * c, out, 1))


def _module_v2(
    c: int, one: int, reduce3: int, three: int, reduce5: int, five: int, last: int, pool: nn.Module | None = None
) -> Branches:
    """A row of figure 5; the two 3x3 that stand for a 5x5 are equally wide."""
    pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False) if pool is None else pool
    return Branches(
        {"branch1": ConvUnit(c, one, 1)},
        {"branch2": chain(c, (reduce3, 1), (three, 3))},
        {"branch3": chain(c, (reduce5, 1), (five, 3), (five, 3))},
        {"branch4": nn.Sequential(pool, ConvUnit(c, last, 1))},
    )


def _reduction_v2(c: int, reduce3: int, three: int, reduce5: int, five: int) -> Branches:
    """A row of figure 5 with stride 2: no 1x1 branch, and the pooling is passed on."""
    return Branches(
        {"branch2": nn.Sequential(ConvUnit(c, reduce3, 1), ConvUnit(reduce3, three, 3, 2))},
        {"branch3": nn.Sequential(chain(c, (reduce5, 1), (five, 3)), ConvUnit(five, five, 3, 2))},
        {"branch4": nn.MaxPool2d(3, 2, 1)},
    )


class InceptionV3(nn.Module):
    """See `inception_v3`."""

    def __init__(self, num_classes: int, in_channels: int, aux: bool, dropout: float) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvUnit(in_channels, 32, 3, 2, 0)
        self.Conv2d_2a_3x3 = ConvUnit(32, 32, 3, 1, 0)
        self.Conv2d_2b_3x3 = ConvUnit(32, 64, 3)
        self.maxpool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = ConvUnit(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvUnit(80, 192, 3, 1, 0)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        self.Mixed_5b = _figure5(192, 32)
        self.Mixed_5c = _figure5(256, 64)
        self.Mixed_5d = _figure5(288, 64)
        self.Mixed_6a = _reduction_to_17(288)
        self.Mixed_6b = _figure6(768, 128)
        self.Mixed_6c = _figure6(768, 160)
        self.Mixed_6d = _figure6(768, 160)
        self.Mixed_6e = _figure6(768, 192)
        self.AuxLogits = AuxiliaryHeadV3(768, num_classes) if aux else None
        self.Mixed_7a = _reduction_to_8(768)
        self.Mixed_7b = _figure7(1280)
        self.Mixed_7c = _figure7(2048)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> LogitsOrMore:
        """Logits; in training mode with an auxiliary head its logits, too."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(self.maxpool1(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(self.maxpool2(x))))
        middle = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(middle)))
        logits: Tensor = self.fc(self.dropout(x.mean((2, 3))))
        if self.training and self.AuxLogits is not None:
            return logits, self.AuxLogits(middle)
        return logits


class AuxiliaryHeadV3(nn.Module):
    """Average pooling, a 1x1 and a 5x5 convolution with batch norm, one dense layer."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv0 = ConvUnit(in_channels, 128, 1)
        self.conv1 = ConvUnit(128, 768, 5, padding=0)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = self.conv1(self.conv0(F.avg_pool2d(x, 5, 3)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def _figure5(c: int, last: int) -> Branches:
    """35x35: 1x1, 5x5 and two 3x3 convolutions."""
    return Branches(
        {"branch1x1": ConvUnit(c, 64, 1)},
        {"branch5x5_1": ConvUnit(c, 48, 1), "branch5x5_2": ConvUnit(48, 64, 5)},
        {
            "branch3x3dbl_1": ConvUnit(c, 64, 1),
            "branch3x3dbl_2": ConvUnit(64, 96, 3),
            "branch3x3dbl_3": ConvUnit(96, 96, 3),
        },
        {"average": nn.AvgPool2d(3, 1, 1), "branch_pool": ConvUnit(c, last, 1)},
    )


def _reduction_to_17(c: int) -> Branches:
    """From 35x35: one and two 3x3 convolutions and pooling (figure 10)."""
    return Branches(
        {"branch3x3": ConvUnit(c, 384, 3, 2, 0)},
        {
            "branch3x3dbl_1": ConvUnit(c, 64, 1),
            "branch3x3dbl_2": ConvUnit(64, 96, 3),
            "branch3x3dbl_3": ConvUnit(96, 96, 3, 2, 0),
        },
        {"maximum": nn.MaxPool2d(3, 2)},
    )


def _figure6(c: int, inner: int) -> Branches:
    """17x17: one and two 7x7 convolutions, each in two steps."""
    return Branches(
        {"branch1x1": ConvUnit(c, 192, 1)},
        {
            "branch7x7_1": ConvUnit(c, inner, 1),
            "branch7x7_2": ConvUnit(inner, inner, (1, 7)),
            "branch7x7_3": ConvUnit(inner, 192, (7, 1)),
        },
        {
            "branch7x7dbl_1": ConvUnit(c, inner, 1),
            "branch7x7dbl_2": ConvUnit(inner, inner, (7, 1)),
            "branch7x7dbl_3": ConvUnit(inner, inner, (1, 7)),
            "branch7x7dbl_4": ConvUnit(inner, inner, (7, 1)),
            "branch7x7dbl_5": ConvUnit(inner, 192, (1, 7)),
        },
        {"average": nn.AvgPool2d(3, 1, 1), "branch_pool": ConvUnit(c, 192, 1)},
    )


def _reduction_to_8(c: int) -> Branches:
    """From 17x17: a 3x3 convolution, a 7x7 in two steps before another one, and pooling."""
    return Branches(
        {"branch3x3_1": ConvUnit(c, 192, 1), "branch3x3_2": ConvUnit(192, 320, 3, 2, 0)},
        {
            "branch7x7x3_1": ConvUnit(c, 192, 1),
            "branch7x7x3_2": ConvUnit(192, 192, (1, 7)),
            "branch7x7x3_3": ConvUnit(192, 192, (7, 1)),
            "branch7x7x3_4": ConvUnit(192, 192, 3, 2, 0),
        },
        {"maximum": nn.MaxPool2d(3, 2)},
    )


def _figure7(c: int) -> Branches:
    """8x8: two branches that end in 1x3 and 3x1 convolutions side by side."""
    return Branches(
        {"branch1x1": ConvUnit(c, 320, 1)},
        {"branch3x3_1": ConvUnit(c, 384, 1), "branch3x3_2": _crossed(384, 384)},
        {
            "branch3x3dbl_1": ConvUnit(c, 448, 1),
            "branch3x3dbl_2": ConvUnit(448, 384, 3),
            "branch3x3dbl_3": _crossed(384, 384),
        },
        {"average": nn.AvgPool2d(3, 1, 1), "branch_pool": ConvUnit(c, 192, 1)},
    )


class InceptionV4(nn.Module):
    """See `inception_v4`."""

    def __init__(self, num_classes: int, in_channels: int, depths: tuple[int, int, int], dropout: float) -> None:
        super().__init__()
        a, b, c = depths
        self.features = nn.Sequential(
            ConvUnit(in_channels, 32, 3, 2, 0),
            ConvUnit(32, 32, 3, 1, 0),
            ConvUnit(32, 64, 3),
            Branches({"maxpool": nn.MaxPool2d(3, 2)}, {"conv": ConvUnit(64, 96, 3, 2, 0)}),
            _mixed_4a(),
            Branches({"conv": ConvUnit(192, 192, 3, 2, 0)}, {"maxpool": nn.MaxPool2d(3, 2)}),
            *(_module_a() for _ in range(a)),
            _reduction_a(),
            *(_module_b() for _ in range(b)),
            _reduction_b(),
            *(_module_c() for _ in range(c)),
        )
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(1536, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        logits: Tensor = self.last_linear(self.dropout(self.features(x).mean((2, 3))))
        return logits


def _mixed_4a() -> Branches:
    return Branches(
        {"branch0": nn.Sequential(ConvUnit(160, 64, 1), ConvUnit(64, 96, 3, 1, 0))},
        {"branch1": nn.Sequential(*chain(160, (64, 1), (64, (1, 7)), (64, (7, 1))), ConvUnit(64, 96, 3, 1, 0))},
    )


def _module_a() -> Branches:
    """35x35, figure 4."""
    return Branches(
        {"branch0": ConvUnit(384, 96, 1)},
        {"branch1": chain(384, (64, 1), (96, 3))},
        {"branch2": chain(384, (64, 1), (96, 3), (96, 3))},
        {"branch3": nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), ConvUnit(384, 96, 1))},
    )


def _reduction_a() -> Branches:
    """35x35 to 17x17, figure 7 with k, l, m, n = 192, 224, 256, 384."""
    return Branches(
        {"branch0": ConvUnit(384, 384, 3, 2, 0)},
        {"branch1": nn.Sequential(*chain(384, (192, 1), (224, 3)), ConvUnit(224, 256, 3, 2, 0))},
        {"branch2": nn.MaxPool2d(3, 2)},
    )


def _module_b() -> Branches:
    """17x17, figure 5."""
    return Branches(
        {"branch0": ConvUnit(1024, 384, 1)},
        {"branch1": chain(1024, (192, 1), (224, (1, 7)), (256, (7, 1)))},
        {"branch2": chain(1024, (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7)))},
        {"branch3": nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), ConvUnit(1024, 128, 1))},
    )


def _reduction_b() -> Branches:
    """17x17 to 8x8, figure 8."""
    return Branches(
        {"branch0": nn.Sequential(ConvUnit(1024, 192, 1), ConvUnit(192, 192, 3, 2, 0))},
        {"branch1": nn.Sequential(*chain(1024, (256, 1), (256, (1, 7)), (320, (7, 1))), ConvUnit(320, 320, 3, 2, 0))},
        {"branch2": nn.MaxPool2d(3, 2)},
    )


def _module_c() -> Branches:
    """8x8, figure 6."""
    return Branches(
        {"branch0": ConvUnit(1536, 256, 1)},
        {"branch1_0": ConvUnit(1536, 384, 1), "branch1_1": _crossed(384, 256)},
        {
            "branch2_0": ConvUnit(1536, 384, 1),
            "branch2_1": ConvUnit(384, 448, (3, 1)),
            "branch2_2": ConvUnit(448, 512, (1, 3)),
            "branch2_3": _crossed(512, 256),
        },
        {"branch3": nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), ConvUnit(1536, 256, 1))},
    )


def chain(c: int, *layers: tuple[int, int | tuple[int, int]]) -> nn.Sequential:
    """Convolutions (channels, kernel) that keep the size."""
    inputs = [c, *(out for out, _ in layers)]
    return nn.Sequential(*(ConvUnit(before, *layer) for before, layer in zip(inputs, layers, strict=False)))


def _crossed(c: int, out: int) -> tuple[nn.Module, nn.Module]:
    """A 1x3 and a 3x1 convolution."""
    return ConvUnit(c, out, (1, 3)), ConvUnit(c, out, (3, 1))
