"""Inception-ResNet-v2 (Szegedy et al. 2016): Inception modules whose results are scaled and added to their input."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import nn

from striate.layers.branches import Branches, ConvUnit
from striate.shapes import Float, Tensor
from striate.zoo.inception import Depth, chain
from striate.zoo.options import Chance
from striate.zoo.registry import architecture


@architecture(
    paper="Szegedy, Ioffe, Vanhoucke, Alemi 2016, Inception-v4, Inception-ResNet and the impact of residual "
    "connections on learning, figures 15 to 19",
    year=2016,
    input=(3, 299, 299),
    least=75,
    parameters=55_843_464,
    macs=13_155_794_016,
    published="none",
    note="As the authors released it. The figures have the stem of Inception-v4, 5, 10, 5 modules for 10, 20, 10, and "
    "384, 1154 (the reduction before makes 1152) and 2048 maps in them for 320, 1088 and 2080. Modules are named "
    "as in timm. Initialization is not stated: torch's.",
)
def inception_resnet_v2(
    num_classes: int = 1000,
    in_channels: int = 3,
    modules_a: Depth = 10,
    modules_b: Depth = 20,
    modules_c: Depth = 10,
    dropout: Chance = 0.2,
) -> nn.Module:
    """Inception with shortcuts: ten modules at 35x35, twenty at 17x17, ten at 8x8, each scaled before it is added.

    Maps 299 -> 149 -> 147 -> 73 -> 71 -> 35 -> 17 -> 8, then the global average of 1536 maps. The scales are 0.17, 0.1
    and 0.2; the last module adds unscaled and without ReLU. `modules_a`, `modules_b` and `modules_c` are how many there
    are of each size.
    """
    return InceptionResNetV2(num_classes, in_channels, (modules_a, modules_b, modules_c), dropout)


class InceptionResNetV2(nn.Module):
    """See `inception_resnet_v2`."""

    def __init__(self, num_classes: int, in_channels: int, depths: tuple[int, int, int], dropout: float) -> None:
        super().__init__()
        a, b, c = depths
        self.conv2d_1a = ConvUnit(in_channels, 32, 3, 2, 0)
        self.conv2d_2a = ConvUnit(32, 32, 3, 1, 0)
        self.conv2d_2b = ConvUnit(32, 64, 3)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = ConvUnit(64, 80, 1)
        self.conv2d_4a = ConvUnit(80, 192, 3, 1, 0)
        self.maxpool_5a = nn.MaxPool2d(3, 2)
        self.mixed_5b = _mixed_5b()
        self.repeat = nn.Sequential(*(_block35() for _ in range(a)))
        self.mixed_6a = _mixed_6a()
        self.repeat_1 = nn.Sequential(*(_block17() for _ in range(b)))
        self.mixed_7a = _mixed_7a()
        self.repeat_2 = nn.Sequential(*(_block8(0.2) for _ in range(c - 1)))
        self.block8 = _block8(1.0, rectified=False)
        self.conv2d_7b = ConvUnit(2080, 1536, 1)
        self.dropout = nn.Dropout(dropout)
        self.classif = nn.Linear(1536, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = self.maxpool_3a(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))))
        x = self.maxpool_5a(self.conv2d_4a(self.conv2d_3b(x)))
        x = self.repeat(self.mixed_5b(x))
        x = self.repeat_1(self.mixed_6a(x))
        x = self.block8(self.repeat_2(self.mixed_7a(x)))
        logits: Tensor = self.classif(self.dropout(self.conv2d_7b(x).mean((2, 3))))
        return logits


class ScaledBranches(Branches):
    """Branches, a 1x1 convolution over their maps, times `scale`, added to the input."""

    def __init__(
        self, channels: int, joined: int, scale: float, rectified: bool, *chains: Mapping[str, nn.Module]
    ) -> None:
        super().__init__(*chains)
        self.conv2d = nn.Conv2d(joined, channels, 1)
        self.scale, self.rectified = scale, rectified

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Maps of the next module."""
        x = x + self.scale * self.conv2d(super().forward(x))
        return F.relu(x) if self.rectified else x


def _mixed_5b() -> Branches:
    return Branches(
        {"branch0": ConvUnit(192, 96, 1)},
        {"branch1": chain(192, (48, 1), (64, 5))},
        {"branch2": chain(192, (64, 1), (96, 3), (96, 3))},
        {"branch3": nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), ConvUnit(192, 64, 1))},
    )


def _block35() -> Branches:
    """Figure 16."""
    branches = {"branch0": ConvUnit(320, 32, 1)}, {"branch1": chain(320, (32, 1), (32, 3))}
    return ScaledBranches(320, 128, 0.17, True, *branches, {"branch2": chain(320, (32, 1), (48, 3), (64, 3))})


def _mixed_6a() -> Branches:
    """35x35 to 17x17, figure 7 with k, l, m, n = 256, 256, 384, 384."""
    return Branches(
        {"branch0": ConvUnit(320, 384, 3, 2, 0)},
        {"branch1": nn.Sequential(*chain(320, (256, 1), (256, 3)), ConvUnit(256, 384, 3, 2, 0))},
        {"branch2": nn.MaxPool2d(3, 2)},
    )


def _block17() -> Branches:
    """Figure 17."""
    branches = {"branch0": ConvUnit(1088, 192, 1)}, {"branch1": chain(1088, (128, 1), (160, (1, 7)), (192, (7, 1)))}
    return ScaledBranches(1088, 384, 0.1, True, *branches)


def _mixed_7a() -> Branches:
    """17x17 to 8x8, figure 18."""
    return Branches(
        {"branch0": nn.Sequential(ConvUnit(1088, 256, 1), ConvUnit(256, 384, 3, 2, 0))},
        {"branch1": nn.Sequential(ConvUnit(1088, 256, 1), ConvUnit(256, 288, 3, 2, 0))},
        {"branch2": nn.Sequential(*chain(1088, (256, 1), (288, 3)), ConvUnit(288, 320, 3, 2, 0))},
        {"branch3": nn.MaxPool2d(3, 2)},
    )


def _block8(scale: float, rectified: bool = True) -> Branches:
    """Figure 19."""
    branches = {"branch0": ConvUnit(2080, 192, 1)}, {"branch1": chain(2080, (192, 1), (224, (1, 3)), (256, (3, 1)))}
    return ScaledBranches(2080, 448, scale, rectified, *branches)
