"""Densely connected networks (Huang, Liu, van der Maaten, Weinberger 2016)."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import nn

from striate.layers.dense import DenseBlock, Transition
from striate.layers.initialization import initialize_he
from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance
from striate.zoo.registry import architecture

PAPER = "Huang, Liu, van der Maaten, Weinberger 2016, Densely connected convolutional networks, table 1"
NOTE = "DenseNet-BC: 1x1 convolutions of 4k maps before each 3x3, transitions halve the maps (compression 0.5)."
Growth = Annotated[int, Between(1, 1024, whole=True)]


@architecture(
    paper=PAPER,
    year=2016,
    input=(3, 224, 224),
    least=29,
    parameters=7_978_856,
    macs=2_834_161_664,
    published="none; figure 3 plots about 8M",
    lectures="named (Dense CNN)",
    note=NOTE,
)
def densenet121(num_classes: int = 1000, in_channels: int = 3, growth: Growth = 32, dropout: Chance = 0.0) -> nn.Module:
    """Four blocks of 6, 12, 24, 16 layers, each of which reads the maps of all layers before it in its block.

    Maps 224 -> 112 -> 56, then blocks at 56, 28, 14, 7 with transitions between them, global average. Each layer adds
    `growth` maps; the first convolution has twice as many. `dropout` acts after each 3x3 convolution (the paper: 0.2
    without augmentation, else 0). He initialization. Modules are named as in torchvision.
    """
    return DenseNet((6, 12, 24, 16), num_classes, in_channels, growth, dropout)


@architecture(
    paper=PAPER,
    year=2016,
    input=(3, 224, 224),
    least=29,
    parameters=14_149_480,
    macs=3_359_843_328,
    published="none; figure 3 plots about 14M",
    note=NOTE,
)
def densenet169(num_classes: int = 1000, in_channels: int = 3, growth: Growth = 32, dropout: Chance = 0.0) -> nn.Module:
    """Four dense blocks of 6, 12, 32, 32 layers; shapes and options as in `densenet121`."""
    return DenseNet((6, 12, 32, 32), num_classes, in_channels, growth, dropout)


@architecture(
    paper=PAPER,
    year=2016,
    input=(3, 224, 224),
    least=29,
    parameters=20_013_928,
    macs=4_291_365_888,
    published="20M (section 4.4)",
    note=NOTE,
)
def densenet201(num_classes: int = 1000, in_channels: int = 3, growth: Growth = 32, dropout: Chance = 0.0) -> nn.Module:
    """Four dense blocks of 6, 12, 48, 32 layers; shapes and options as in `densenet121`."""
    return DenseNet((6, 12, 48, 32), num_classes, in_channels, growth, dropout)


class DenseNet(nn.Module):
    """See `densenet121`."""

    def __init__(
        self, depths: tuple[int, ...], num_classes: int, in_channels: int, growth: int, dropout: float
    ) -> None:
        super().__init__()
        channels = 2 * growth
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(in_channels, channels, 7, 2, 3, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(channels))
        self.features.add_module("relu0", nn.ReLU())
        self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        for i, depth in enumerate(depths, 1):
            if i > 1:
                self.features.add_module(f"transition{i - 1}", Transition(channels))
                channels //= 2
            self.features.add_module(f"denseblock{i}", DenseBlock(depth, channels, growth, dropout))
            channels += depth * growth
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, num_classes)
        self.features.apply(initialize_he)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        maps = F.relu(self.features(x))
        logits: Tensor = self.classifier(maps.mean((2, 3)))
        return logits
